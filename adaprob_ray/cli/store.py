"""Commands on a whole store: store init, gc, copy, verify."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED
from adaprob_ray.cli._group import CommandGroup
from adaprob_ray.cli._load import load_datasets, load_sweep_or_search
from adaprob_ray.cli._sweep import complete_sweep_file, json_option, only_option, store_option
from adaprob_ray.errors import InputError

if TYPE_CHECKING:
    from adaprob_ray.store.contents import Corruption, StoredCells
    from adaprob_ray.store.gc import Garbage, GarbageItem


@click.group(cls=CommandGroup)
def store() -> None:
    """Create, clean up, copy and verify a store."""


@store.command()
@store_option
@click.option(
    "--group",
    is_flag=True,
    help="Let the group of the folder read and write the store, whatever its users' umasks are.",
)
def init(location: str, group: bool) -> int:
    """Create a store, or repair the store.json of one.

    A store that exists keeps what it has. With --group, files already in the folder are shared with the group too if
    you own them; files that others own are listed.
    """
    from adaprob_ray.store.init import init_store

    result = init_store(location, group=group)
    if result.repaired:
        click.echo(f"store.json was damaged and has been rewritten: {result.location}")
    click.echo(f"store: {result.location}{' (its group may read and write it)' if result.is_shared else ''}")
    for line in result.not_shared:
        click.echo(f"not shared: {line}", err=True)
    return FAILED if result.not_shared else DONE


@store.command()
@click.option(
    "--keep",
    metavar="SWEEP...",
    multiple=True,
    required=True,
    shell_complete=complete_sweep_file,
    help="Sweep files whose cells are kept.",
)
@click.argument("more", metavar="[SWEEP...]", nargs=-1, shell_complete=complete_sweep_file)
@store_option
@click.option("--yes", is_flag=True, help="Delete what is listed. Without it, nothing is written.")
@click.option(
    "--grace",
    "grace_minutes",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="MINUTES",
    help="Keep the cells of unfinished sweeps that were active within this time.",
)
@json_option
def gc(
    keep: tuple[str, ...], more: tuple[str, ...], location: str, yes: bool, grace_minutes: float, as_json: bool
) -> int:
    """List or delete what no sweep needs.

    Lists (with --yes, deletes) cells that are in none of the sweep files, and files that needed cells no longer use: those
    of revoked, failed and interrupted attempts, and the checkpoints of done cells. What a run holds or needs, on any machine,
    is never listed.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.store import Store
    from adaprob_ray.store.gc import find_garbage
    from adaprob_ray.store.gc_delete import delete_garbage

    needed = {key for path in (*keep, *more) for key in load_sweep_or_search(path, location).cells}
    opened = Store.open(location, create=False)
    garbage = find_garbage(opened, needed, REGISTRY, grace_seconds=60 * grace_minutes, on_wait=_echo_wait)
    if not as_json:
        _echo_garbage(garbage)
    deletion = delete_garbage(opened, garbage) if yes else None
    if as_json:
        document = _garbage_document(garbage)
        deleted = {"deleted_bytes": deletion.bytes, "left": [i.title for i in deletion.left]} if deletion else {}
        click.echo(json.dumps({"store": opened.location, "deleted": yes, **document, **deleted}))
        return DONE
    count = len(garbage.cells) + len(garbage.attempts) + len(garbage.checkpoints) + len(garbage.probes)
    if deletion is not None:
        for item in deletion.left:
            click.echo(f"left: {item.title}: it is in use again")
        click.echo(f"deleted: {count - len(deletion.left)} items, {decimal(deletion.bytes)}")
    elif count:
        click.echo(f"not needed: {count} items, {decimal(garbage.bytes)}; to delete them, add --yes")
    else:
        click.echo("everything in the store is needed")
    return DONE


