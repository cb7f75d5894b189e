"""What a sweep is said to cost: passes against what Records counted, multiply-adds against a sum by hand, hours by ratio."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adaprob_ray.sweep.cell import Cell
from analysis import costs
from analysis.__main__ import main
from analysis.artefacts import LARGE_SCALE, SMALL_SCALE
from analysis.load import load_sweep, read_lines

ROOT = Path(__file__).resolve().parents[2]


def measured(name: str) -> list[tuple[Cell, dict[str, Any]]]:
    """The cell that made each Record's model, and the Record; those of an earlier revision are no cells of the sweep."""
    cells = load_sweep(ROOT / f"sweeps/{name}.yaml").cells
    rows = read_lines(ROOT / f"results/{name}.jsonl").to_dict("records")
    return [(cells[row["model_key"]], row) for row in rows if row["model_key"] in cells]


@pytest.mark.parametrize("name", ["quickstart", "small_all"])
def test_the_passes_are_those_that_records_counted(name: str) -> None:
    """All methods and data sets that were run: the planner knows the rows of a part before an image is read."""
    pairs = measured(name)
    assert len(pairs) >= 48
    for cell, row in pairs:
        work = costs.work_of(cell)
        assert work is not None
        assert (work.forward, work.backward) == (row["forward_examples"], row["backward_examples"]), row["label"]


def test_multiply_adds_are_those_of_the_layers() -> None:
    network = costs.Network("allcnn", 1.0, 3, 32)
    full, half, quarter = 32 * 32, 16 * 16, 8 * 8
    by_hand = (
        9 * (3 * 96 + 96 * 96) * full
        + 9 * (96 * 192 + 2 * 192 * 192) * half
        + (9 * 2 + 1) * 192 * 192 * quarter
        + 192  # the classifier, of one class
    )
    assert network.multiply_adds == by_hand


def record(**columns: Any) -> dict[str, Any]:
    """An original of the digits that made 1,000 passes each way in ten seconds."""
    return {
        "method": "original", "dataset": "digits", "architecture": "allcnn", "filters": 0.25, "precision": "float32",
        "device": "cpu (some)", "threads": 1, "forward_examples": 1000, "backward_examples": 1000, "training_seconds": 10.0,
        **columns,
    }  # fmt: skip


DIGITS = costs.Network("allcnn", 0.25, 1, 8)
DEVICE = costs.Device("cpu (some)", "float32", 1)


def seconds(rows: list[dict[str, Any]], network: costs.Network, method: str) -> tuple[float, str]:
    return costs.Speeds(pd.DataFrame(rows)).seconds(costs.Work(network, method, "float32", 2000, 2000), DEVICE)


def test_the_nearest_measurement_counts() -> None:
    rows = [record(), record(training_seconds=40.0), record(method="scrub", unlearn_seconds=5.0, training_seconds=None)]
    assert seconds(rows, DIGITS, costs.TRAINING) == (pytest.approx(20.0), costs.METHOD)
    assert seconds(rows, DIGITS, "scrub") == (pytest.approx(10.0), costs.METHOD)
    assert seconds(rows, DIGITS, "ntk") == (pytest.approx(20.0), costs.NETWORK)
    wider = costs.Network("allcnn", 0.5, 1, 8)
    expected = 20.0 * wider.multiply_adds / DIGITS.multiply_adds
    assert seconds(rows, wider, "scrub") == (pytest.approx(expected / 2), costs.DEVICE)
    larger = record(architecture="resnet18", filters=1.0, training_seconds=10.0)
    twice = seconds([*rows, larger], costs.Network("resnet18", 0.9, 1, 8), costs.TRAINING)
    assert twice[0] < expected * 100, "by the large network's speed, not the small one's"
    ratio = costs.Network("resnet18", 0.9, 1, 8).multiply_adds / costs.Network("resnet18", 1.0, 1, 8).multiply_adds
    assert twice == (pytest.approx(20.0 * ratio), costs.DEVICE)


