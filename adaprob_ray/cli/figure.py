"""The commands figure NAME, one for each figure of adaprob_ray.reporting.figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._group import CommandGroup
from adaprob_ray.cli._records import record_parameters

if TYPE_CHECKING:
    from adaprob_ray.reporting.records.selection import Selection


@click.group(cls=CommandGroup)
def figure() -> None:
    """Draw a figure of a sweep's Records."""


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


columns_option = click.option(
    "--columns",
    metavar="COLUMN,COLUMN",
    callback=_columns,
    help="Only these columns of Records, in this order.  [default: errors and KL, if the Records have them]",
)


@figure.command("trade_off")
@record_parameters
def trade_off(selection: Selection, out: Path) -> None:
    """Forget error against retain error."""
    from adaprob_ray.reporting.figures.trade_off import build_trade_off
    from adaprob_ray.reporting.tables.output import show

    show(build_trade_off(selection.with_references(), out))


@figure.command("cost")
@record_parameters
def cost(selection: Selection, out: Path) -> None:
    """Distance to Retrain against passes."""
    from adaprob_ray.reporting.figures.cost import build_cost
    from adaprob_ray.reporting.tables.output import show

    show(build_cost(selection.with_references(), out))


@figure.command("ranks")
@record_parameters
@columns_option
def ranks(selection: Selection, out: Path, columns: tuple[str, ...] | None) -> None:
    """Mean ranks by distance to Retrain."""
    from adaprob_ray.reporting.figures.ranks import build_ranks
    from adaprob_ray.reporting.tables.output import show

    show(build_ranks(selection.with_references(), out, columns=columns))


@figure.command("time_bars")
@record_parameters
@click.option("--warm-up", type=int, metavar="SEED", help="Leave out this seed, the first, which warms the machine up.")
def time_bars(selection: Selection, out: Path, warm_up: int | None) -> None:
    """Unlearning times with standard errors."""
    from adaprob_ray.reporting.figures.time_bars import build_time_bars
    from adaprob_ray.reporting.tables.output import show

    show(build_time_bars(selection, out, warm_up=warm_up))


@figure.command("ablation")
@record_parameters
@click.option("--over", required=True, metavar="SETTING", help="Setting of the x-axis, such as lam.")
@columns_option
def ablation(
    selection: Selection,
    out: Path,
    over: str,
    columns: tuple[str, ...] | None,
) -> None:
    """Metrics against one setting of a method."""
    from adaprob_ray.reporting.figures.ablation import build_ablation
    from adaprob_ray.reporting.tables.output import show

    show(build_ablation(selection.with_references(), out, over=over, columns=columns))


@figure.command("embedding")
@record_parameters
@click.option(
    "--subset", type=click.Choice(["test", "forget"]), default="test", show_default=True, help="Samples to show."
)
@click.option(
    "--methods",
    metavar="METHOD,METHOD",
    callback=_columns,
    help="Methods to show, at most five.  [default: retrain with adaprob and scrub, or others if both are missing]",
)
def embedding(
    selection: Selection,
    out: Path,
    subset: Any,
    methods: tuple[str, ...] | None,
) -> None:
    """t-SNE of the outputs of several models."""
    from adaprob_ray.reporting.figures.embedding import build_embedding
    from adaprob_ray.reporting.tables.output import show

    chosen = None if methods is None else {name: name for name in methods}
    show(build_embedding(selection, out, subset=subset, methods=chosen))


@figure.command("curves")
@record_parameters
@click.option(
    "--scalar",
    metavar="NAME",
    help="Scalar to draw, by its TensorBoard name without the stage: loss, retain_error_percent, …  "
    "[default: the one that most unlearned models have; if several, loss]",
)
def curves(selection: Selection, out: Path, scalar: str | None) -> None:
    """A scalar of the models' series against epochs or steps."""
    from adaprob_ray.reporting.figures.curves import build_curves
    from adaprob_ray.reporting.tables.output import show

    show(build_curves(selection, out, scalar=scalar))
