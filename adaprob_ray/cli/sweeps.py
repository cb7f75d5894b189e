"""The command line: plan, run, status, explain, data. The only module of the package that prints.

Exit codes: 0 all done; 1 some cells failed or are blocked, one line each; 2 bad input; 130 interrupted.
Commands import what they need when they run, so that `--help` and errors are immediate and `plan` never loads Ray.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaprob_ray import __version__
from adaprob_ray.errors import AdaprobError, InputError, NoStore, unknown_name
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep

if TYPE_CHECKING:
    from adaprob_ray.data.dataset import Dataset

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors into exit codes."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(options, "cell", "") is None:
        options.cell = rest.pop()  # before 3.12 argparse takes no optional positional after an option
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code: int = options.command(options)
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return BAD_INPUT
    except AdaprobError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        again = shlex.join(["adaprob-ray", *(arguments if arguments is not None else sys.argv[1:])])
        print(f"\ninterrupted; leases are released, finished cells are kept. Go on with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of a pipe went away
        return DONE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adaprob-ray", description="Machine unlearning sweeps: AdaProb and its rivals."
    )
    parser.add_argument("--version", action="version", version=f"adaprob-ray {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, about in (
        ("plan", _plan, "show what a sweep would do and the bytes it will take; writes nothing"),
        ("run", _run, "execute what is not done yet"),
        ("status", _status, "show how far a sweep is"),
        ("explain", _explain, "say why a cell is in its state and what its key is made of"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(command=function)
        _add_sweep_arguments(command)
        if name in ("plan", "status"):
            command.add_argument("--json", action="store_true", help="machine-readable")
        if name == "run":
            command.add_argument("--executor", choices=("ray", "local"), default="ray")
            command.add_argument("--address", help="of a Ray cluster; without it a private local Ray is started")
        if name == "explain":
            command.add_argument(
                "cell", nargs="?", help="beginning of a key or a title; without it every cell that is not done"
            )
    _add_data_commands(commands.add_parser("data", help="list, prepare, verify data sets; write indices"))
    return parser


def _add_sweep_arguments(command: argparse.ArgumentParser) -> None:
    store = os.environ.get("ADAPROB_STORE", "./store")
    command.add_argument("sweep", help="a sweep file (YAML)")
    command.add_argument("--store", default=store, help=f"folder or s3://, gs://, az:// URI (ADAPROB_STORE; {store})")
    command.add_argument(
        "--only", metavar="CONDITIONS", help="cells like 'method=scrub,seed<3', with all they depend on"
    )


def _data_root() -> Path:
    return Path(os.environ.get("ADAPROB_DATA", "./data")).expanduser()


def _cells(options: argparse.Namespace) -> tuple[Sweep, Mapping[str, Cell]]:
    from adaprob_ray.catalogue import REGISTRY, register_folders  # loads torch, never Ray

    register_folders(_data_root())
    sweep = Sweep.load(options.sweep, REGISTRY)
    return sweep, select_cells(sweep.cells, options.only) if options.only is not None else sweep.cells


def _existing_store(location: str) -> Store | None:
    """The store if there is one: plan, status and explain write nothing."""
    try:
        return Store.open(location, create=False)
    except NoStore:
        return None


# -- plan, run, status, explain --------------------------------------------------------------------------------------------


def _plan(options: argparse.Namespace) -> int:
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.planning import plan_against

    sweep, cells = _cells(options)
    plan = plan_against(cells, _existing_store(options.store))
    open_cells = [cell for key, cell in cells.items() if plan.state(key) not in ("done", "leased")]
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in open_cells)
    if options.json:
        states = [{"key": k, "title": c.title, "stage": c.stage, "state": plan.state(k)} for k, c in cells.items()]
        print(json.dumps({"sweep": sweep.name, "counts": plan.counts(), "bytes_to_write": size, "cells": states}))
        return DONE
    print(f"{sweep.name}: {len(cells)} cells in {options.store}")
    _print_stages(plan)
    for line in sweep.skipped:
        print(f"skipped: {line}")
    print(f"to execute: {len(open_cells)} cells, about {_bytes(size)} to write")
    return DONE


def _print_stages(plan: Plan) -> None:
    """A line for each stage: how many cells are in which state."""
    for stage in dict.fromkeys(cell.stage for cell in plan.cells.values()):
        states = [plan.state(key) for key, cell in plan.cells.items() if cell.stage == stage]
        words = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
        print(f"  {stage:<9} {len(states):>6}  {words}")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _run(options: argparse.Namespace) -> int:
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.launch import run
    from adaprob_ray.runtime.planning import check_data, plan_against

    # SIGTERM is an interrupt too; not by way of SIGINT, which a shell ignores for what it starts in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep, cells = _cells(options)
    # bad input leaves nothing behind
    check_data(cells, plan_against(cells, _existing_store(options.store)), _data_root(), REGISTRY)
    store = Store.open(options.store)
    digest = hashlib.sha256(sweep.text.encode()).hexdigest()[:8]
    store.put_text(f"sweeps/{sweep.name}-{digest}.yaml", sweep.text)
    result = run(
        cells,
        store,
        sweep=sweep.name,
        data_root=_data_root(),
        executor=options.executor,
        address=options.address,
    )
    plan, tensorboard_dir = result.plan, result.tensorboard_dir
    for line in result.recomputed:
        print(f"recomputed: {line}")
    print(f"{len(plan.executed)} cells executed, {plan.counts()['done']} of {len(cells)} done")
    print(
        f"records:     {store.location}  (python -m analysis compare --store {store.location} --sweep {options.sweep})"
    )
    print(f"tensorboard: {tensorboard_dir}  (tensorboard --logdir {tensorboard_dir})")
    return _print_problems(plan)


def _print_problems(plan: Plan) -> int:
    """One line for each cell that failed or is blocked."""
    problems = 0
    for key, cell in plan.cells.items():
        if plan.state(key) == "failed":
            print(f"failed: {cell.title}: {plan.failures[key]}", file=sys.stderr)
        elif plan.state(key) == "blocked":
            print(f"blocked: {cell.title}: by {', '.join(plan.blocked_by(key))}", file=sys.stderr)
        problems += plan.state(key) in ("failed", "blocked")
    return FAILED if problems else DONE


def _status(options: argparse.Namespace) -> int:
    from adaprob_ray.runtime.planning import plan_against

    sweep, cells = _cells(options)
    store = _existing_store(options.store)
    plan = plan_against(cells, store)
    counts = plan.counts()
    failures = {key: store.failure(key) or {} for key in sorted(plan.past_failures)} if store else {}
    if options.json:
        words = {key: {"title": cells[key].title, **failure} for key, failure in failures.items()}
        print(json.dumps({"sweep": sweep.name, "cells": len(cells), "counts": counts, "failures": words}))
        return DONE
    print(f"{sweep.name}: {counts['done']} of {len(cells)} cells done in {options.store}")
    _print_stages(plan)
    for key, failure in failures.items():
        print(f"  failed before: {cells[key].title}: {failure.get('class')}: {failure.get('message')}")
    return DONE


def _explain(options: argparse.Namespace) -> int:
    from adaprob_ray.runtime.explain import explain
    from adaprob_ray.runtime.planning import plan_against

    _, cells = _cells(options)
    store = _existing_store(options.store)
    plan = plan_against(cells, store)
    wanted = options.cell or ""
    chosen = [key for key, cell in cells.items() if key.startswith(wanted) or cell.title.startswith(wanted)]
    if not wanted:
        chosen = [key for key in cells if plan.state(key) != "done"]
        if not chosen:
            print("every cell is done")
    elif not chosen:
        raise InputError(unknown_name("cell", wanted, [cell.title for cell in cells.values()]))
    for key in chosen:
        print("\n".join(explain(plan, plan.cells[key], store, whole=bool(wanted))))
    return DONE


# -- data --------------------------------------------------------------------------------------------------------------------


def _add_data_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="all data sets, and whether they are at hand").set_defaults(command=_data_list)
    about = "download into ADAPROB_DATA what may be downloaded; make a data set of a folder of class folders there"
    prepare = commands.add_parser("prepare", help=about, description=about)
    prepare.set_defaults(command=_data_prepare)
    prepare.add_argument("--size", type=int, default=32, help="pixels a side, of data sets made of folders (32)")
    verify = commands.add_parser("verify", help="check the files' checksums or counts")
    verify.set_defaults(command=_data_verify)
    for command in (prepare, verify):
        command.add_argument("dataset", nargs="+")
    indices = commands.add_parser("indices", help="write every index of a split and forget set, as JSON")
    indices.set_defaults(command=_data_indices)
    indices.add_argument("dataset")
    indices.add_argument("--seed", type=int, required=True)
    indices.add_argument("--class", dest="forget_class", type=int, required=True, metavar="C")
    indices.add_argument("--count", type=int, help="rows to forget; without it the whole class")
    indices.add_argument("--test-pool", choices=("clean", "paper"), default="clean")
    indices.add_argument("--out", help="a file; without it standard output")


def _datasets(names: Sequence[str]) -> list[Dataset]:
    from adaprob_ray.catalogue import DATASETS, register_folders

    register_folders(_data_root())
    faults = [unknown_name("data set", name, DATASETS) for name in names if name not in DATASETS]
    if faults:
        raise InputError(*faults)
    return [DATASETS[name] for name in names]


def _data_list(options: argparse.Namespace) -> int:
    from adaprob_ray.catalogue import DATASETS, register_folders

    root = _data_root()
    register_folders(root)
    print(f"ADAPROB_DATA is {root}")
    for dataset in DATASETS.values():
        counts = f"{sum(dataset.train_per_class):>6} train {sum(dataset.validation_per_class):>6} validation"
        state = "absent or corrupt" if dataset.verify(root) else "at hand"
        print(f"  {dataset.name:<14} {counts} {dataset.test_count:>6} test  {state:<18} {dataset.about}")
    return DONE


def _data_prepare(options: argparse.Namespace) -> int:
    from adaprob_ray.catalogue import BUILT_IN
    from adaprob_ray.data.folder import prepare_folder

    root, names = _data_root(), options.dataset
    try:
        for name in names:
            if name not in BUILT_IN and (root / name).is_dir():
                prepare_folder(name, root, size=options.size)
        for dataset in _datasets(names):
            if dataset.verify(root) is not None and dataset.prepare is not None:
                dataset.prepare(root)
            if (fault := dataset.verify(root)) is not None:
                raise InputError(fault)
            print(f"{dataset.name}: ready")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{', '.join(names)}: cannot be prepared in {root}: {error}") from error
    return DONE


def _data_verify(options: argparse.Namespace) -> int:
    faults = [fault for dataset in _datasets(options.dataset) if (fault := dataset.verify(_data_root()))]
    if faults:
        raise InputError(*faults)
    print(f"whole: {', '.join(options.dataset)}")
    return DONE


def _data_indices(options: argparse.Namespace) -> int:
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.data.split import index_table
    from adaprob_ray.sweep.checks import forget_faults

    (dataset,) = _datasets([options.dataset])
    forget: dict[str, Any] = {"kind": "class", "class": options.forget_class}
    if options.count is not None:
        forget = {"kind": "selective", "class": options.forget_class, "count": options.count}
    faults = forget_faults(dataset.name, REGISTRY.datasets[dataset.name], forget)
    if options.seed < 1:
        faults.append(f"--seed: must be a whole number of at least 1, got {options.seed}")
    missing = dataset.verify(_data_root())
    if faults or missing:
        raise InputError(*faults, *([missing] if missing else []))
    text = json.dumps(index_table(dataset, _data_root(), options.seed, forget, test_pool=options.test_pool))
    if options.out is None:
        print(text)
    else:
        Path(options.out).write_text(text + "\n")
    return DONE