def test_records_that_do_not_tell_are_passed_over() -> None:
    blind = [
        record(training_seconds=None),
        record(forward_examples=None),
        record(dataset="gone"),
        record(method="gone"),
    ]
    blind.append(record(architecture="gone"))
    assert costs.Speeds(pd.DataFrame(blind)).devices() == []
    assert costs.Speeds(pd.DataFrame()).devices() == []


def test_other_precisions_are_not_told_from_these_times() -> None:
    speeds = costs.Speeds(pd.DataFrame([record(precision="bfloat16")]))
    (found,) = costs.estimates([load_sweep(ROOT / "sweeps/quickstart.yaml")], speeds)
    assert found.hours == {}
    assert len(found.works) == 45


def test_a_cell_that_two_sweeps_share_counts_once() -> None:
    sweeps = [load_sweep(ROOT / f"sweeps/{name}.yaml") for name in ("small_all", "ablation_lambda")]
    small, ablation, both = costs.estimates(sweeps, costs.Speeds(pd.DataFrame([record()])))
    shared = set(sweeps[0].cells) & set(sweeps[1].cells)
    made = [key for key in shared if sweeps[0].cells[key].stage != "evaluate"]
    assert len(made) >= 10
    assert both.name == costs.TOTAL
    assert len(both.works) == len(small.works) + len(ablation.works) - len(made)


def test_the_command_needs_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = str(ROOT / "sweeps/quickstart.yaml")
    assert main(["costs", "--sweep", sweep, "--store", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "quickstart" in out
    assert "hours" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/costs.csv").read_text())))
    ran = {row["device"] for row in read_lines(ROOT / "results/quickstart.jsonl").to_dict("records")}
    measured_here = [row for row in rows if row["precision"] == "float32" and row["device"] in ran]
    assert measured_here
    assert all(0 < float(row["hours"]) < 1 for row in measured_here)
    assert {row["measured_on"] for row in measured_here} == {costs.METHOD}


def test_ones_own_machine_counts_beside_those_that_ran_the_same_cells(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (ROOT / "results/quickstart.jsonl").read_text().splitlines()]
    own = [json.dumps({**line, "device": "MY GPU"}) for line in lines]
    (tmp_path / "own.jsonl").write_text("\n".join(own) + "\n")
    sweep, store = str(ROOT / "sweeps/quickstart.yaml"), str(tmp_path / "own.jsonl")
    assert main(["costs", "--sweep", sweep, "--store", store, "--out", str(tmp_path)]) == 0
    devices = {row["device"] for row in csv.DictReader((tmp_path / "costs.csv").open())}
    assert "MY GPU" in devices
    assert len(devices) >= 2


@pytest.mark.slow
def test_sweep_files_say_what_the_command_says() -> None:
    """Hours in a comment, within a quarter: Records that come later may be of faster machines."""
    speeds = costs.Speeds(pd.concat([read_lines(path) for path in (ROOT / "results").glob("*.jsonl")]))
    said = {}
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        comment = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        if match := re.search(
            r"by `python -m analysis costs`, .*? of an (AMD EPYC|Intel Xeon).*?: ([\d.]+) hours", comment
        ):
            said[path] = match.groups()
    assert len(said) >= 14
    for path, (device, hours) in said.items():
        (found,) = costs.estimates([load_sweep(path)], speeds)
        ours = [value for known, value in found.hours.items() if device.split()[0] in known.device]
        assert max(ours) == pytest.approx(float(hours), rel=0.25), path.name


def test_the_makefile_runs_what_the_contents_page_counts() -> None:
    lines = dict(line.split(" := ") for line in (ROOT / "Makefile").read_text().splitlines() if " := " in line)
    assert tuple(lines["PAPER_SMALL"].split()) == SMALL_SCALE
    assert tuple(lines["PAPER_LARGE"].split()) == LARGE_SCALE
