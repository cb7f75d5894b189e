"""Objects of a user's own code by name: `package.module:name` or `path/to/file.py:name`, and errors in it by its own line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adaprob_ray.errors import InputError, unknown_name

# Frames below these folders are not the user's: this package, the standard library, installed packages.
_FOREIGN = (
    str(Path(__file__).resolve().parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)


def is_factory(spec: str) -> bool:
    """Whether a text has the form of a factory's name."""
    module, _, name = spec.rpartition(":")
    return bool(module) and name.isidentifier()


def absolute_factory(spec: str) -> str:
    """The same factory, with the absolute path of its file if it is one of a file."""
    module, _, name = spec.rpartition(":")
    return f"{Path(module).absolute()}:{name}" if module.endswith(".py") else spec


def load_object(spec: str, where: str, folder: Path) -> Any:
    """The object of this name.

    Args:
        spec: `package.module:name` or `path/to/file.py:name`.
        where: the name of the option, for messages.
        folder: where modules are looked for, in addition to Python's path.

    Raises:
        InputError: there is no such module, file or name, or it cannot be imported.
    """
    module_name, _, name = spec.rpartition(":")
    is_file = module_name.endswith(".py")
    module = _module_of_file(Path(module_name), where) if is_file else _module(module_name, where, folder)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        raise InputError(f"{where}: {module_name}: {unknown_name('name', name, known)}")
    return getattr(module, name)


def _module(name: str, where: str, folder: Path) -> Any:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return call(lambda: importlib.import_module(name), where)
    except InputError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise InputError(
                f"{where}: must be an importable module, got {name}; it is looked for in {folder}"
            ) from error
        raise


def _module_of_file(path: Path, where: str) -> Any:
    if not path.is_file():
        raise InputError(f"{where}: must be a Python file, got {path}, which is not there")
    name = f"_user_file_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # as dataclasses and pickles of the file expect
    if str(path.parent.absolute()) not in sys.path:
        sys.path.insert(0, str(path.parent.absolute()))  # as for a script: files in the same folder can be imported
    try:
        call(lambda: specification.loader.exec_module(module), where)  # type: ignore[union-attr]
    except InputError:
        del sys.modules[name]
        raise
    return module


def call(function: Callable[..., Any], where: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Call a user's function. Raises InputError with the user's line that failed."""
    try:
        return function(**(arguments or {}))
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: {_place(error)}{type(error).__name__}: {error}") from error


def _place(error: BaseException) -> str:
    """`net.py:12 (raise ValueError): ` of the last line in the user's own code; nothing if no line is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno} ({(error.text or '').strip()}): "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{_short(frame.filename)}:{frame.lineno} ({(frame.line or '').strip()}): "


def _is_own(filename: str) -> bool:
    return not filename.startswith(("<", *_FOREIGN))


def _short(filename: str) -> str:
    relative = os.path.relpath(filename)
    return filename if relative.startswith("..") else relative
