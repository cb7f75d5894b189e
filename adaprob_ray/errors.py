"""Every error that adaprob_ray raises on purpose, and how a failed cell is classified and retried.

    AdaprobError
    ├── InputError (also a ValueError)   user input is wrong; the command line exits with 2
    │   └── NoStore                      there is no store at the given location
    ├── StoreError                       the store could not be read or written
    │   ├── CorruptArtefact              a file differs from its commit; the attempt has been revoked
    │   ├── NotPermitted                 this user may not read or write an object of the store's folder
    │   ├── NotDone                      a cell that is read has no committed attempt, or no longer has one
    │   └── LeaseLost                    another attempt of the same cell took over
    ├── Diverged                         a loss or a weight is no longer finite
    ├── ProjectionFailed                 the solver of AdaProb did not reach its tolerance
    ├── DeadlineExceeded                 a method passed its deadline
    └── UndeclaredNeed                   a method touched something that its `needs` does not name

A new failure class is a line of RETRIES_BY_FAILURE_CLASS, and an error class or a line of FOREIGN_ERRORS that leads to it.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# Names listed in one message: more would hide the message itself.
MAX_NAMES_SHOWN = 20
# Characters of one fault of the input, which may quote a value of any size.
MAX_FAULT_LENGTH = 1000
# Characters of a failure's message: one line of a terminal or two; the traceback has the rest.
MAX_MESSAGE_LENGTH = 500

# How often one run tries a cell again after a failure of each class. Only what may pass by itself is retried.
RETRIES_BY_FAILURE_CLASS: Mapping[str, int] = {
    "code": 0,
    "diverged": 0,
    "timeout": 0,
    "storage": 2,
    "permission": 0,
    "preempted": 3,
    "out_of_memory": 1,
}
# Errors of other libraries, by the name of their class (so that none of them needs to be imported here).
FOREIGN_ERRORS: Mapping[str, str] = {"OutOfMemoryError": "out_of_memory"}
# Errors of the operating system about a disk, not the code: full, read-only, over quota, broken, an old NFS handle.
STORAGE_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How one attempt of a cell failed, as the store keeps it. `at`: ISO 8601, UTC."""

    failure_class: str
    message: str
    traceback: str = ""
    log: str = ""
    at: str = ""

    @classmethod
    def from_error(cls, error: BaseException) -> Failure:
        """Classify an error; the message is one line that begins with the error's type."""
        foreign = (FOREIGN_ERRORS[base.__name__] for base in type(error).__mro__ if base.__name__ in FOREIGN_ERRORS)
        failure_class = error.failure_class if isinstance(error, AdaprobError) else next(foreign, "code")
        if isinstance(error, OSError) and error.errno in STORAGE_ERRNOS:
            failure_class = "storage"
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return cls(failure_class=failure_class, message=message[:MAX_MESSAGE_LENGTH])

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Failure:
        """Read the JSON object that `document` gives; absent fields are empty."""
        texts = {name: str(document.get(name) or "") for name in ("message", "traceback", "log", "at")}
        return cls(failure_class=str(document.get("class") or "code"), **texts)

    def document(self) -> dict[str, str]:
        """The failure as the store keeps it."""
        texts = {name: getattr(self, name) for name in ("message", "traceback", "log", "at")}
        return {"class": self.failure_class, **texts}

    @property
    def retries(self) -> int:
        """How often one run tries the cell again."""
        return RETRIES_BY_FAILURE_CLASS.get(self.failure_class, 0)

    @property
    def reason(self) -> str:
        """The message, without an error type that only repeats the failure class.

        >>> Failure(failure_class="diverged", message="Diverged: the loss is nan").reason
        'the loss is nan'
        """
        error, _, reason = self.message.partition(": ")
        repeats = error.isidentifier() and error.lower().startswith(self.failure_class.replace("_", ""))
        return reason if repeats and reason else self.message

    def __str__(self) -> str:
        return f"{self.failure_class}: {self.reason}"


def _without_middle(text: str, length: int) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"


class AdaprobError(Exception):
    """Base of all errors below. `failure_class`: one of RETRIES_BY_FAILURE_CLASS, for a cell that ends with this error."""

    failure_class = "code"


class InputError(AdaprobError, ValueError):
    """Bad input. `faults` holds one line for each fault; the message is those lines.

    A fault that is very long loses its middle: a quoted value, between the place of the fault and what is possible there.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = tuple(_without_middle(fault, MAX_FAULT_LENGTH) for fault in faults)
        super().__init__("\n".join(self.faults))


class NoStore(InputError):
    """There is no store at the given location, and the caller did not ask to create one."""


class StoreError(AdaprobError):
    """The store could not be read or written."""

    failure_class = "storage"


class NotPermitted(StoreError):
    """This user may not read or write an object in the store's folder, such as one of a colleague with umask 077."""

    failure_class = "permission"


class StoreWarning(UserWarning):
    """What of a store cannot be used, in one line; the work goes on without it."""


class CorruptArtefact(StoreError):
    """An artefact is missing, truncated or altered; its attempt has been revoked and the cell is ready again."""

    def __init__(self, key: str, number: int, name: str, reason: str) -> None:
        super().__init__(f"{name} of cell {key} (attempt {number}) {reason}; the attempt is revoked")
        self.key, self.number, self.name, self.reason = key, number, name, reason

    def __reduce__(self) -> tuple[type, tuple[str, int, str, str]]:
        return type(self), (self.key, self.number, self.name, self.reason)


class NoArtefact(StoreError):
    """A done cell has no artefact of this name: it was computed for a sweep that does not keep it."""

    def __init__(self, key: str, number: int, name: str, known: str) -> None:
        super().__init__(f"cell {key} (attempt {number}) has no artefact {name!r} (known: {known})")
        self.key, self.number, self.name, self.known = key, number, name, known

    def __reduce__(self) -> tuple[type, tuple[str, int, str, str]]:
        return type(self), (self.key, self.number, self.name, self.known)


class NotDone(StoreError):
    """A cell that is read has no committed attempt: it never had one, or another process revoked it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"cell {key} has no committed attempt")
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.key,)


class LeaseLost(StoreError):
    """Another attempt of the same cell took over while this one ran."""


class Diverged(AdaprobError):
    """A loss, an output or a weight is NaN or infinite. `passes`: the examples passed until then, where they are known."""

    failure_class = "diverged"
    passes: Mapping[str, int] = MappingProxyType({})


class ProjectionFailed(AdaprobError):
    """The projection of AdaProb did not reach its tolerance; the message is the solver's advice."""


class DeadlineExceeded(AdaprobError):
    """A method ran past its deadline."""

    failure_class = "timeout"


class UndeclaredNeed(AdaprobError):
    """A method touched something that its `needs` does not name."""


def first_names(names: Sequence[str], limit: int = MAX_NAMES_SHOWN) -> str:
    """At most `limit` of these names, and how many more there are.

    >>> first_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def unknown_name(kind: str, name: object, names: Iterable[str]) -> str:
    """One line for a name that is not among `names`: the closest of them, and all that are possible.

    >>> unknown_name("method", "scrubb", ["scrub", "fisher"])
    "unknown method 'scrubb'; did you mean 'scrub'? (known: fisher, scrub)"
    """
    possible = sorted(names)
    closest = difflib.get_close_matches(str(name), possible, n=1)
    hint = f"; did you mean {closest[0]!r}?" if closest else ""
    return f"unknown {kind} {name!r}{hint} (known: {first_names(possible)})"
