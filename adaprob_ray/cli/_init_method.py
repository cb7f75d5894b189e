"""What `adaprob-ray init method` writes, and where: a method, its test, and its two lines in the catalogue."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaprob_ray.cli._method_template import METHOD_TEMPLATE, TEST_TEMPLATE
from adaprob_ray.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")  # the lines of the template stay within the limit
CATALOGUE = "adaprob_ray/catalogue.py"
_METHODS_LIST = re.compile(r"^METHODS: .*?\n    for method in \(\n(?:        \w+,\n)+", re.DOTALL | re.MULTILINE)
_METHOD_IMPORT = re.compile(r"^from (adaprob_ray\.methods\.\w+) import .*\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class NewMethod:
    """A method that is about to be written into a checkout."""

    name: str
    root: Path

    @property
    def class_name(self) -> str:
        """The name in CamelCase."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def files(self) -> dict[str, str]:
        """The new files, by path in the checkout, with their text."""
        templates = {f"adaprob_ray/methods/{self.name}.py": METHOD_TEMPLATE}
        templates[f"tests/methods/test_{self.name}.py"] = TEST_TEMPLATE
        return {
            path: text.replace("MyMethod", self.class_name).replace("my_method", self.name)
            for path, text in templates.items()
        }

    def catalogue(self) -> str:
        """The text of the catalogue with the method's import, in alphabetic order, and its name at the end of METHODS."""
        path = self.root / CATALOGUE
        text = path.read_text(encoding="utf-8")
        module = f"adaprob_ray.methods.{self.name}"
        imports = list(_METHOD_IMPORT.finditer(text))
        methods = _METHODS_LIST.search(text)
        if not imports or methods is None:
            raise InputError(f"{path}: must have `for method in (` with one method a line in METHODS, got another form")
        text = f"{text[: methods.end()]}        {self.class_name},\n{text[methods.end() :]}"
        place = next((line.start() for line in imports if line[1] > module), imports[-1].end())
        return f"{text[:place]}from {module} import {self.class_name}\n{text[place:]}"


def find_checkout(folder: Path, package: Path) -> Path:
    """The root of the checkout that `folder` is in.

    Args:
        folder: where the command was given.
        package: the folder of the package that runs.

    Raises:
        InputError: it is in no checkout, or in another one than the package is.
    """
    roots = [root for root in (folder, *folder.parents) if (root / CATALOGUE).is_file() and (root / "tests").is_dir()]
    if not roots:
        raise InputError(
            f"folder: must be a checkout of adaprob-ray, because a method is a module of the package and its test is in "
            f"tests/methods, got {folder}"
        )
    if not (roots[0] / "adaprob_ray").samefile(package):
        raise InputError(
            f"folder: must be the checkout that adaprob-ray runs from ({package.parent}), got {roots[0]}; "
            "run .venv/bin/adaprob-ray of this checkout (`make quickstart` makes it)"
        )
    return roots[0]


def check_name(name: str, root: Path, catalogue: ModuleType) -> NewMethod:
    """A method of this name.

    Raises:
        InputError: the name cannot be one of a module, is taken, or means something else in Python or YAML.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"NAME: must be at most 32 lower-case letters, digits and _, the first a letter, got {name!r}")
    method = NewMethod(name=name, root=root)
    if name in catalogue.METHODS:
        raise InputError(f"NAME: must be a new name, got {name!r}, which is a method of the catalogue")
    if keyword.iskeyword(name) or keyword.iskeyword(method.class_name):
        raise InputError(f"NAME: must not be a keyword of Python, got {name!r}")
    import yaml

    if not isinstance(yaml.safe_load(name), str):
        raise InputError(f"NAME: must be text in YAML, because sweep files name methods, got {name!r}")
    if method.class_name in {*vars(catalogue), *_imported_names(METHOD_TEMPLATE), *_imported_names(TEST_TEMPLATE)}:
        raise InputError(f"NAME: must differ from what the module uses itself ({method.class_name}), got {name!r}")
    taken = [path for path in method.files if (root / path).exists()]
    # pytest refuses two test modules of one name, in whatever folders.
    taken += [str(path.relative_to(root)) for path in sorted((root / "tests").rglob(f"test_{name}.py"))]
    if taken:
        raise InputError(*(f"{path}: must be a new file, got one that exists" for path in dict.fromkeys(taken)))
    return method


def _imported_names(source: str) -> set[str]:
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom)))
    return {alias.asname or alias.name for node in imports for alias in node.names}
