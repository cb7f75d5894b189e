"""`adaprob-ray store gc | copy | verify` and `explain --descendants`: output, exit codes and messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filled_store import BOTH, SMALL, cells_of, fill, find_cell
from store_contract import damage, paths

from adaprob_ray import cli
from adaprob_ray.store import Store
from adaprob_ray.store.names import WEIGHTS

CELLS, NEEDED = cells_of(BOTH), cells_of(SMALL)
ORIGINAL = find_cell(NEEDED, "train", "original")


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with all cells of `both`; the working folder holds both sweep files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ADAPROB_STORE", "store")
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "both.yaml").write_text(BOTH)
    store = Store.open(tmp_path / "store")
    fill(store, CELLS.values())
    return store


def test_gc_lists_then_deletes(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["store", "gc", "--keep", "small.yaml", "both.yaml"]) == 0
    assert capsys.readouterr().out == "everything in the store is needed\n"
    before = paths(full)
    assert cli.main(["store", "gc", "--keep", "small.yaml"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    titles = [line.split()[0] for line in lines]
    assert sorted(titles) == sorted(cell.title for key, cell in CELLS.items() if key not in NEEDED)
    assert last.startswith("not needed: 8 items, ")
    assert last.endswith("; to delete them, add --yes")
    assert paths(full) == before
    assert cli.main(["store", "gc", "--keep", "small.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["deleted"] is False
    assert {item["key"] for item in document["cells"]} == CELLS.keys() - NEEDED.keys()
    assert document["bytes"] == sum(item["bytes"] for item in document["cells"])
    assert cli.main(["store", "gc", "--keep", "small.yaml", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("deleted: 8 items, ")
    assert set(full.survey()) == NEEDED.keys()
    assert cli.main(["status", "small.yaml"]) == 0
    assert capsys.readouterr().out.startswith("small: 8 of 8 cells done")


def test_gc_names_what_it_keeps_for_a_run(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    full.put_text("sweeps/both-01234567.yaml", BOTH)
    full.revoke(next(key for key in CELLS if key not in NEEDED), 1, "to be computed again")
    assert cli.main(["store", "gc", "--keep", "small.yaml", "--yes"]) == 0
    kept, last = capsys.readouterr().out.splitlines()
    assert kept == "kept: sweeps/both-01234567.yaml is unfinished and was active 0 min ago"
    assert last == "deleted: 0 items, 0 bytes"
    assert cli.main(["store", "gc", "--keep", "small.yaml", "--grace", "0"]) == 0
    assert "not needed: 8 items" in capsys.readouterr().out


def test_copy_copies_what_is_selected_and_continues(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["store", "copy", "store", "laptop", "--only", "stage=unlearn,seed=2"]) == 0
    assert capsys.readouterr().out.startswith("2 cells copied, ")
    laptop = Store.open("laptop", create=False)
    assert {CELLS[key].stage for key in laptop.survey()} == {"unlearn", "train"}
    assert cli.main(["store", "copy", "store", "laptop", "--sweep", "small.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["copied"]) == NEEDED.keys()
    assert cli.main(["store", "copy", "store", "laptop"]) == 0
    out, err = capsys.readouterr()
    assert "6 cells copied" in out
    assert "10 were there already" in out
    assert err == "copying 16 cells\n"
    assert cli.main(["status", "both.yaml", "--store", "laptop"]) == 0
    assert capsys.readouterr().out.startswith("both: 16 of 16 cells done")


def test_copy_reports_corrupt_cells_and_exits_with_1(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    damage(full, f"attempts/{ORIGINAL.key}/1/{WEIGHTS}", "altered")
    assert cli.main(["store", "copy", "store", "laptop"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("15 cells copied, ")
    assert f"corrupt: {ORIGINAL.title}: {WEIGHTS} (attempt 1) has another sha256 than its commit" in err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["copy", "store", "store"], "TO: must be a different store from FROM"),
        (["copy", "nowhere", "laptop"], "there is no such folder"),
        (["copy", "store", "laptop", "--only", "seed=7"], "matches none of 16 cells"),
        (["copy", "store", "laptop", "--sweep", "absent.yaml"], "absent.yaml: cannot be read"),
        (["verify", "--store", "nowhere"], "there is no such folder"),
        (["gc", "--keep", "absent.yaml"], "absent.yaml: cannot be read"),
        (["gc", "--keep", "small.yaml", "--store", "nowhere"], "there is no such folder"),
    ],
)
def test_bad_input_exits_with_2_and_writes_nothing(
    arguments: list[str], message: str, full: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paths(full)
    assert cli.main(["store", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert paths(full) == before
    assert not Path("laptop").exists()
    assert not Path("nowhere").exists()


def test_verify_reports_and_revokes(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["store", "verify"]) == 0
    assert capsys.readouterr().out.startswith("32 files of 16 cells read, ")
    damage(full, f"attempts/{ORIGINAL.key}/1/{WEIGHTS}", "truncated")
    assert cli.main(["store", "verify", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [(c["title"], c["attempt"], c["name"]) for c in document["corrupt"]] == [(ORIGINAL.title, 1, WEIGHTS)]
    assert document["revoked"] is False
    assert cli.main(["store", "verify", "--revoke"]) == 1
    out, err = capsys.readouterr()
    assert "corrupt cells: 1; they are revoked, and the next run computes them again" in out
    assert f"corrupt: {ORIGINAL.title}: {WEIGHTS} (attempt 1) has " in err
    assert full.log(ORIGINAL.key).done is None
    assert cli.main(["store", "verify"]) == 0


def test_descendants_of_a_cell(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = paths(full)
    assert cli.main(["explain", "--descendants", ORIGINAL.key[:10]]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{ORIGINAL.key[:10]}: 6 of 16 cells in {full.location} descend from it"
    assert lines[0] == f"  {ORIGINAL.title}  {ORIGINAL.key}  done, weights kept"
    assert len(lines) == 6
    assert cli.main(["explain", "--descendants", "train-original", "--store", "store"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: --descendants: must name one cell, got 'train-original' (known: ")
    assert ORIGINAL.key in message
    assert paths(full) == before


def test_descendants_of_a_training_image(full: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--descendants", "digits:3"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert cli.main(["explain", "--descendants", "digits:3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {"descendants", "store", "cells", "unknown", "cells_read"}
    uses = [cell["use"] for cell in document["cells"]]
    assert text[1] == (
        f"{uses.count('trained')} models were trained on it, "
        f"{uses.count('retain') + uses.count('forget')} were unlearned from one of these, "
        f"{uses.count('left out')} were retrained without it"
    )
    assert len(text) == 2 + len(uses)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("digits:1437", "row of digits: must be that of a training image, got 1437 (known: 0 to 1436)"),
        ("digits:x", "must be KEY or DATASET:ROW with a number as ROW, got 'digits:x'"),
        ("digit:1", "unknown data set 'digit'; did you mean 'digits'?"),
        ("faces10:1", "faces10: no folder"),
        ("0123", "unknown cell '0123'"),
    ],
)
def test_descendants_of_nothing_exits_with_2(
    what: str, message: str, full: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--descendants", what]) == 2
    assert message in capsys.readouterr().err
