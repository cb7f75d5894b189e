"""The table of what sweeps cost: which cells and devices count, the command, and what the sweep files say."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.costs import METHOD, Speeds
from adaprob_ray.reporting.records.load import load_sweep, read_lines
from adaprob_ray.reporting.tables import costs
from analysis.__main__ import main
from analysis.registry import LARGE_SCALE, SMALL_SCALE

ROOT = Path(__file__).resolve().parents[2]


def record(**columns: Any) -> dict[str, Any]:
    """An original of the digits that made 1,000 passes each way in ten seconds."""
    return {
        "method": "original", "dataset": "digits", "architecture": "allcnn", "filters": 0.25, "precision": "float32",
        "device": "cpu (some)", "threads": 1, "forward_examples": 1000, "backward_examples": 1000, "training_seconds": 10.0,
        **columns,
    }  # fmt: skip


def test_other_precisions_are_not_told_from_these_times() -> None:
    speeds = Speeds([record(precision="bfloat16")], REGISTRY)
    (actual,) = costs.estimates([load_sweep(ROOT / "sweeps/quickstart.yaml")], speeds)
    assert actual.hours == {}
    assert len(actual.works) == 45


def test_a_cell_that_two_sweeps_share_counts_once() -> None:
    sweeps = [load_sweep(ROOT / f"sweeps/{name}.yaml") for name in ("small_all", "table5")]
    small, ablation, both = costs.estimates(sweeps, Speeds([record()], REGISTRY))
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
    assert {row["measured_on"] for row in measured_here} == {METHOD}


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
    rows = pd.concat([read_lines(path) for path in (ROOT / "results").glob("*.jsonl")]).to_dict("records")
    speeds = Speeds(rows, REGISTRY)
    said = {}
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        comment = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        if match := re.search(
            r"by `python -m analysis costs`, .*? of an (AMD EPYC|Intel Xeon).*?: ([\d.]+) hours", comment
        ):
            said[path] = match.groups()
    assert len(said) >= 14
    for path, (device, hours) in said.items():
        (actual,) = costs.estimates([load_sweep(path)], speeds)
        ours = [value for known, value in actual.hours.items() if device.split()[0] in known.device]
        assert max(ours) == pytest.approx(float(hours), rel=0.25), path.name


def test_the_makefile_runs_what_the_contents_page_counts() -> None:
    lines = dict(line.split(" := ") for line in (ROOT / "Makefile").read_text().splitlines() if " := " in line)
    assert tuple(lines["PAPER_SMALL"].split()) == SMALL_SCALE
    assert tuple(lines["PAPER_LARGE"].split()) == LARGE_SCALE
