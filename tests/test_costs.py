"""The cost model: passes against what Records counted, multiply-adds against PyTorch's counter, seconds by ratio."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaprob_ray import costs
from adaprob_ray.catalogue import ARCHITECTURES, REGISTRY
from adaprob_ray.costs import Device, Network, Speeds, Work, work_of
from adaprob_ray.sweep.cell_settings import ArchitectureSettings
from adaprob_ray.sweep.sweep import Sweep

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["quickstart", "small_all"])
def test_the_passes_are_those_that_records_counted(name: str) -> None:
    """All methods and data sets that were run: the planner knows the rows of a part before an image is read."""
    cells = Sweep.load(ROOT / f"sweeps/{name}.yaml", REGISTRY).cells
    rows = [json.loads(line) for line in (ROOT / f"results/{name}.jsonl").read_text().splitlines()]
    current = [
        row for row in rows if row["model_key"] in cells
    ]  # those of an earlier revision are no cells of the sweep
    assert len(current) >= 48
    for row in current:
        work = work_of(cells[row["model_key"]], REGISTRY)
        assert work is not None
        assert (work.forward, work.backward) == (row["forward_examples"], row["backward_examples"]), row["label"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [9, 32, 64])
@pytest.mark.parametrize("filters", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_multiply_adds_are_those_that_pytorch_counts(name: str, filters: float, size: int, channels: int) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES[name].build(classes=1, channels=channels, filters=filters).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, channels, size, size))
    count = ARCHITECTURES[name].multiply_adds(channels=channels, filters=filters, size=size)
    assert count == counter.get_total_flops() / 2


def network(name: str, filters: float, *, channels: int = 1, size: int = 8) -> Network:
    """A network for the digits, or for images of another shape."""
    count = ARCHITECTURES[name].multiply_adds(channels=channels, filters=filters, size=size)
    return Network(name, filters, channels, size, count)


def test_multiply_adds_of_allcnn_are_those_of_its_layers() -> None:
    full, half, quarter = 32 * 32, 16 * 16, 8 * 8
    by_hand = (
        9 * (3 * 96 + 96 * 96) * full
        + 9 * (96 * 192 + 2 * 192 * 192) * half
        + (9 * 2 + 1) * 192 * 192 * quarter
        + 192  # the classifier, of one class
    )
    assert network("allcnn", 1.0, channels=3, size=32).multiply_adds == by_hand
    assert Network.of(REGISTRY, "cifar10", ArchitectureSettings(name="allcnn")) == network(
        "allcnn", 1.0, channels=3, size=32
    )


def record(**columns: Any) -> dict[str, Any]:
    """An original of the digits that made 1,000 passes each way in ten seconds."""
    return {
        "method": "original", "dataset": "digits", "architecture": "allcnn", "filters": 0.25, "precision": "float32",
        "device": "cpu (some)", "threads": 1, "forward_examples": 1000, "backward_examples": 1000, "training_seconds": 10.0,
        **columns,
    }  # fmt: skip


DIGITS = network("allcnn", 0.25)
DEVICE = Device("cpu (some)", "float32", 1)


def seconds(rows: list[dict[str, Any]], network: Network, method: str) -> tuple[float, str]:
    return Speeds(rows, REGISTRY).seconds(Work(network, method, "float32", 2000, 2000), DEVICE)


def test_the_nearest_measurement_counts() -> None:
    rows = [record(), record(training_seconds=40.0), record(method="scrub", unlearn_seconds=5.0, training_seconds=None)]
    assert seconds(rows, DIGITS, costs.TRAINING) == (pytest.approx(20.0), costs.METHOD)
    assert seconds(rows, DIGITS, "scrub") == (pytest.approx(10.0), costs.METHOD)
    assert seconds(rows, DIGITS, "ntk") == (pytest.approx(20.0), costs.NETWORK)
    wider = network("allcnn", 0.5)
    expected = 20.0 * wider.multiply_adds / DIGITS.multiply_adds
    assert seconds(rows, wider, "scrub") == (pytest.approx(expected / 2), costs.DEVICE)
    larger = record(architecture="resnet18", filters=1.0, training_seconds=10.0)
    twice = seconds([*rows, larger], network("resnet18", 0.9), costs.TRAINING)
    assert twice[0] < expected * 100, "by the large network's speed, not the small one's"
    ratio = network("resnet18", 0.9).multiply_adds / network("resnet18", 1.0).multiply_adds
    assert twice == (pytest.approx(20.0 * ratio), costs.DEVICE)


def test_a_pretraining_counts_as_training() -> None:
    assert seconds([record(method=costs.TRAINING)], DIGITS, costs.TRAINING) == (pytest.approx(20.0), costs.METHOD)


def test_records_that_do_not_tell_are_passed_over() -> None:
    blind = [record(**{name: missing}) for missing in (None, math.nan) for name in ("training_seconds", "threads")]
    blind += [record(**{name: "gone"}) for name in ("dataset", "method", "architecture")]
    assert Speeds(blind, REGISTRY).devices() == []
    assert Speeds([], REGISTRY).devices() == []


def test_a_device_whose_name_is_no_processors_is_a_gpu() -> None:
    assert not DEVICE.is_gpu
    assert Device("NVIDIA H100 80GB HBM3", "float32", 1).is_gpu
