"""What a path such as `my_package.mine:MyMethod` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.user_code.folders import importable, looked_in
from adaprob_ray.user_code.objects import call
from adaprob_ray.user_code.source import register_source


def load_path(path: str) -> Any:
    """The object that a path names; the digest of its module is taken down for the keys of cells.

    Args:
        path: `package.module:name`. The module is looked for in the folders of `look_in`, then among the installed ones.

    Raises:
        InputError: the path has another form, there is no such module or name, or the module fails as it is imported.
    """
    module_name, _, name = path.rpartition(":")
    if module_name.endswith(".py"):
        raise InputError(f"{path}: must name a module, as {Path(module_name).stem}:{name}, got a file")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"{path}: must be package.module:name")
    module = _import(module_name, path)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise InputError(f"{path}: {unknown_name('name', name, [key for key in own if not key.startswith('_')])}")
    register_source(path)
    return getattr(module, name)


def _import(name: str, path: str) -> ModuleType:
    was_imported = name.partition(".")[0] in sys.modules
    importlib.invalidate_caches()
    try:
        with importable():
            module: ModuleType = call(lambda: importlib.import_module(name), path)
    except InputError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            folders = ", ".join(looked_in()) or "no folder"
            raise InputError(
                f"{path}: must be in a module that can be imported, got no module {missing}; it is looked for in {folders}, "
                "and among the installed packages"
            ) from error
        raise
    if was_imported:
        _check_place(module, path)
    return module


def _check_place(module: ModuleType, path: str) -> None:
    """Raises InputError if a module of the same name, of another folder, was imported before the one that is meant."""
    top = module.__name__.partition(".")[0]
    for folder in map(Path, looked_in()):
        if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
            file = Path(getattr(module, "__file__", None) or "")
            if not file.resolve().is_relative_to(folder.resolve()):
                raise InputError(
                    f"{path}: must come from one folder, got {top} in {folder}, but it was already imported from {file.parent}"
                )
            return
