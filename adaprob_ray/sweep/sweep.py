"""A sweep: one parsed, validated, frozen sweep file and the cells that it expands to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.expand import SkippedLabel, expand
from adaprob_ray.sweep.forget_files import self_contained_text
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.schema import SweepFile, parse_file
from adaprob_ray.sweep.yaml_document import read_document_text
from adaprob_ray.user_code.folders import look_in


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One parsed, validated sweep file.

    `text`: of the file; where it names other files, YAML that has their indices and the digest of their weights. `cells`: the
    graph that it expands to, by key, parents before children. `skipped`: labels whose method declines a point of the grid.
    `deprecations`: one line for each key that is given under a former name. `original_sha256`: the digest of the original's
    weights, if they are in a file.
    """

    name: str
    file: SweepFile
    text: str
    cells: Mapping[str, Cell] = field(repr=False)
    skipped: tuple[SkippedLabel, ...]
    deprecations: tuple[str, ...] = ()
    original_sha256: str | None = None

    @classmethod
    def load(cls, path: str | Path, registry: Registry) -> Sweep:
        """Read a sweep file.

        Args:
            path: of a YAML file.
            registry: the names that it may use, as `adaprob_ray.catalogue.REGISTRY`.

        Returns:
            The sweep. A key under a former name is taken, with a FutureWarning.

        Raises:
            InputError: with one line for each fault, each beginning with the path; `expect` is checked last.

        Example:
            >>> from adaprob_ray.catalogue import REGISTRY
            >>> len(Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells)
            93
        """
        text = read_document_text(path)
        look_in(Path.cwd(), Path(path).parent)
        try:
            sweep = cls.parse(text, registry, Path(path).parent)
        except InputError as error:
            raise InputError(*(f"{path}: {fault}" for fault in error.faults)) from None
        for line in sweep.deprecations:
            warnings.warn(f"{path}: {line}", FutureWarning, stacklevel=2)
        return sweep

    @classmethod
    def parse(cls, text: str, registry: Registry, folder: Path = Path()) -> Sweep:
        """As `load`, from the text of a sweep file; files that it names are looked up in `folder`."""
        parsed = parse_file(text, registry.metric_stages, folder)
        expansion = expand(parsed.file, registry)
        faults = [*dict.fromkeys([*parsed.faults, *expansion.faults])]
        if faults:
            raise InputError(*faults)
        expected = parsed.file.expect.cells
        if expected is not None and expected != len(expansion.cells):
            skipped = "".join(f"; skipped: {line}" for line in expansion.skipped)
            count = f"{len(expansion.cells)}, the number of cells that the file expands to"
            raise InputError(f"expect.cells: must be {count}, got {expected}{skipped}")
        return cls(
            name=parsed.file.name,
            file=parsed.file,
            text=self_contained_text(text, parsed.values, expansion.original_sha256),
            original_sha256=expansion.original_sha256,
            cells=expansion.cells,
            skipped=expansion.skipped,
            deprecations=parsed.deprecations,
        )
