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
@click.option(
    "--cluster",
    metavar="CLUSTER",
    help="Simulate the run on a cluster, as in gpus=8,memory=80,cpus=64: how long it takes and how much of it is idle. "
    "The memory is that of one GPU, in GB.",
)
@skip_failed_option
@json_option
def plan(
    path: str, location: str, only: str | None, cluster: str | None, skip_failed: frozenset[str], as_json: bool
) -> None:
    """Show what a sweep would run and how much it would write.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.forecast import forecast
    from adaprob_ray.runtime.simulated_cluster import SimulatedCluster

    simulated_cluster = None if cluster is None else SimulatedCluster.parse(cluster)
    sweep, plan, store = load_plan(path, location, only, skip_failed=skip_failed)
    simulation = None if simulated_cluster is None else forecast(plan, store, simulated_cluster, REGISTRY)
    states = {key: plan.state(key) for key in plan.cells}
    open_cells = [cell for key, cell in plan.cells.items() if states[key] in ("ready", "waiting")]
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in open_cells)
    if as_json:
        cells = [{"key": k, "title": c.title, "stage": c.stage, "state": states[k]} for k, c in plan.cells.items()]
        document = {"sweep": sweep.name, "counts": plan.counts(), "bytes_to_write": size, "cells": cells}
        document["skipped"] = [str(line) for line in sweep.skipped]
        if simulation is not None:
            document["simulation"] = simulation.document()
        click.echo(json.dumps(document))
        return
    click.echo(f"{sweep.name}: {len(plan.cells)} cells in {location}")
    echo_stages(plan)
    echo_failed_before(plan)
    echo_skipped(sweep)
    click.echo(f"to execute: {len(open_cells)} cells, about {decimal(int(size))} to write")
    for line in simulation.lines() if simulation is not None else ():
        click.echo(line)
