"""How one execution of a cell ended: what an executor tells the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adaprob_ray.errors import Failure


@dataclass(frozen=True)
class Outcome:
    """How one execution of a cell ended.

    `status`: done; cached (another run finished it first); leased (another run holds it); failed, with `failure`;
    inputs_corrupt, when artefacts of the cells `revoked` are corrupt, so that these cells must run again first.
    `peak_bytes` and `card_bytes`: memory that the cell took of its GPU, and that this GPU has. `display_error`: why
    TensorBoard files of it are missing, None if they are not.
    """

    status: Literal["done", "cached", "leased", "failed", "inputs_corrupt"]
    seconds: float = 0.0
    failure: Failure | None = None
    revoked: tuple[str, ...] = ()
    peak_bytes: int | None = None
    card_bytes: int | None = None
    display_error: str | None = None
