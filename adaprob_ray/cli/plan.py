"""The command plan."""

from __future__ import annotations

import json

import click

from adaprob_ray.cli._load import load_plan
from adaprob_ray.cli._sweep import (
    echo_failed_before,
    echo_skipped,
    echo_stages,
    json_option,
    skip_failed_option,
    sweep_parameters,
)


@click.command()
@sweep_parameters
@skip_failed_option
@json_option
def plan(path: str, location: str, only: str | None, skip_failed: frozenset[str], as_json: bool) -> None:
    """Show what a sweep would run and how much it would write.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY

    sweep, plan, _ = load_plan(path, location, only, skip_failed=skip_failed)
    states = {key: plan.state(key) for key in plan.cells}
    open_cells = [cell for key, cell in plan.cells.items() if states[key] in ("ready", "waiting")]
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in open_cells)
    if as_json:
        cells = [{"key": k, "title": c.title, "stage": c.stage, "state": states[k]} for k, c in plan.cells.items()]
        document = {"sweep": sweep.name, "counts": plan.counts(), "bytes_to_write": size, "cells": cells}
        document["skipped"] = [str(line) for line in sweep.skipped]
        click.echo(json.dumps(document))
        return
    click.echo(f"{sweep.name}: {len(plan.cells)} cells in {location}")
    echo_stages(plan)
    echo_failed_before(plan)
    echo_skipped(sweep)
    click.echo(f"to execute: {len(open_cells)} cells, about {decimal(int(size))} to write")
