"""Which totals the −inf entries of a reference allow.

A row's mass can only go to the classes of its support, where its reference is above 0. So g exists if and only if for every
set S of classes Σ_{k in S} M_k is at most the number of rows whose support meets S (Gale, A theorem on flows in networks,
1957). Where that fails a minimum cut of the network rows → classes → totals names such an S.

Axes: B rows of one chunk, P patterns of support, C classes whose total is above 0.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

LARGEST = 2**31 - 2  # SciPy's flows are int32


@dataclass(frozen=True)
class Violation:
    """The classes `among` (positions in C) are to hold `asked` rows, and only `rows` rows have a finite entry there."""

    among: NDArray[np.intp]
    asked: float
    rows: int


class Support:
    """How many rows have which pattern of finite entries, over the kept classes."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._rows: Counter[bytes] = Counter()
        self._everything = np.packbits(np.ones(classes, dtype=bool)).tobytes()

    def add_full(self, rows: int) -> None:
        self._rows[self._everything] += rows

    def add(self, finite_BC: Tensor) -> None:
        packed = np.packbits(finite_BC.cpu().numpy(), axis=1)
        patterns, counts = np.unique(packed, axis=0, return_counts=True)
        self._rows.update({pattern.tobytes(): int(count) for pattern, count in zip(patterns, counts, strict=True)})

    @property
    def full(self) -> bool:
        """Whether every entry of a kept class is finite; then all totals can be met."""
        return set(self._rows) <= {self._everything}

    def violation(self, totals_C: NDArray[np.float64]) -> Violation | None:
        """A set of classes that asks for too much, None if there is none (to within C rows in 2^31 / N)."""
        if self.full:
            return None
        counts_P = np.array(list(self._rows.values()))
        packed = np.frombuffer(b"".join(self._rows), dtype=np.uint8).reshape(len(counts_P), -1)
        support_PC = np.unpackbits(packed, axis=1, count=self.classes).astype(bool)
        unit = LARGEST // int(counts_P.sum())
        network = _network(counts_P * unit, support_PC, np.ceil(totals_C * unit))
        sink = network.shape[0] - 1
        flow = maximum_flow(network, 0, sink)
        if flow.flow_value == counts_P.sum() * unit:
            return None
        reached = breadth_first_order(csr_array((network - flow.flow) > 0), 0, return_predecessors=False)
        among = np.setdiff1d(np.arange(self.classes), reached - 1 - len(counts_P))
        return Violation(among, float(totals_C[among].sum()), int(counts_P[support_PC[:, among].any(axis=1)].sum()))


def _network(counts_P: NDArray[np.int64], support_PC: NDArray[np.bool_], totals_C: NDArray[np.float64]) -> csr_array:
    """Capacities of source (0) → patterns (1 … P) → classes (P + 1 … P + C) → sink, in int32."""
    patterns, classes = support_PC.shape
    p, k = support_PC.nonzero()
    first_class, sink = 1 + patterns, 1 + patterns + classes
    tail = np.concatenate([np.zeros(patterns, dtype=np.int64), 1 + p, first_class + np.arange(classes)])
    head = np.concatenate([1 + np.arange(patterns), first_class + k, np.full(classes, sink)])
    capacity = np.concatenate([counts_P, counts_P[p], totals_C]).astype(np.int32)
    return csr_array(coo_array((capacity, (tail, head)), shape=(sink + 1, sink + 1)))
