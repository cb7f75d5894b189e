"""Commands on data sets: data list, prepare, verify, indices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import click

from adaprob_ray.cli._group import CommandGroup
from adaprob_ray.cli._load import data_root, load_datasets, select_datasets
from adaprob_ray.errors import InputError


def complete_dataset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of data sets that begin with `incomplete`."""
    try:
        return [name for name in load_datasets() if name.startswith(incomplete)]
    except InputError:
        return []  # An unreadable manifest is an error of the command, not of the prompt.


class SizeType(click.ParamType):
    """A number of pixels, or `own`."""

    name = "pixels or own"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["own"]:
        if value == "own":
            return "own"
        try:
            return int(value)
        except ValueError:
            self.fail(f"must be a number of pixels or own, got {value!r}", param, ctx)


names_argument = click.argument("names", metavar="DATASET...", nargs=-1, required=True, shell_complete=complete_dataset)


@click.group(cls=CommandGroup)
def data() -> None:
    """List, prepare and verify data sets; write split indices."""


@data.command("list")
def list_datasets() -> None:
    """List all data sets and whether they are available."""
    root = data_root()
    datasets = load_datasets()
    click.echo(f"ADAPROB_DATA is {root}")
    for dataset in datasets.values():
        counts = f"{sum(dataset.train_per_class):>6} train {sum(dataset.validation_per_class):>6} validation"
        state = "missing or corrupt" if dataset.verify(root) else "available"
        click.echo(f"  {dataset.name:<14} {counts} {dataset.test_count:>6} test  {state:<18} {dataset.about}")


@data.command()
@names_argument
@click.option(
    "--size",
    type=SizeType(),
    show_default="32",
    help="Height and width in pixels, for image folders; own: the size of the images, if it is the same for all.",
)
def prepare(names: tuple[str, ...], size: int | Literal["own"] | None) -> None:
    """Download data sets, or convert image folders into data sets.

    Downloads go to the folder ADAPROB_DATA. An image folder there is ADAPROB_DATA/DATASET/CLASS/* or
    ADAPROB_DATA/DATASET/train|test/CLASS/*, sub-folders of a class included.

    Files that are not images are passed over and named. Images of a folder with the same pixels are copies: they are counted,
    listed, and forgotten together. In the built-in data sets copies are only counted.
    """
    from adaprob_ray.catalogue import BUILT_IN
    from adaprob_ray.cli._prepare_table import folder_summary, report_lines, scaled_line, table_lines
    from adaprob_ray.data.copies import count_copies
    from adaprob_ray.data.folder import SIZE, prepare_folder

    root = data_root()
    try:
        reports = {
            name: prepare_folder(name, root, size=SIZE if size is None else size)
            for name in dict.fromkeys(names)
            if name not in BUILT_IN and (root / name).is_dir()
        }
        summaries = []
        for dataset in select_datasets(names):
            if dataset.verify(root) is not None and dataset.prepare is not None:
                dataset.prepare(root)
            if (fault := dataset.verify(root)) is not None:
                raise InputError(fault)
            click.echo(f"{dataset.name}: ready")
            report = reports.get(dataset.name)
            summaries.append(count_copies(dataset, root) if report is None else folder_summary(dataset.name, report))
        for name, report in reports.items():
            for line in report_lines(name, report, root):
                click.echo(line)
            if size is None and (line := scaled_line(name, report)):
                click.echo(line)
        for line in table_lines(summaries):
            click.echo(line)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{', '.join(names)}: cannot be prepared in {root}: {error}") from error


@data.command()
@names_argument
def verify(names: tuple[str, ...]) -> None:
    """Check data sets by the checksums or counts of their files."""
    faults = [fault for dataset in select_datasets(names) if (fault := dataset.verify(data_root()))]
    if faults:
        raise InputError(*faults)
    click.echo(f"verified: {', '.join(names)}")


@data.command()
@click.argument("name", metavar="DATASET", shell_complete=complete_dataset)
@click.option("--seed", type=int, required=True, help="Seed of the split, at least 1.")
@click.option("--class", "forget_class", type=int, required=True, metavar="C", help="Class of the samples to forget.")
@click.option("--count", type=int, help="Number of samples to forget. Without it, the whole class.")
@click.option(
    "--train-per-class", type=int, metavar="N", help="As in a sweep file: train on N images of each class, not on all."
)
@click.option(
    "--test-pool",
    type=click.Choice(["clean", "paper"]),
    default="clean",
    show_default=True,
    help="paper keeps test samples that are also training samples; clean drops them.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Without it, standard output."
)
def indices(
    name: str,
    seed: int,
    forget_class: int,
    count: int | None,
    train_per_class: int | None,
    test_pool: str,
    out: Path | None,
) -> None:
    """Write every index of a split and its forget set as JSON."""
    from adaprob_ray.data.split import index_table
    from adaprob_ray.sweep.cell_settings import ForgetRequest
    from adaprob_ray.sweep.checks import Faults, check_seed
    from adaprob_ray.sweep.forget_checks import forget_faults

    (dataset,) = select_datasets((name,))
    if train_per_class is not None:
        dataset = dataset.reduced(train_per_class)
    forget: dict[str, Any] = {"kind": "class", "class": forget_class}
    if count is not None:
        forget = {"kind": "selective", "class": forget_class, "count": count}
    faults = Faults(forget_faults(dataset.name, dataset, forget))
    check_seed("--seed", seed, faults)
    if (fault := dataset.verify(data_root())) is not None:
        faults.add(fault)
    if faults:
        raise InputError(*faults)
    text = json.dumps(index_table(dataset, data_root(), seed, ForgetRequest.from_document(forget), test_pool=test_pool))
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: cannot be written: {error}") from error
