"""The command doctor."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from adaprob_ray.cli._exit_codes import BAD_INPUT, DONE
from adaprob_ray.cli._load import data_root, load_plan
from adaprob_ray.cli._sweep import complete_sweep_file, json_option, only_option, store_option
from adaprob_ray.errors import InputError

if TYPE_CHECKING:
    from adaprob_ray.runtime.survey import Finding


@click.command()
@click.argument("path", metavar="[SWEEP]", required=False, shell_complete=complete_sweep_file)
@click.option("--address", metavar="ADDRESS", help="Ray cluster to check. Without it, this machine alone.")
@store_option
@only_option
@json_option
def doctor(path: str | None, address: str | None, location: str, only: str | None, as_json: bool) -> int:
    """Check whether a sweep can run here, or on a cluster.

    On every node: the store, versions, data sets, GPUs, shared memory, disk and clock; with SWEEP (a sweep file), the data
    sets and resources of its unfinished cells. Exits with 2 if a check fails. Nothing stays in the store.
    """
    if path is None and only is not None:
        raise InputError("--only: must be given with SWEEP, got no sweep file")
    findings = check(path, address, location, only)
    counts = Counter(finding.status for finding in findings)
    if as_json:
        document = {"counts": {name: counts[name] for name in ("ok", "warn", "fail")}}
        click.echo(json.dumps({**document, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            click.echo(f"{finding.status:<6}{finding.check:<11}{finding}")
    return BAD_INPUT if counts["fail"] else DONE


def check(path: str | None, address: str | None, location: str, only: str | None) -> list[Finding]:
    """The findings; a cluster that cannot be reached is one, found before anything slow is imported."""
    from adaprob_ray.runtime import ray_environment
    from adaprob_ray.runtime.cluster_address import check_address
    from adaprob_ray.runtime.doctor import Needs, check_cluster, check_machine
    from adaprob_ray.runtime.survey import Finding

    ray_environment.prepare(address)
    if address is not None:
        try:
            check_address(address)
        except InputError as error:
            message = str(error).removeprefix(f"--address {address}: ")
            return [Finding(status="fail", check="cluster", where=address, message=message)]
    needs = Needs()
    if path is not None:
        from adaprob_ray.catalogue import REGISTRY

        _, plan, _ = load_plan(path, location, only)
        needs = Needs.of(plan, REGISTRY)
    root = data_root().absolute()
    if address is None:
        return check_machine(location, root, needs)
    from adaprob_ray.runtime.cluster_capacity import node_types
    from adaprob_ray.runtime.ray_executor import cluster

    with cluster(address):
        return check_cluster(location, root, needs, node_types())
