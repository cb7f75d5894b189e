"""A cell: one unit of work, known by a key that is a hash of what it is and of what it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

STAGES = ("pretrain", "train", "unlearn", "relearn", "evaluate")
KEY_LENGTH = 32  # hexadecimal digits: 128 bits


def canonical(document: Any) -> str:
    """JSON with sorted keys and no spaces: equal documents give equal text. Refuses NaN and infinity."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Cell:
    """Its key is made of `stage`, `settings`, `parents` (role → key) and `revisions` of the code that it names.

    `resources` (cpu, gpu, exclusive) and `keep` say how it runs and what it leaves, and are not part of the key.
    """

    stage: str
    settings: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict, compare=False)
    keep: str = field(default="weights", compare=False)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is a hash of; it stands in the store beside the attempts."""
        return {
            "stage": self.stage,
            "settings": dict(self.settings),
            "parents": dict(self.parents),
            "revisions": dict(self.revisions),
        }

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(canonical(self.identity).encode()).hexdigest()[:KEY_LENGTH]

    @property
    def exclusive(self) -> bool:
        """Whether it asks that no other cell of the run runs beside it."""
        return bool(self.resources.get("exclusive"))

    @property
    def label(self) -> str:
        """The label of an evaluate cell, the method of a model's cell, else the stage."""
        return str(self.settings.get("label") or self.settings.get("method") or self.stage)

    @cached_property
    def title(self) -> str:
        """Readable and unique: what a person sees of a cell in lists, logs and TensorBoard."""
        settings = self.settings
        forget = settings.get("forget")
        parts = [
            self.stage,
            self.label if self.stage != "pretrain" else "",
            settings["dataset"]["name"],
            settings["architecture"]["name"],
            format_forget(forget) if forget else "",
            f"s{settings['seed']}",
            f"r{settings['repeat']}" if settings.get("repeat") else "",
        ]
        return "-".join([part for part in parts if part] + [self.key[:8]])

    def document(self) -> dict[str, Any]:
        """All of the cell as JSON, to send it to another process."""
        return {**self.identity, "resources": dict(self.resources), "keep": self.keep}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Cell:
        return cls(**document)


def format_forget(forget: Mapping[str, Any]) -> str:
    """`class5` for a whole class, `25of0` for 25 rows of class 0."""
    return f"class{forget['class']}" if forget["kind"] == "class" else f"{forget['count']}of{forget['class']}"


def parse_forget(words: str) -> dict[str, Any]:
    """The forget request of `forget_words`. Raises ValueError for other words."""
    count, _, label = words.partition("of")
    if label.isdecimal() and count.isdecimal():
        return {"kind": "selective", "class": int(label), "count": int(count)}
    if words.startswith("class") and words[5:].isdecimal():
        return {"kind": "class", "class": int(words[5:])}
    raise ValueError(f"{words!r} is no forget request: expected class5 or 25of0")
