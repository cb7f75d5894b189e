"""What `adaprob-ray init method` writes, and where: a method and its test, in a checkout also two lines in the catalogue."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaprob_ray.cli._method_template import METHOD_TEMPLATE, PACKAGE_CHANGES, TEST_TEMPLATE
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
        return class_name(self.name)

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


@dataclass(frozen=True, kw_only=True)
class NewPackageMethod:
    """A method that is about to be written into a package of the user, below the folder `root`."""

    name: str
    package: str
    root: Path

    @property
    def class_name(self) -> str:
        """The name in CamelCase."""
        return class_name(self.name)

    @property
    def path(self) -> str:
        """How sweep files name the method."""
        return f"{self.package}.{self.name}:{self.class_name}"

    @property
    def new_files(self) -> dict[str, str]:
        """The method and its test, by path below the folder, with their text."""
        texts = {
            f"{self.package.replace('.', '/')}/{self.name}.py": METHOD_TEMPLATE,
            f"tests/test_{self.name}.py": TEST_TEMPLATE,
        }
        return {path: self._adapted(text) for path, text in texts.items()}

    @property
    def package_files(self) -> dict[str, str]:
        """The `__init__.py` of each package that the method is in, which may exist already."""
        parts = self.package.split(".")
        names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return {f"{name.replace('.', '/')}/__init__.py": f'"""{name}"""\n' for name in names}

    def _adapted(self, text: str) -> str:
        for old, new in PACKAGE_CHANGES:
            assert text.count(old) in (0, 1), old
            text = text.replace(old, new)
        text = text.replace('Case("my_method"', f'Case("{self.path}"').replace("=my_method`", f"={self.path}`")
        return text.replace("MyMethod", self.class_name).replace("my_method", self.name)


def class_name(name: str) -> str:
    """`MyMethod` of `my_method`."""
    return "".join(word.capitalize() for word in name.split("_"))


def check_package_method(name: str, package: str, root: Path, catalogue: ModuleType) -> NewPackageMethod:
    """A method of this name in a package of the user.

    Raises:
        InputError: a name cannot be one of a module or package, or is taken.
    """
    parts = package.split(".")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise InputError(f"--package: must be the name of a package, such as my_package, got {package!r}")
    check_names(name, class_name(name), catalogue)
    spec = importlib.util.find_spec(parts[0])
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])]
    if spec is not None and not any(Path(place).is_relative_to(root) for place in places):
        raise InputError(f"--package: must be a package of this folder, got {parts[0]!r}, which is installed elsewhere")
    method = NewPackageMethod(name=name, package=package, root=root)
    existing = [path for path in method.new_files if (root / path).exists()]
    if existing:
        raise InputError(*(f"{path}: must be a new file, got one that exists" for path in existing))
    return method


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
    method = NewMethod(name=name, root=root)
    check_names(name, method.class_name, catalogue)
    existing = [path for path in method.files if (root / path).exists()]
    # pytest refuses two test modules of one name, in whatever folders.
    existing += [str(path.relative_to(root)) for path in sorted((root / "tests").rglob(f"test_{name}.py"))]
    if existing:
        raise InputError(*(f"{path}: must be a new file, got one that exists" for path in dict.fromkeys(existing)))
    return method


def check_names(name: str, class_name: str, catalogue: ModuleType) -> None:
    """Raises InputError if a method cannot have these names, of its module and of its class."""
    if not NAME.fullmatch(name):
        raise InputError(f"NAME: must be at most 32 lower-case letters, digits and _, the first a letter, got {name!r}")
    if name in catalogue.METHODS:
        raise InputError(f"NAME: must be a new name, got {name!r}, which is a method of the catalogue")
    if keyword.iskeyword(name) or keyword.iskeyword(class_name):
        raise InputError(f"NAME: must not be a keyword of Python, got {name!r}")
    import yaml

    if not isinstance(yaml.safe_load(name), str):
        raise InputError(f"NAME: must be text in YAML, because sweep files name methods, got {name!r}")
    if class_name in {*vars(catalogue), *_imported_names(METHOD_TEMPLATE), *_imported_names(TEST_TEMPLATE)}:
        raise InputError(f"NAME: must differ from what the module uses itself ({class_name}), got {name!r}")


def _imported_names(source: str) -> set[str]:
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom)))
    return {alias.asname or alias.name for node in imports for alias in node.names}
