"""docs/sweep-file.md has every key that a sweep file may have, and each of its examples parses."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator

import pytest
import yaml

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.recipe import Recipe
from adaprob_ray.search.search_file import SearchFile, SearchSection
from adaprob_ray.settings import hyperparameters
from adaprob_ray.stages.relearn import RelearnOptions
from adaprob_ray.sweep.cell import Resources
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, DatasetSettings
from adaprob_ray.sweep.schema import Section, sweep_file_model
from adaprob_ray.sweep.sweep import Sweep
from docs.sweep_file import EXAMPLES, PATH, completed, page

SETTINGS = {
    "grid.dataset": DatasetSettings,
    "grid.architecture": ArchitectureSettings,
    "train": Recipe,
    "pretrain": Recipe,
    "resources.STAGE": Resources,
    "relearn": RelearnOptions,
}


def schema_keys(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Every key of a model and of the sections in it."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from schema_keys(kind, f"{prefix}{name}.")


KEYS = [
    *schema_keys(sweep_file_model(REGISTRY.metric_stages)),
    *schema_keys(SearchSection, "search."),
    *(f"{prefix}.{name}" for prefix, cls in SETTINGS.items() for name in hyperparameters(cls)),
    *("train.recipe", "pretrain.recipe", "pretrain.seed", "methods.LABEL.method", "search"),
]


def test_the_page_is_up_to_date() -> None:
    assert PATH.read_text(encoding="utf-8") == page(), "docs/sweep-file.md is stale: make docs"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_type_a_default_and_a_meaning(key: str) -> None:
    rows = [row for row in page().splitlines() if row.startswith((f"| `{key}` |", f"| [`{key}`](#{key}) |"))]
    assert len(rows) == 1
    _, _, kind, default, *_, meaning, _ = re.split(r" ?(?<!\\)\| ?", rows[0])
    assert kind
    assert meaning
    assert default or key == "search"


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL))
def test_every_example_on_the_page_parses(example: str) -> None:
    text = completed(example)
    if "search" in yaml.safe_load(text):
        assert SearchFile.parse(text, REGISTRY).targets
    else:
        assert Sweep.parse(text, REGISTRY).cells


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_key_has_an_example(name: str) -> None:
    assert name in yaml.safe_load(EXAMPLES[name])
    assert f"## {name}\n" in page()
    assert EXAMPLES[name] in page()


def test_examples_are_as_many_as_keys() -> None:
    assert EXAMPLES.keys() == {*sweep_file_model(REGISTRY.metric_stages).model_fields, "search"}


def test_a_faulty_example_would_be_noticed() -> None:
    with pytest.raises(ValueError, match="unknown key 'repeat'"):
        Sweep.parse(completed("repeat: 3\n"), REGISTRY)
