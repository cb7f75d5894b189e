"""Every error that adaprob_ray raises on purpose.

    AdaprobError
    ├── InputError (also a ValueError)   what a person gave is wrong; the command line exits with 2
    │   └── NoStore                      there is no store at the place that was given
    ├── StoreError                       the store could not be read or written
    │   ├── CorruptArtefact              a file differs from its commit; the attempt has been revoked
    │   ├── NotDone                      a cell that is read has no committed attempt (any more)
    │   └── LeaseLost                    another attempt of the same cell took over
    ├── Diverged                         a loss or a weight is no longer finite
    ├── ProjectionFailed                 the targets of AdaProb could not be found to tolerance
    ├── DeadlineExceeded                 a method passed its deadline
    └── UndeclaredNeed                   a method touched something that its `needs` does not name

Each has a `failure_class`: the word that stands in a failed attempt's log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

MOST_NAMES = 20  # listed in one line


class AdaprobError(Exception):
    """Base of all errors below."""

    failure_class = "code"


class InputError(AdaprobError, ValueError):
    """Bad input. `faults` holds one line for each fault found; the message is those lines."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class NoStore(InputError):
    """There is no store at the place that was given, and none was to be made."""


class StoreError(AdaprobError):
    """The store could not be read or written."""

    failure_class = "storage"


class CorruptArtefact(StoreError):
    """An artefact is missing, truncated or altered; its attempt has been revoked and the cell is ready again."""

    def __init__(self, key: str, number: int, name: str, reason: str) -> None:
        super().__init__(f"{name} of cell {key} (attempt {number}) {reason}; the attempt is revoked")
        self.key, self.number, self.name, self.reason = key, number, name, reason

    def __reduce__(self) -> tuple[type, tuple[str, int, str, str]]:
        return type(self), (self.key, self.number, self.name, self.reason)


class NotDone(StoreError):
    """A cell that is read has no committed attempt: it never had one, or somebody revoked it meanwhile."""

    def __init__(self, key: str) -> None:
        super().__init__(f"cell {key} has no committed attempt")
        self.key = key


class LeaseLost(StoreError):
    """Another attempt of the same cell took over while this one ran."""


class Diverged(AdaprobError):
    """A loss, an output or a weight is NaN or infinite."""

    failure_class = "diverged"


class ProjectionFailed(AdaprobError):
    """The projection of AdaProb did not reach its tolerance; the message is the solver's advice."""


class DeadlineExceeded(AdaprobError):
    """A method went on past its deadline."""

    failure_class = "timeout"


class UndeclaredNeed(AdaprobError):
    """A method touched something that its `needs` does not name."""


def unknown_name(what: str, given: object, known: Iterable[str]) -> str:
    """One line: what was given, the nearest known name if there is one near, and all that was possible."""
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"unknown {what} {given!r}{hint} (known: {', '.join(names[:MOST_NAMES])}{more})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an attempt failed. `failure_class` decides whether it is tried again; `at`: ISO 8601, UTC."""

    failure_class: str
    message: str
    traceback: str = ""
    log: str = ""
    at: str = ""

    def document(self) -> dict[str, str]:
        """The failure as the store has it."""
        names = ("message", "traceback", "log", "at")
        return {"class": self.failure_class, **{name: getattr(self, name) for name in names}}
