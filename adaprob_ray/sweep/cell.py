"""A cell: one unit of work, identified by a key that is a hash of what it is and of what it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from adaprob_ray.errors import InputError
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.sweep.cell_settings import CellSettings, ForgetRequest

# Hexadecimal digits of a key: 128 bits, so that no two of 10^15 cells share one by chance.
KEY_LENGTH = 32
# Which artefacts of a model a cell leaves: its weights and Outputs, or Outputs alone.
Keep = Literal["weights", "outputs"]


def canonical(document: Any) -> str:
    """JSON with sorted keys and no spaces: equal documents give equal text. Refuses NaN and infinity.

    >>> canonical({"b": 1, "a": [2.0]})
    '{"a":[2.0],"b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


@settings_dataclass
class Resources:
    """What a cell holds while it runs. `exclusive`: no other cell of the run runs at the same time.

    `gpu` is a share of one card, a whole number of cards, or auto: the share that earlier cells like it needed (see
    runtime/packing.py). `timeout_seconds` bounds one attempt, not all attempts of a training that resumes.
    """

    cpu: int = hyperparameter(default=1, ge=1, help="CPU cores")
    gpu: float | Literal["auto"] = hyperparameter(
        default=0.0, help="share of one card, whole cards, or auto: what such cells needed"
    )
    exclusive: bool = hyperparameter(default=False, help="no other cell of the run at the same time")
    timeout_seconds: float | None = hyperparameter(default=None, gt=0, help="limit of one attempt")

    def __post_init__(self) -> None:
        # Ray grants shares of one card or whole cards, nothing in between.
        if self.gpu != "auto" and (self.gpu < 0 or (self.gpu > 1 and self.gpu != int(self.gpu))):
            raise InputError(f"gpu: must be from 0 to 1, a whole number of cards, or auto, got {self.gpu!r}")


@dataclass(frozen=True)
class Cell:
    """One unit of work of a sweep.

    Its key is a hash of `stage`, `settings`, `parents` (role -> key) and `revisions` of the code that it names. `resources`,
    `keep` (which artefacts it leaves) and `priority` say how it runs and are not part of the key. Nor are
    `distinguishing_settings`, for the title: those, as `name=value`, in which it differs from other cells of its label; nor
    `weights_file`, where an imported original finds the weights whose digest is in its settings.
    """

    stage: str
    settings: CellSettings
    parents: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    resources: Resources = field(default=Resources(), compare=False)
    keep: Keep = field(default="weights", compare=False)
    priority: int = field(default=1, compare=False)
    distinguishing_settings: tuple[str, ...] = field(default=(), compare=False)
    weights_file: str = field(default="", compare=False)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is a hash of, as JSON; the store keeps it with the attempts."""
        return {
            "stage": self.stage,
            "settings": self.settings.document(),
            "parents": dict(self.parents),
            "revisions": dict(self.revisions),
        }

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(canonical(self.identity).encode()).hexdigest()[:KEY_LENGTH]

    @property
    def forget(self) -> ForgetRequest | None:
        """The unlearning request of this cell, None where its result does not depend on one."""
        return getattr(self.settings, "forget", None)

    @property
    def method(self) -> str:
        """The method of a model's cell or of its evaluation, empty for any other cell."""
        return str(getattr(self.settings, "method", ""))

    @property
    def repeat(self) -> int:
        """The number of this repetition of an unlearning, 0 where nothing is repeated."""
        return int(getattr(self.settings, "repeat", 0))

    @property
    def label(self) -> str:
        """The label of an evaluate cell, the method of a model's cell, else the stage."""
        return str(getattr(self.settings, "label", "") or self.method or self.stage)

    @cached_property
    def title(self) -> str:
        """A readable and unique name, for lists, logs and TensorBoard."""
        settings = self.settings
        segments = [
            self.stage,
            getattr(settings, "label", "") or _short(self.method),
            *self.distinguishing_settings,
            _short(str(settings.dataset)),
            _short(settings.architecture.name),
            str(self.forget or ""),
            f"s{settings.seed}",
            f"r{self.repeat}" if self.repeat else "",
            self.key[:8],
        ]
        return "-".join(segment for segment in segments if segment)


def _short(name: str) -> str:
    """`MyMethod` of `my_package.mine:MyMethod`."""
    return name.rpartition(":")[2]
