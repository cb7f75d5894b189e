"""The runs of TensorBoard that the cells of a sweep write to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_world import BASE, Family, expand, with_value

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime.tensorboard_layout import RunLayout, tensorboard_command, tensorboard_folder
from adaprob_ray.search.search_file import is_search_file
from adaprob_ray.store.names import OBJECT_NAME
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

SWEEPS = [path for path in sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml")) if not is_search_file(path)]


def with_values(**values: Any) -> dict[str, Any]:
    document: dict[str, Any] = dict(BASE)
    for path, value in values.items():
        document = with_value(document, path.replace("__", "."), value)
    return document


def folders(cells: Mapping[str, Cell]) -> dict[str, list[str]]:
    """`stage-method` of the cells of each folder, in their order."""
    layout, result = RunLayout(cells), dict[str, list[str]]()
    for cell in cells.values():
        for run in layout.runs(cell):
            result.setdefault(run.folder, []).append(f"{cell.stage}-{cell.method}".rstrip("-"))
    return result


def hparams(cells: Mapping[str, Cell], label: str) -> Mapping[str, Any]:
    """Of the first evaluation of a label."""
    cell = next(cell for cell in cells.values() if cell.stage == "evaluate" and cell.label == label)
    return RunLayout(cells).runs(cell)[0].hparams


def test_the_cells_of_a_label_share_a_run_and_trainings_for_all_requests_have_their_own() -> None:
    cells = expand(with_values(grid__seed=[1], metrics=["errors", "relearn"], keep={"unlearn": "weights"}))
    assert folders(cells) == {
        "original/seed1": ["train-original"],
        "5of1/retrain/seed1": ["train-retrain", "relearn-retrain", "evaluate-retrain"],
        "5of1/retrain_independent/seed1": [
            "train-retrain_independent",
            "relearn-retrain_independent",
            "evaluate-retrain_independent",
        ],
        "5of1/original/seed1": ["relearn-original", "evaluate-original"],
        "5of1/scrub/seed1": ["unlearn-scrub", "relearn-scrub", "evaluate-scrub"],
    }


def test_only_the_evaluation_ends_a_run_that_it_writes_to() -> None:
    cells = expand(with_values(grid__seed=[1]))
    layout = RunLayout(cells)
    ends = {(cell.stage, run.folder): run.ends for cell in cells.values() for run in layout.runs(cell)}
    assert ends["train", "original/seed1"]
    assert not ends["unlearn", "5of1/scrub/seed1"]
    assert ends["evaluate", "5of1/scrub/seed1"]
    assert ends["evaluate", "5of1/original/seed1"]


def test_data_set_and_architecture_are_in_front_only_where_there_are_several() -> None:
    one = expand(with_values(grid__seed=[1], grid__dataset="cifar10"))
    assert set(folders(one)) >= {"pretrain", "original/seed1", "5of1/scrub/seed1"}
    several = expand(
        with_values(
            grid__seed=[1],
            grid__dataset=["cifar10", "faces10"],
            grid__architecture=[{"name": "allcnn", "filters": 0.5}, {"name": "allcnn", "filters": 1.0}, "resnet18"],
        )
    )
    names = set(folders(several))
    assert names >= {"cifar100-allcnn-0.5/pretrain", "cifar10-allcnn-0.5/original/seed1"}
    assert "faces10-resnet18-1/5of1/scrub/seed1" in names
    pools = expand(
        with_values(grid__dataset=[{"name": "dots", "test_pool": pool} for pool in ("clean", "paper")], grid__seed=[1])
    )
    assert "dots-paper-allcnn/5of1/scrub/seed1" in folders(pools)


def test_a_model_of_two_labels_appears_under_both() -> None:
    cells = expand(with_values(grid__seed=[1], methods={"a": {"method": "scrub"}, "b": {"method": "scrub"}}))
    assert folders(cells)["5of1/a/seed1"] == folders(cells)["5of1/b/seed1"] == ["unlearn-scrub", "evaluate-scrub"]
    layout = RunLayout(cells)
    (unlearned,) = [cell for cell in cells.values() if cell.stage == "unlearn"]
    assert [run.hparams["label"] for run in layout.runs(unlearned)] == ["a", "b"]


def test_settings_that_a_label_multiplies_are_in_the_name() -> None:
    methods = {"grid": {"method": "adaprob", "lam": [0.1, 1.0, 1e-7], "lr": [0.5, 0.25]}, "adaprob": {}}
    names = set(folders(expand(with_values(grid__seed=[1], methods=methods))))
    assert {name for name in names if "/grid/" in name} == {
        f"5of1/grid/lam={lam}/lr={lr}/seed1" for lam in ("0.1", "1", "1e-07") for lr in ("0.5", "0.25")
    }
    assert "5of1/adaprob/seed1" in names
    lists = {"scrub": {"milestones": [[3, 5], [7]]}}
    assert set(folders(expand(with_values(grid__seed=[1], methods=lists)))) >= {
        "5of1/scrub/milestones=3-5/seed1",
        "5of1/scrub/milestones=7/seed1",
    }


def test_settings_that_depend_on_the_grid_point_are_not_in_the_name() -> None:
    entries = [{"where": {"seed": seed}, "with": {"method": "scrub", "alpha": 0.1 * seed}} for seed in (1, 2)]
    assert set(folders(expand(with_values(methods={"scrub": entries})))) >= {"5of1/scrub/seed1", "5of1/scrub/seed2"}


def test_repetitions_have_a_number() -> None:
    names = folders(expand(with_values(grid__seed=[1], repeats=2)))
    assert names["5of1/scrub/seed1"] == names["5of1/scrub/seed1-repeat1"] == ["unlearn-scrub", "evaluate-scrub"]


def test_listed_are_a_few_settings_and_those_that_the_sweep_varies() -> None:
    methods = {"scrub": {"epochs": [2, 4]}, "ours": {"method": "adaprob", "lam": 2.0}}
    cells = expand(with_values(methods=methods))
    assert hparams(cells, "scrub") == {"label": "scrub", "method": "scrub", "seed": 1, "lr": 0.005, "epochs": 2}
    assert hparams(cells, "ours") == {"label": "ours", "method": "adaprob", "seed": 1, "lr": 0.005, "lam": 2.0}
    assert hparams(cells, "retrain")["lr"] == 0.01, "of the recipe"
    assert "method" not in hparams(expand(with_values(methods={"scrub": {}})), "scrub"), "it is the label"


def test_a_list_is_text_whatever_its_length_and_no_value_is_left_out() -> None:
    cells = expand(with_values(methods={"scrub": {"milestones": [[3, 5], [7], []]}}))
    layout = RunLayout(cells)
    runs = [layout.runs(cell)[0] for cell in cells.values() if cell.stage == "evaluate" and cell.label == "scrub"]
    assert {run.hparams["milestones"] for run in runs} == {"3, 5", "7", ""}


def test_a_cell_of_no_sweep_gets_a_run_of_its_own() -> None:
    cell = Family().add()
    assert [run.folder for run in RunLayout().runs(cell)] == [cell.title]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_each_evaluation_of_our_sweeps_has_a_run_with_a_valid_name_and_stable_types(path: Path) -> None:
    cells = Sweep.load(path, REGISTRY).cells
    layout = RunLayout(cells)
    evaluations = [cell for cell in cells.values() if cell.stage == "evaluate"]
    names = [layout.runs(cell)[0].folder for cell in evaluations]
    assert len(set(names)) == len(names)
    runs = [run for cell in cells.values() for run in layout.runs(cell)]
    assert all(OBJECT_NAME.fullmatch(run.folder) for run in runs)
    kinds: dict[str, set[type]] = {}
    for run in runs:
        for name, value in run.hparams.items():
            kinds.setdefault(name, set()).add(float if type(value) is int else type(value))
    assert all(len(types) == 1 for types in kinds.values()), kinds
    assert len(kinds) <= 20


def test_the_command_is_whole_and_quoted(tmp_path: Path) -> None:
    folder = tensorboard_folder(str(tmp_path / "my store"), "first")
    assert folder == tmp_path / "my store" / "tensorboard" / "first"
    assert shlex.split(tensorboard_command(folder)) == [
        *["tensorboard", "--logdir", str(folder), "--host", "localhost", "--reload_multifile=true"]
    ]
    assert tensorboard_folder("s3://bucket/store", "first") == Path.cwd() / "tensorboard" / "first"
