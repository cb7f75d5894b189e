"""A cluster that starts with no GPU starts a node that has one, when a sweep's cells ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import CHECKOUT, Lab, missing

TESTS = ("tests", "tests/runtime", "tests/cluster")


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_cluster_without_gpus_starts_a_node_with_one(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    path = ":".join(str(CHECKOUT / folder) for folder in (".", *TESTS))
    with Lab(tmp_path / "lab", {"PYTHONPATH": path}) as lab:  # its launcher is the machine
        done = lab.run(f"python {CHECKOUT}/tests/cluster/autoscaling.py /mnt/shared", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "lab/shared/report.json").read_text())
    assert report["gpus_at_start"] == 0
    assert report["states"]["done"] == sum(report["states"].values())
    assert report["cards"] == [["evaluate", 0], ["train", 1], ["unlearn", 0]]