@store.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@only_option
@click.option(
    "--sweep", metavar="SWEEP", shell_complete=complete_sweep_file, help="Copy only cells of this sweep file."
)
@json_option
def copy(source: str, target: str, only: str | None, sweep: str | None, as_json: bool) -> int:
    """Copy finished cells from one store to another.

    FROM and TO are folders or URIs (s3://, gs://, az://). Every file is checked against its checksum; corrupt cells are
    reported and left out. What TO has already is not copied again: to continue an interrupted copy, repeat its command.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.store import Store
    from adaprob_ray.store.contents import StoredCells
    from adaprob_ray.store.copy import copy_cells
    from adaprob_ray.sweep.select import select_cells

    load_datasets()
    origin = Store.open(source, create=False)
    logs = origin.survey()
    stored = StoredCells.read(origin, REGISTRY, {key: log for key, log in logs.items() if log.done is not None})
    keys = [*stored.documents, *sorted(stored.unreadable)]
    if sweep is not None:
        in_sweep = load_sweep_or_search(sweep, source).cells
        keys = [key for key in (in_sweep if only is None else select_cells(in_sweep, only)) if key in logs]
    elif only is not None:
        keys = list(select_cells(stored.cells, only))
    destination = Store.open(target)
    if destination.location == origin.location:
        raise InputError(f"TO: must be a different store from FROM, got {destination.location}")
    done = sum(key in logs and logs[key].done is not None for key in keys)
    with click.progressbar(length=done, label=f"copying {done} cells", file=sys.stderr) as bar:
        result = copy_cells(origin, destination, keys, on_cell=lambda: bar.update(1))
    if as_json:
        stores = {"from": origin.location, "to": destination.location}
        cells = {"copied": result.copied, "present": result.present, "held": result.held}
        corrupt = _corrupt_document(result.corrupt, stored)
        click.echo(json.dumps({**stores, **cells, "corrupt": corrupt, "bytes": result.bytes}))
    else:
        for key in result.held:
            click.echo(f"held: {stored.title(key)}: another process works on it in {destination.location}", err=True)
        _echo_corrupt(result.corrupt, stored)
        present = f", {len(result.present)} were there already" if result.present else ""
        click.echo(f"{len(result.copied)} cells copied, {decimal(result.bytes)}{present}")
    return FAILED if result.corrupt or result.held else DONE


@store.command()
@store_option
@click.option("--revoke", is_flag=True, help="Revoke corrupt cells, so that the next run computes them again.")
@json_option
def verify(location: str, revoke: bool, as_json: bool) -> int:
    """Check every finished cell by its checksums.

    Every file is read. Exits with 1 if a file is corrupt. Nothing is written without --revoke.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.store import Store
    from adaprob_ray.store.contents import StoredCells
    from adaprob_ray.store.verify import committed_attempts, verify_store

    load_datasets()
    opened = Store.open(location, create=False)
    logs = opened.survey()
    count = len(committed_attempts(logs))
    with click.progressbar(length=count, label=f"reading {count} cells", file=sys.stderr) as bar:
        result = verify_store(opened, logs, revoke=revoke, on_attempt=lambda: bar.update(1))
    corrupt_logs = {corruption.key: logs[corruption.key] for corruption in result.corrupt}
    stored = StoredCells.read(opened, REGISTRY, corrupt_logs)
    if as_json:
        counts = {"attempts": result.attempts, "artefacts": result.artefacts, "bytes": result.bytes}
        document = {"store": opened.location, **counts, "revoked": revoke and bool(result.corrupt)}
        click.echo(json.dumps({**document, "corrupt": _corrupt_document(result.corrupt, stored)}))
    else:
        _echo_corrupt(result.corrupt, stored)
        click.echo(f"{result.artefacts} files of {result.attempts} cells read, {decimal(result.bytes)}")
        if result.corrupt:
            remedy = (
                "they are revoked, and the next run computes them again"
                if revoke
                else "to compute them again, add --revoke and run"
            )
            click.echo(f"corrupt cells: {len(corrupt_logs)}; {remedy}")
    return FAILED if result.corrupt else DONE


def _echo_wait(count: int) -> None:
    click.echo(f"waiting up to 30 s to see which leases are live (held cells: {count})", err=True)


def _echo_garbage(garbage: Garbage) -> None:
    from rich.filesize import decimal

    for line in garbage.warnings:
        click.echo(f"warning: {line}", err=True)
    for line in garbage.kept:
        click.echo(f"kept: {line}")
    for item in garbage.cells:
        click.echo(f"  {item.title}  {decimal(item.bytes)}  {item.reason}")
    for item in garbage.attempts:
        click.echo(f"  {item.title}  {decimal(item.bytes)}  attempt {item.attempt}: {item.reason}")
    for item in garbage.checkpoints:
        click.echo(f"  {item.title}  {decimal(item.bytes)}  checkpoints: {item.reason}")
    for path, size in garbage.probes.items():
        click.echo(f"  {path}  {decimal(size)}  left by a process that stopped while opening the store")


def _garbage_document(garbage: Garbage) -> dict[str, Any]:
    def plain(items: tuple[GarbageItem, ...]) -> list[dict[str, Any]]:
        names = ("key", "title", "attempt", "reason", "bytes")
        return [{name: getattr(item, name) for name in names if getattr(item, name)} for item in items]

    groups = {name: plain(getattr(garbage, name)) for name in ("cells", "attempts", "checkpoints")}
    probes = [{"path": path, "bytes": size} for path, size in garbage.probes.items()]
    notes = {"kept": list(garbage.kept), "warnings": list(garbage.warnings)}
    return {**groups, "probes": probes, **notes, "bytes": garbage.bytes}


def _corrupt_document(corrupt: list[Corruption] | tuple[Corruption, ...], stored: StoredCells) -> list[dict[str, Any]]:
    return [
        {"key": c.key, "title": stored.title(c.key), "attempt": c.attempt, "name": c.name, "reason": c.reason}
        for c in corrupt
    ]


def _echo_corrupt(corrupt: list[Corruption] | tuple[Corruption, ...], stored: StoredCells) -> None:
    for corruption in corrupt:
        click.echo(f"corrupt: {stored.title(corruption.key)}: {corruption}", err=True)
