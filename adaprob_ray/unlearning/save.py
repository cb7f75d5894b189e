"""Writes the result of an unlearning: weights, record and page, in a folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights import WEIGHTS_FILE, weights_bytes
from adaprob_ray.unlearning.merkle import SALT_BYTES
from adaprob_ray.unlearning.page import render_page
from adaprob_ray.unlearning.record import make_record

if TYPE_CHECKING:
    from adaprob_ray.unlearning.api import Unlearned

RECORD_FILE, SALT_FILE, PAGE_FILE, INPUTS_FILE = "record.json", "salt.json", "record.html", "inputs.json"


def check_folder(out: Path) -> None:
    """Raises InputError if results cannot be written to a new folder `out`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: must be a new or an empty folder, got one with files; choose another")
    try:
        target = out.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{out}: must be a folder, got a link that leads nowhere: {error}") from error
    if target.is_mount():
        raise InputError(f"{out}: must be a folder that can be replaced, got a mount point; name a folder inside it")
    if Path.cwd().is_relative_to(target):
        raise InputError(
            f"{out}: must be a folder other than the working directory, which it would replace; name a new one"
        )
    parent = next(parent for parent in target.parents if parent.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=parent))
    except OSError as error:
        raise InputError(f"{out}: must be in a folder that you can write to, got {parent}: {error.strerror}") from error


def save(
    result: Unlearned,
    out: Path,
    *,
    weights: Mapping[str, bytes] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a folder with the weights, record.json, salt.json and record.html.

    Args:
        result: of `unlearn`.
        out: a new or empty folder.
        weights: file name → contents, for weights in another format; by default weights.safetensors.
        inputs: what `audit` needs to load model and data again, written to inputs.json.

    Returns:
        The paths of the files.

    Raises:
        InputError: `out` has files, or cannot be written; nothing is left behind.
    """
    check_folder(out)
    salt = secrets.token_bytes(SALT_BYTES)
    weights = weights or {WEIGHTS_FILE: weights_bytes(result.model.state_dict())}
    record = make_record(result.run, result.model, salt=salt, files=weights)
    texts = {
        RECORD_FILE: _json(record),
        SALT_FILE: _json({"salt": salt.hex()}),
        PAGE_FILE: render_page(record, result.run),
    }
    texts |= {} if inputs is None else {INPUTS_FILE: _json(dict(inputs))}
    _write_folder(out.resolve(), {**weights, **{name: text.encode() for name, text in texts.items()}}, str(out))
    return [out / name for name in (*weights, *texts)]


def _write_folder(target: Path, contents: Mapping[str, bytes], where: str) -> None:
    """A folder with these files, and no trace of it where that fails."""
    new_parents = [parent for parent in target.parents if not parent.exists()]  # the innermost first
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
        if target.exists():
            target.rmdir()
        temporary.replace(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new_parents:
            with suppress(OSError):  # it was not created, or another process uses it
                parent.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{where}: cannot be written: {error.strerror or error}") from error
        raise


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
