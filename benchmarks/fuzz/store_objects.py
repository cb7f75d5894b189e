"""Mutated objects of a finished store: one is damaged, and commands that read the store and run its sweep follow."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.cli._exit_codes import DONE
from adaprob_ray.store import Store
from benchmarks.faults.sweep import comparable_records, sweep_cells, sweep_text
from benchmarks.fuzz.command import differs, paths_below, run_as_process, run_in_process

# The whole sweep is trained again where its first cell is damaged: more seconds than a command that only reads may take.
RUN_SECONDS = 60.0
# TensorBoard files are shown and never read; that is another test.
NOT_READ = ("tensorboard",)
CONTENTS = (
    *(
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b'""',
        b"0",
        b"-1",
        b"1e999",
        b"NaN",
        b'{"format": 99}',
        b'{"format": "1"}',
        b"\x00" * 64,
    ),
    *(b"\xff\xfe\x00", b"[" * 100_000, b'{"files": null}', b'{"files": {"a": 1}}', b'{"facts": []}', b'{"stage": 1}'),
    *(b'{"class": 1, "message": []}', b'{"key": "../../x"}', b'{"a": 1', b"\xed\xa0\x80", b"x" * 1_000_000),
)


@dataclass(frozen=True)
class FinishedStore:
    """A finished sweep, whose store is copied for each mutation.

    sweep: the sweep file.
    store: the store.
    objects: names of its objects that commands read.
    records: by cell, without the columns that two executions may differ in.
    """

    sweep: Path
    store: Path
    objects: tuple[str, ...]
    records: Mapping[str, Mapping[str, Any]]


def make_finished_store(folder: Path) -> FinishedStore:
    """Execute the sweep of the fault table with one seed, into `folder`, in a process that has ended when this returns.

    Raises:
        RuntimeError: If that fails.
    """
    sweep, store = folder / "sweep.yaml", folder / "store"
    sweep.write_text(sweep_text(seeds=1), encoding="utf-8")
    arguments = ("run", str(sweep), "--store", str(store), "--executor", "local")
    result = run_as_process(*arguments, cwd=folder, seconds=10 * RUN_SECONDS)
    if result.code != DONE:
        raise RuntimeError(f"the sweep failed: {result.err}{result.crash}")
    records = comparable_records(Store.open(store, create=False), sweep_cells(sweep.read_text(encoding="utf-8")))
    objects = sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    read = tuple(name for name in objects if name.partition("/")[0] not in NOT_READ)
    return FinishedStore(sweep, store, read, records)


def _write(rng: random.Random, path: Path) -> str:
    content = rng.choice(CONTENTS)
    path.write_bytes(content)
    return f"content {content[:30]!r}"


def _truncate(rng: random.Random, path: Path) -> str:
    data = path.read_bytes()
    length = rng.randrange(len(data)) if data else 0
    path.write_bytes(data[:length])
    return f"truncated from {len(data)} to {length} bytes"


def _flip(rng: random.Random, path: Path) -> str:
    data = bytearray(path.read_bytes())
    if not data:
        return _write(rng, path)
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))
    return f"bit flipped in byte {at}"


def _append(rng: random.Random, path: Path) -> str:
    with path.open("ab") as file:
        file.write(b"}garbage")
    return "garbage appended"


def _delete(rng: random.Random, path: Path) -> str:
    path.unlink()
    return "deleted"


def _delete_folder(rng: random.Random, path: Path) -> str:
    shutil.rmtree(path.parent)
    return "its folder deleted"


def _replace_by_folder(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.mkdir()
    return "replaced by a folder"


def _replace_by_link(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.symlink_to(rng.choice(("nowhere", path.name, "../../../store.json", "/dev/null")))
    return f"replaced by a link to {path.readlink()}"


def _copy_to_other_name(rng: random.Random, path: Path) -> str:
    name = rng.choice(("2", "0", "-1", "x", "1.tmp", "1#2", "99999999999999999999", "\u00fc", path.name + "~"))
    shutil.copy(path, path.parent / name)
    return f"copied to {name}"


def _swap_content(rng: random.Random, path: Path) -> str:
    store = next(folder for folder in path.parents if (folder / "store.json").exists())
    others = [other for other in sorted(store.rglob(path.name)) if other.is_file() and other != path]
    if not others:
        return _write(rng, path)
    other = rng.choice(others)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return f"content swapped with {other.relative_to(store)}"


MUTATIONS: tuple[tuple[int, Callable[[random.Random, Path], str]], ...] = (
    (8, _write),
    (4, _truncate),
    (4, _flip),
    (1, _append),
    (2, _delete),
    (1, _delete_folder),
    (1, _replace_by_folder),
    (2, _replace_by_link),
    (2, _copy_to_other_name),
    (2, _swap_content),
)


def check(seed: int, number: int, finished: FinishedStore, folder: Path, *, as_process: bool) -> tuple[str, list[str]]:
    """What was mutated in a copy of the store, and the faults that it causes. `folder`: an empty one."""
    rng = random.Random(f"store {seed} {number}")
    store = folder / "store"
    shutil.copytree(finished.store, store)
    name = rng.choice(finished.objects)
    weights, mutations = zip(*MUTATIONS, strict=True)
    (mutation,) = rng.choices(mutations, weights)
    title = f"{name}: {mutation(rng, store / name)}"
    sweep = [str(finished.sweep), "--store", str(store)]
    before = paths_below(folder)
    results = [run_in_process(command, *sweep) for command in ("status", "plan", "explain")]
    results.append(run_in_process("store", "verify", "--store", str(store)))
    new_paths = paths_below(folder) - before
    faults = [f"commands that only read wrote {sorted(new_paths)[:5]}"] if new_paths else []
    if as_process:
        other = run_as_process(*results[1].arguments, cwd=folder)
        faults += [*other.faults(), *differs(results[1], other)]
    results.append(run_in_process("run", *sweep, "--executor", "local", seconds=RUN_SECONDS))
    for result in results:
        faults += result.faults()
    if results[-1].code == DONE:
        # Reading is what finds a damaged Record: it is revoked, and the next run computes it again.
        if _wrong(finished, store):
            results.append(run_in_process("run", *sweep, "--executor", "local", seconds=RUN_SECONDS))
            faults += results[-1].faults()
        faults += [f"the Record of {key} is {fault} after `run`" for key, fault in _wrong(finished, store).items()]
    elif "error: " not in results[-1].err and "failed: " not in results[-1].err:
        faults.append(f"run: exit code {results[-1].code} without an error: {results[-1].err!r}")
    return title, faults


def _wrong(finished: FinishedStore, store: Path) -> dict[str, str]:
    """The Records that cannot be read, or differ from those of the sweep that nothing disturbed."""
    cells = sweep_cells(finished.sweep.read_text(encoding="utf-8"))
    records = comparable_records(Store.open(store, create=False), cells)
    return {
        key: "different" if key in records else "missing"
        for key, expected in finished.records.items()
        if records.get(key) != expected
    }
