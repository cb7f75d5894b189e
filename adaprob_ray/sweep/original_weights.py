"""The file of a sweep's `original` section: its path, and the digest of the weights that it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.sweep.cell_settings import CellSettings
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.schema import OriginalSection


@dataclass(kw_only=True)
class OriginalWeights:
    """Weights from which the methods of a sweep start.

    `digests`: by data set and architecture, of those that `faults` has looked at without finding any. All are the same.
    """

    section: OriginalSection
    registry: Registry
    digests: dict[object, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.section.weights)

    def digest(self, settings: CellSettings) -> str:
        """The SHA-256 of the weights for the network of these settings, which `faults` has looked at."""
        return self.digests[settings.dataset, settings.architecture]

    def faults(self, settings: CellSettings) -> list[str]:
        """What is wrong with the file for the network of these settings."""
        where = (settings.dataset, settings.architecture)
        if where in self.digests:
            return []
        checksum = self.section.sha256
        if not self.path.exists():
            if checksum is None:
                return [
                    f"original.weights: must be a file of weights, got {self.path}, which is not there; finished results can "
                    "be read without it if `original` has `sha256` too (the column original.weights of Records)"
                ]
            self.digests[where] = checksum
            return []
        try:
            digest = self.registry.weights_sha256(self.path, self.registry.network(settings))
        except InputError as error:
            network = f"{settings.architecture.name} (filters {settings.architecture.filters:g}) for {settings.dataset}"
            note = f"; the model is {network}"
            return [f"original.weights: {fault}{note if 'the model' in fault else ''}" for fault in error.faults]
        if checksum not in (None, digest):
            return [f"original.sha256: must be that of {self.path}, {digest}, got {checksum}"]
        if {digest, *self.digests.values()} != {digest}:
            return [f"original.weights: {self.path}: must fit all networks alike, but fits some of them differently"]
        self.digests[where] = digest
        return []
