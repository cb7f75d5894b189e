"""The record: an in-toto statement whose every number audit recomputes, and what makes audit fail."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import Convolutional, images, seeded, trained
from torch import nn

import adaprob_ray
from adaprob_ray.errors import InputError
from adaprob_ray.metrics.auc import auc_interval
from adaprob_ray.metrics.membership import losses
from adaprob_ray.models.weights import weights_bytes
from adaprob_ray.unlearning.api import Unlearned
from adaprob_ray.unlearning.audit import audit
from adaprob_ray.unlearning.merkle import leaf, merkle_root
from adaprob_ray.unlearning.prepare import Plan, prepare
from adaprob_ray.unlearning.samples import image_digest, sample_digest

DATA, HELD_OUT = images(), images(seed=1)
FORGET = list(range(0, 60, 5))
NETWORK = trained(seeded(Convolutional), DATA)
REFERENCES = [trained(seeded(Convolutional), images(seed=seed), steps=20) for seed in (2, 3)]


def unlearned(**changes: Any) -> Unlearned:
    arguments: dict[str, Any] = {
        "forget": FORGET,
        "test": HELD_OUT,
        "reference": REFERENCES,
        "epochs": 2,
        "progress": False,
    }
    return adaprob_ray.unlearn(NETWORK, DATA, **{**arguments, **changes})


def plan(**changes: Any) -> Plan:
    arguments: dict[str, Any] = {
        "forget": FORGET, "retain": None, "method": "adaprob", "settings": {"epochs": 2}, "validation": None, "test": HELD_OUT,
        "references": REFERENCES, "forward": None, "mean": (), "std": (), "batch_norm": "frozen", "max_drop": 2.0,
        "precision": "float32", "device": "cpu", "seed": 0,
    }  # fmt: skip
    return prepare(NETWORK, DATA, **{**arguments, **changes})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Unlearned]:
    folder = tmp_path_factory.mktemp("record") / "out"
    result = unlearned()
    assert [path.name for path in result.save(folder)] == [
        "weights.safetensors", "record.json", "salt.json", "record.html",
    ]  # fmt: skip
    return folder, result


def record_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return document


def test_the_statement_names_the_file_of_the_weights(saved: tuple[Path, Unlearned]) -> None:
    folder, result = saved
    record = record_of(folder)
    assert record["_type"] == "https://in-toto.io/Statement/v1"
    assert record["predicateType"].startswith("urn:")
    (subject,) = record["subject"]
    data = (folder / subject["name"]).read_bytes()
    assert subject["digest"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert all(
        torch.equal(tensor, result.model.state_dict()[name])
        for name, tensor in load_file(folder / subject["name"]).items()
    )
    parent = record["predicate"]["weights"]["parent"]["sha256"]
    assert parent == hashlib.sha256(weights_bytes(NETWORK.state_dict())).hexdigest()


def test_the_normalization_is_in_the_record_and_audited(tmp_path: Path) -> None:
    pixels = ((DATA[0].sigmoid() * 255).to(torch.uint8), DATA[1])
    channels = pixels[0].shape[1]
    mean, std = [0.4] * channels, [0.2] * channels
    arguments: dict[str, Any] = {"forget": FORGET, "epochs": 1, "lr": 1e-4, "mean": mean, "std": std, "progress": False}
    result = adaprob_ray.unlearn(NETWORK, pixels, **arguments)
    result.save(tmp_path / "out")
    predicate = record_of(tmp_path / "out")["predicate"]
    assert predicate["data"] == {"normalization": {"mean": mean, "std": std}}
    assert "mean 0.4" in (tmp_path / "out" / "record.html").read_text(encoding="utf-8")
    same = prepare(
        NETWORK, pixels, forget=FORGET, retain=None, method="adaprob", settings={}, validation=None, test=None, references=[],
        forward=None, mean=mean, std=[0.3] * channels, batch_norm="frozen", max_drop=2.0, precision="float32", device="cpu",
        seed=0,
    )  # fmt: skip
    wrong = {check.name for check in audit(tmp_path / "out", same, result.model) if not check.agrees}
    assert "data: normalization" in wrong
    assert "normalization: mean" not in wrong


def test_neither_record_nor_page_holds_samples_or_claims_too_much(saved: tuple[Path, Unlearned]) -> None:
    folder, _ = saved
    record, page = (
        (folder / "record.json").read_text(encoding="utf-8"),
        (folder / "record.html").read_text(encoding="utf-8"),
    )
    for text in (record, page):
        assert not re.search(r"certif|verified", text, re.IGNORECASE)
        assert "no formal guarantee" in text
    assert '"rows"' not in record
    assert json.loads((folder / "salt.json").read_text(encoding="utf-8"))["salt"] not in record


def test_the_root_depends_on_the_salt_and_on_every_sample() -> None:
    digests = [sample_digest(image_digest(image), int(label)) for image, label in zip(*DATA, strict=True)][:7]
    assert len({merkle_root(salt, digests) for salt in (b"a", b"b")}) == 2
    roots = {merkle_root(b"", [*digests[:place], b"x", *digests[place + 1 :]]) for place in range(7)}
    assert (
        len(roots | {merkle_root(b"", digests), merkle_root(b"", digests[:6]), merkle_root(b"", digests[::-1])}) == 10
    )


def test_the_root_of_three_leaves_by_hand() -> None:
    a, b, c = (leaf(b"s", digest) for digest in (b"1", b"2", b"3"))
    pair = hashlib.sha256(b"\x01" + a + b).digest()
    assert merkle_root(b"s", [b"1", b"2", b"3"]) == hashlib.sha256(b"\x01" + pair + c).hexdigest()


def test_errors_and_the_attack_by_hand(saved: tuple[Path, Unlearned]) -> None:
    folder, result = saved
    items = {
        (item["metric"], item["model"]): item
        for item in record_of(folder)["predicate"]["evidence"]
        if "kl" not in item["metric"]
    }
    with torch.no_grad():
        logits = result.model(DATA[0][FORGET])
    wrong = int((logits.argmax(1) != DATA[1][FORGET]).sum())
    assert items["forget_error_percent", "unlearned"]["value"] == pytest.approx(100 * wrong / len(FORGET))
    assert items["forget_error_percent", "unlearned"]["samples"] == len(FORGET)
    with torch.no_grad():
        held_out = result.model(HELD_OUT[0])
    by_hand = auc_interval(
        losses(logits.numpy(), DATA[1][FORGET].numpy()), losses(held_out.numpy(), HELD_OUT[1].numpy())
    )
    attack = items["membership_auc_percent", "unlearned"]
    assert [attack["value"], *attack["interval95"]] == pytest.approx([100 * value for value in by_hand], abs=1e-4)


def test_two_references_give_a_floor(saved: tuple[Path, Unlearned]) -> None:
    folder, _ = saved
    pairs = {
        (item["model"], item["against"])
        for item in record_of(folder)["predicate"]["evidence"]
        if item["metric"] == "kl_forget_nats"
    }
    assert {("reference 1", "reference 2"), ("reference 2", "reference 1"), ("unlearned", "reference 1")} <= pairs
    distances = {
        (item["model"], item["against"]): item
        for item in record_of(folder)["predicate"]["evidence"]
        if item["metric"] == "kl_forget_nats"
    }
    between = [distances[f"reference {a}", f"reference {b}"]["value"] for a, b in ((1, 2), (2, 1))]
    assert distances["unlearned", "reference 2"]["floor"] == pytest.approx(sum(between) / 2)
    assert {item["references"] for item in distances.values()} == {2}
    assert "floor" not in distances["reference 1", "reference 2"]


def test_a_result_farther_from_the_references_than_the_original_is_pointed_out() -> None:
    near = [trained(copy.deepcopy(NETWORK), images(seed=seed), steps=2) for seed in (2, 3)]
    (line,) = [line for line in unlearned(reference=near, method="random_label").warnings if "retrained models" in line]
    assert line.startswith(
        "the outputs on the forgotten samples are farther from those of the retrained models than before"
    )
    assert not any("retrained models" in line for line in unlearned(reference=[]).warnings)


def test_with_other_references_audit_names_their_number(saved: tuple[Path, Unlearned]) -> None:
    folder, result = saved
    names = differing(folder, result.model, references=REFERENCES[:1])
    assert names[0] == "evidence: number of entries"
    assert not any(
        name.startswith(("forget_error_percent of unlearned", "test_error_percent of orig")) for name in names
    )


def test_audit_recomputes_every_number(saved: tuple[Path, Unlearned]) -> None:
    folder, result = saved
    checks = audit(folder, plan(), result.model)
    assert [check for check in checks if not check.agrees] == []
    numbers = sum(
        isinstance(value, (int, float))
        for item in record_of(folder)["predicate"]["evidence"]
        for value in item.values()
    )
    assert len(checks) > numbers


def differing(folder: Path, model: nn.Module, **changes: Any) -> list[str]:
    return [check.name for check in audit(folder, plan(**changes), model) if not check.agrees]


def test_one_other_index_is_noticed(saved: tuple[Path, Unlearned]) -> None:
    folder, result = saved
    assert "Merkle root of the forgotten samples" in differing(folder, result.model, forget=[*FORGET[:-1], 56])


def test_one_flipped_bit_of_the_weights_is_noticed(saved: tuple[Path, Unlearned], tmp_path: Path) -> None:
    folder, _ = saved
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(data)
    model = Convolutional()
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert {"file weights.safetensors", "weights: sha256"} <= set(differing(tmp_path, model))


def test_one_changed_number_of_the_record_is_noticed(saved: tuple[Path, Unlearned], tmp_path: Path) -> None:
    folder, result = saved
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = record_of(folder)
    for position, item in enumerate(record["predicate"]["evidence"]):
        changed = json.loads(json.dumps(record))
        changed["predicate"]["evidence"][position]["value"] += 0.5
        (tmp_path / "record.json").write_text(json.dumps(changed), encoding="utf-8")
        (name,) = differing(tmp_path, result.model)
        assert name.startswith(item["metric"])


# What is done to the predicate, and the check that must notice it.
TAMPERED: dict[str, tuple[Any, str]] = {
    "all exposed samples": (lambda p: p["mostExposed"].clear(), "most exposed: number of entries"),
    "one exposed sample": (lambda p: p["mostExposed"].pop(), "most exposed: number of entries"),
    "a field of one": (
        lambda p: p["mostExposed"][0].pop("held_out_at_most_percent"), "most exposed 1: held_out_at_most_percent"
    ),
    "an interval": (lambda p: p["evidence"][0].pop("interval95"), "forget_error_percent of original: interval95"),
    "an entry": (lambda p: p["evidence"].pop(), "evidence: number of entries"),
    "an entry given twice": (lambda p: p["evidence"].append(p["evidence"][0]), "evidence: number of entries"),
    "a floor": (
        lambda p: next(item for item in p["evidence"] if "floor" in item).pop("floor"),
        "kl_forget_nats of original against reference 1: floor",
    ),
    "a limit": (lambda p: p["limits"].pop(), "limits"),
    "the normalization": (lambda p: p["data"].clear(), "data: normalization"),
    "the kind of request": (lambda p: p["request"].update({"kind": "class", "class": 7}), "class of the request"),
    "what is retained": (lambda p: p["request"].update({"retain": "sample:10"}), "choice of the retained samples"),
    "a distance": (lambda p: p.update(parameterDistance=1.001 * p["parameterDistance"]), "parameter distance"),
    "a divergence": (
        lambda p: p["evidence"][-1].update(value=1.001 * p["evidence"][-1]["value"]),
        "kl_forget_nats of reference 2 against reference 1: value",
    ),
    "a promise": (lambda p: p.update(guarantee="differential privacy"), "entries of another program"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_what_is_removed_or_changed_is_noticed(name: str, saved: tuple[Path, Unlearned], tmp_path: Path) -> None:
    (folder, result), (tamper, check) = saved, TAMPERED[name]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = record_of(folder)
    tamper(record["predicate"])
    (tmp_path / "record.json").write_text(json.dumps(record), encoding="utf-8")
    assert check in differing(tmp_path, result.model)


@pytest.mark.parametrize("name", ["data", "request", "evidence", "mostExposed", "weights", "method", "limits"])
@pytest.mark.parametrize("value", [None, "x", ["x"]])
def test_entries_of_another_kind_are_one_error(
    name: str, value: Any, saved: tuple[Path, Unlearned], tmp_path: Path
) -> None:
    if name == "limits" and isinstance(value, list):
        return
    folder, result = saved
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = record_of(folder)
    record["predicate"][name] = value
    (tmp_path / "record.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        InputError, match=rf"record.json: must have the entries that .* writes, got malformed ones: {name}"
    ):
        audit(tmp_path, plan(), result.model)


class Page(HTMLParser):
    """The texts of table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert not {"src", "href"} & {name for name, value in attrs if not str(value).startswith("#")}
        self._open = tag == "td"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells.append(data)


def test_the_page_is_self_contained_and_shows_the_numbers(saved: tuple[Path, Unlearned]) -> None:
    folder, _ = saved
    page = Page((folder / "record.html").read_text(encoding="utf-8"))
    for item in record_of(folder)["predicate"]["evidence"]:
        decimals = 3 if item["metric"].endswith("_nats") else 1
        assert any(cell.startswith(f"{item['value']:.{decimals}f}") for cell in page.cells), item
