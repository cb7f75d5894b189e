"""SCRUB's traces: the transcription, a trace pieced together from runs of 1 to 10 epochs."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_records import frame, seeds

from adaprob_ray.errors import InputError
from analysis.paper.scrub_traces import NOTEBOOKS, trace_numbers, trace_page, traces

GROUP = {"dataset": "cifar5", "architecture": "allcnn", "filters": 1.0, "forget": "25of0"}
RETAIN, FORGET = "retain_error_percent", "forget_error_percent"


def record(label: str, method: str, retain: float, forget: float, **columns: object) -> dict[str, object]:
    (row,) = seeds(label, RETAIN, retain, **{**GROUP, "method": method, FORGET: forget, **columns})
    return {**row, "seed": 3}


def records(**columns: object) -> pd.DataFrame:
    return frame(
        record("original", "original", 18.0, 12.0, **columns),
        *(record("scrub_notebook", "scrub", 10.0 - e, 4.0 * e, **{"method.epochs": e, **columns}) for e in (1, 2, 10)),
    )


def test_before_an_epoch_stands_what_the_epochs_before_it_left() -> None:
    (trace,) = traces(records(), 3)
    assert trace.points["scrub_notebook"] == {1: (18.0, 12.0), 2: (9.0, 4.0), 3: (8.0, 8.0), 11: (0.0, 40.0)}
    printed = trace.points[NOTEBOOKS]
    assert [printed[epoch][0] for epoch in range(1, 11)] == [17.9, 29.1, 81.3, 78.5, 78.9, 65.9, 2.9, 0.6, 0.2, 0.2]
    assert [printed[epoch][1] for epoch in range(1, 11)] == [12, 40, 0, 0, 0, 48, 44, 36, 40, 44]
    retain, forget = trace_page(trace).blocks
    assert retain.body[0] == ["1", "17.9", "18.0"]
    assert retain.body[3] == ["4", "78.5", "–"]
    assert forget.body[-1] == ["11", "–", "40.0"]
    assert (
        "cifar5 · allcnn · forget 25of0 · float32,3,scrub_notebook,11,0.0,40.0" in trace_numbers([trace]).splitlines()
    )


def test_what_is_wrong_with_the_notebooks_and_what_stands_in_is_said() -> None:
    (broken,) = traces(records(architecture="resnet18", filters=0.4), 3)
    assert any("the evaluated model was not the trained one" in line for line in trace_page(broken).notes)
    (faces,) = traces(records(dataset="faces5"), 3)
    assert any("faces5 stands in for Lacuna-5" in line for line in trace_page(faces).notes)
    assert traces(records(dataset="digits"), 3) == []


def test_two_records_of_one_epoch_are_refused() -> None:
    twice = pd.concat([records(), records()], ignore_index=True)
    with pytest.raises(
        InputError, match="cifar5 · allcnn · forget 25of0 · float32: original: must be one Record, got 2"
    ):
        traces(twice, 3)


def test_precisions_are_traces_of_their_own() -> None:
    both = pd.concat([records(), records(precision="bfloat16")], ignore_index=True)
    assert [trace.title.rpartition(" ")[2] for trace in traces(both, 3)] == ["float32", "bfloat16"]
    assert [set(trace.records["precision"]) for trace in traces(both, 3)] == [{"float32"}, {"bfloat16"}]


def test_what_is_twice_is_named_with_what_differs() -> None:
    other = records(**{"method.lr": 0.1})
    other = other[other["label"] != "original"]
    with pytest.raises(
        InputError, match=r"float32: scrub_notebook, 1 epochs: must be one Record, got 2, which differ in method\.lr"
    ):
        traces(pd.concat([records(**{"method.lr": 0.2}), other], ignore_index=True), 3)


def test_a_point_without_a_record_is_left_out() -> None:
    known = records()
    (trace,) = traces(known[known["label"] != "original"], 3)
    assert sorted(trace.points["scrub_notebook"]) == [2, 3, 11]
