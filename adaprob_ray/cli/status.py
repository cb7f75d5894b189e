"""The command status."""

from __future__ import annotations

import json

import click

from adaprob_ray.cli._load import load_plan
from adaprob_ray.cli._sweep import echo_skipped, echo_stages, json_option, sweep_parameters


@click.command()
@sweep_parameters
@json_option
def status(path: str, location: str, only: str | None, as_json: bool) -> None:
    """Show the progress of a sweep and its earlier failures.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    sweep, plan, store = load_plan(path, location, only)
    cells, counts = plan.cells, plan.counts()
    past = {key: store.failure(key) for key in sorted(plan.past_failures)} if store else {}
    failures = {key: failure for key, failure in past.items() if failure is not None}
    if as_json:
        reports = {key: {"title": cells[key].title, **failure.document()} for key, failure in failures.items()}
        document = {"sweep": sweep.name, "cells": len(cells), "counts": counts, "failures": reports}
        click.echo(json.dumps({**document, "skipped": [str(line) for line in sweep.skipped]}))
        return
    click.echo(f"{sweep.name}: {counts['done']} of {len(cells)} cells done in {location}")
    echo_stages(plan)
    echo_skipped(sweep)
    for key, failure in failures.items():
        click.echo(f"  failed before: {cells[key].title}: {failure}")
