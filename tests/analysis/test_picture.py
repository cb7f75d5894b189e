"""The picture of the README, from the archive of the quickstart: its numbers from the logits, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.archive import Archive
from adaprob_ray.reporting.records.selection import Selection
from analysis.paper import picture
from analysis.paper.picture import build_picture, confidences

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = str(ROOT / "results/quickstart.zip")


def selection(only: str = "forget=class5") -> Selection:
    return Selection.load(ARCHIVE, [str(ROOT / "sweeps/quickstart.yaml")], only=only)


def test_confidences_are_the_probabilities_of_the_true_class_over_all_seeds() -> None:
    records = selection().gather().records
    retrain, scrub = confidences(records, ["retrain", "scrub"], ARCHIVE)
    assert (retrain.name, scrub.method) == ("retrain", "scrub")
    archive = Archive(Path(ARCHIVE))
    for part, actual in (("train", scrub.forget), ("test", scrub.test)):
        expected = []
        for key in records.loc[records["label"] == "scrub", "model_key"]:
            outputs = archive.outputs(str(key))
            logits = outputs.logits[part][outputs.labels[part] == 5].astype(np.float64)
            powers = np.exp(logits - logits.max(1, keepdims=True))
            expected.append(100 * (powers / powers.sum(1, keepdims=True))[:, 5])
        assert len(expected) == 3
        assert np.sort(actual) == pytest.approx(np.sort(np.concatenate(expected)), rel=1e-4)


def test_the_picture_is_written_and_an_unknown_label_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels = []
    monkeypatch.setattr(picture, "draw_cost_panel", lambda axes, panel, styles: panels.append(panel))
    output = build_picture(selection(), tmp_path, labels=["original", "retrain", "scrub"])
    assert [path.name for path in output.paths] == ["picture.png", "picture.pdf"]
    assert [point.name for point in panels[0].points] == ["retrain", "scrub"]
    with pytest.raises(InputError, match="picture: must have Records of scrubb, got none"):
        build_picture(selection(), tmp_path, labels=["scrubb"])
