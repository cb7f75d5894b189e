"""The command list: the names that sweep files use, and what is behind each."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._sweep import json_option
from adaprob_ray.errors import InputError, unknown_name

if TYPE_CHECKING:
    from adaprob_ray.data.dataset import Dataset

KINDS = {
    "methods": "method",
    "metrics": "metric",
    "architectures": "architecture",
    "recipes": "recipe",
    "datasets": "data set",
}
# Units of a metric's columns, by the end of their names.
COLUMN_UNITS = {"_percent": "%", "_nats": "nats", "_seconds": "s", "_examples": "samples", "_steps": "epochs"}
# The size for which a network's parameters are counted, as in CIFAR-10.
EXAMPLE_NETWORK = {"classes": 10, "channels": 3, "filters": 1.0}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name of the catalogue. `rows` is a table of `rows_name`: of settings, columns or values."""

    name: str
    summary: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows_name: str = ""
    rows: Sequence[Mapping[str, Any]] = ()

    def document(self) -> dict[str, Any]:
        """The entry as JSON."""
        rows = {self.rows_name: [dict(row) for row in self.rows]} if self.rows_name else {}
        return {"name": self.name, "summary": self.summary, **self.facts, **rows}

    def lines(self) -> list[str]:
        """The entry as text."""
        facts = [f"  {name.replace('_', ' ')}: {_text(value)}" for name, value in self.facts.items()]
        return [
            f"{self.name}: {self.summary}",
            *facts,
            *([f"  {self.rows_name}:", *self._table()] if self.rows else []),
        ]

    def _table(self) -> list[str]:
        """Rows under a header, without empty columns; the last column is not padded."""
        names = [name for name in self.rows[0] if any(row[name] for row in self.rows)]
        table = [names, *([str(row[name]) for name in names] for row in self.rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(names))]
        padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
        return [f"    {line.rstrip()}" for line in padded]


def complete_entry(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the kind given before that begin with `incomplete`."""
    try:
        return [name for name in summaries_of(ctx.params["kind"]) if name.startswith(incomplete)]
    except InputError:
        return []  # An unreadable manifest is an error of the command, not of the prompt.


@click.command("list")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_entry)
@json_option
def list_entries(kind: str, name: str | None, as_json: bool) -> None:
    """List the names that sweep files use; describe one of them.

    With NAME: the settings of a method with type, default and range, the columns of a metric with their units, the values of
    a recipe, the sizes of a data set or an architecture. NAME may be a path, such as my_package.mine:MyMethod, or a network of
    a library, such as torchvision:resnet18.
    """
    if name is not None and ":" in name:
        load_path_entry(kind, name)
    summaries = summaries_of(kind)
    if name is not None:
        if name not in summaries:
            raise InputError(unknown_name(KINDS[kind], name, summaries))
        entry = Entry(name=name, summary=summaries[name], **_DESCRIBERS[kind](name))
        click.echo(json.dumps(entry.document()) if as_json else "\n".join(entry.lines()))
    elif as_json:
        click.echo(json.dumps({kind: [{"name": name, "summary": summary} for name, summary in summaries.items()]}))
    else:
        width = max(map(len, summaries))
        for name, summary in summaries.items():
            click.echo(f"{name:<{width}}  {summary}")


def load_path_entry(kind: str, path: str) -> None:
    """Import what a path names. Raises InputError if that fails, or recipes are asked for, which have no paths."""
    if kind == "recipes":
        return
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.user_code.folders import look_in

    look_in(Path.cwd())
    faults = REGISTRY.name_faults(kind.removesuffix("s"), path)
    if faults:
        raise InputError(*faults)


def summaries_of(kind: str) -> dict[str, str]:
    """One line for each name of a kind, in the order of the catalogue. Recipes are read without loading PyTorch."""
    if kind == "recipes":
        from adaprob_ray.recipe import RECIPE_SUMMARIES

        return RECIPE_SUMMARIES
    from adaprob_ray import catalogue
    from adaprob_ray.cli._load import load_datasets
    from adaprob_ray.describe import module_summary

    if kind == "methods":
        return {name: module_summary(method) for name, method in catalogue.METHODS.items()}
    tables: Mapping[str, Mapping[str, Any]] = {
        "metrics": catalogue.METRICS,
        "architectures": catalogue.ARCHITECTURES,
        "datasets": load_datasets(),
    }
    entries = tables[kind]
    return {name: entry.about for name, entry in entries.items()}


def describe_method(name: str) -> dict[str, Any]:
    """Stage, revision, needs and settings of a method."""
    from adaprob_ray.catalogue import METHODS
    from adaprob_ray.describe import setting_rows

    method = METHODS[name]
    facts = {"stage": method.stage, "revision": method.revision, "needs": sorted(method.needs)}
    if method.optional_needs:
        facts["optional_needs"] = sorted(method.optional_needs)
    rows = [dataclasses.asdict(row) for row in setting_rows(method)]
    return {"facts": facts, "rows_name": "settings", "rows": rows}


def describe_metric(name: str) -> dict[str, Any]:
    """Revision, needed stages and columns of a metric."""
    from adaprob_ray.catalogue import METRICS

    metric = METRICS[name]
    units = [
        (column, (unit for end, unit in COLUMN_UNITS.items() if column.endswith(end))) for column in metric.columns
    ]
    return {
        "facts": {"revision": metric.revision, "needs": sorted(metric.needs)},
        "rows_name": "columns",
        "rows": [{"column": column, "unit": next(unit, "")} for column, unit in units],
    }


def describe_architecture(name: str) -> dict[str, Any]:
    """Parameters and the smallest width multiplier of a network."""
    from adaprob_ray.catalogue import ARCHITECTURES
    from adaprob_ray.plugins.networks import PathArchitecture

    architecture = ARCHITECTURES[name]
    if isinstance(architecture, PathArchitecture):
        return {"facts": {"arguments": architecture.arguments_text(), **architecture.facts}}
    paragraphs = (inspect.getdoc(architecture.build) or "").split("\n\n")
    facts = {
        "revision": architecture.revision,
        "filters": " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else "",
        "smallest_filters": 1 / architecture.narrowest,
        "parameters": architecture.parameter_count(**EXAMPLE_NETWORK),
        "parameters_of": "3 channels, 10 classes, filters 1.0",
    }
    return {"facts": facts}


def describe_recipe(name: str) -> dict[str, Any]:
    """The values of a recipe."""
    from adaprob_ray.describe import format_value, setting_rows
    from adaprob_ray.recipe import RECIPES

    rows = [
        {"name": row.name, "value": format_value(getattr(RECIPES[name], row.name)), "unit": row.unit, "help": row.help}
        for row in setting_rows(type(RECIPES[name]))
    ]
    return {"rows_name": "values", "rows": rows}


def describe_dataset(name: str) -> dict[str, Any]:
    """Sizes of a data set, and whether its files are available."""
    from adaprob_ray.catalogue import DATASETS
    from adaprob_ray.cli._load import data_root

    dataset: Dataset = DATASETS[name]
    facts = {
        "revision": dataset.revision,
        "classes": dataset.classes,
        "channels": dataset.channels,
        "size": dataset.size,
        "train_samples": sum(dataset.train_per_class),
        "validation_samples": sum(dataset.validation_per_class),
        "test_samples": dataset.test_count,
        "pretrained_on": dataset.pretrain_on,
        "files": dataset.verify(data_root()) or "available",
    }
    return {"facts": facts}


_DESCRIBERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "methods": describe_method,
    "metrics": describe_metric,
    "architectures": describe_architecture,
    "recipes": describe_recipe,
    "datasets": describe_dataset,
}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
