"""The command plan."""

from __future__ import annotations

import json

import click

from adaprob_ray.cli._load import data_root, load_plan
from adaprob_ray.cli._plan_lines import hours, hours_line, label_lines, rerun_lines
from adaprob_ray.cli._sweep import (
    echo_changed_methods,
    echo_failed_before,
    echo_skipped,
    echo_stages,
    json_option,
    rerun_option,
    skip_failed_option,
    sweep_parameters,
)


@click.command()
@sweep_parameters
@click.option(
    "--cluster",
    metavar="CLUSTER",
    help="Simulate the run on a cluster, as in gpus=8,memory=80,cpus=64, and print its duration and the idle share. "
    "The memory is that of one GPU, in GB.",
)
@rerun_option
@skip_failed_option
@json_option
def plan(
    path: str,
    location: str,
    only: str | None,
    cluster: str | None,
    rerun: str | None,
    skip_failed: frozenset[str],
    as_json: bool,
) -> None:
    """Show what a sweep would run and how much it would write.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.expected_seconds import expected_seconds, read_measured
    from adaprob_ray.runtime.forecast import forecast
    from adaprob_ray.runtime.method_source import read_changed_methods
    from adaprob_ray.runtime.planning import check_requests, data_faults
    from adaprob_ray.runtime.rerun import Rerun
    from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
    from adaprob_ray.sweep.select import select_to_recompute

    simulated_cluster = None if cluster is None else SimulatedCluster.parse(cluster)
    sweep, plan, store = load_plan(path, location, only, skip_failed=skip_failed, rerun=rerun)
    simulation = None if simulated_cluster is None else forecast(plan, store, simulated_cluster, REGISTRY)
    states = {key: plan.state(key) for key in plan.cells}
    open_cells = {key: cell for key, cell in plan.cells.items() if states[key] in ("ready", "waiting")}
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in open_cells.values())
    measured = read_measured(store if open_cells else None, REGISTRY)
    expected = expected_seconds(open_cells, measured, REGISTRY, has_gpus=True)
    faults = data_faults(plan, data_root(), REGISTRY)
    if not faults:
        check_requests(plan, data_root(), REGISTRY)
    changed = {} if store is None else read_changed_methods(plan.cells, store, REGISTRY)
    again = None
    if store is not None and rerun is not None:
        again = Rerun.find(store, select_to_recompute(plan.cells, rerun), REGISTRY)
    if as_json:
        cells = [{"key": k, "title": c.title, "stage": c.stage, "state": states[k]} for k, c in plan.cells.items()]
        document = {"sweep": sweep.name, "counts": plan.counts(), "bytes_to_write": size, "cells": cells}
        document["skipped"] = [str(line) for line in sweep.skipped]
        document |= {"expected_hours": hours(expected), "data_faults": faults, "changed_methods": changed}
        if again is not None:
            document |= {"recomputed": sorted(again.done), "recomputed_elsewhere": sorted(again.done_elsewhere)}
        if simulation is not None:
            document["simulation"] = simulation.document()
        click.echo(json.dumps(document))
        return
    click.echo(f"{sweep.name}: {len(plan.cells)} cells in {location}")
    echo_stages(plan)
    lines = label_lines(plan, REGISTRY)
    lines += rerun_lines(again, plan.cells) if again is not None else []
    click.echo("\n".join(lines))
    echo_failed_before(plan)
    echo_skipped(sweep)
    click.echo(f"to execute: {len(open_cells)} cells, about {decimal(int(size))} to write")
    if simulation is not None:
        click.echo("\n".join(simulation.lines()))
    elif open_cells:
        click.echo(hours_line(expected))
    for fault in faults:
        click.echo(f"missing data: {fault}")
    echo_changed_methods(changed, path, location)
