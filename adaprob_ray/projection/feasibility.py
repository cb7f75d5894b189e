"""Decides which totals the −inf entries of a reference allow.

The probabilities of a row can only go to the classes of its support, where its reference is above 0. So g exists if and only
if for every set S of classes Σ_{k in S} M_k is at most the number of rows whose support meets S (Gale, A theorem on flows in
networks, 1957). Where that fails, a minimum cut of the network rows → classes → totals gives such an S.

Axes: B rows of one chunk, P distinct supports, C classes whose total is above 0, S classes of a violation.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# SciPy's maximum_flow has int32 capacities; rows and totals are scaled to use that range, one below its largest number.
MAX_CAPACITY = 2**31 - 2


@dataclass(frozen=True)
class Violation:
    """Classes (positions in C) whose totals sum to `total`, more than the `rows` that have a finite entry in any of them."""

    classes_S: NDArray[np.intp]
    total: float
    rows: int


class Support:
    """The number of rows with each pattern of finite entries, over the classes whose total is above 0."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._row_counts: Counter[bytes] = Counter()
        self._full_pattern = np.packbits(np.ones(classes, dtype=bool)).tobytes()

    def add_full(self, rows: int) -> None:
        self._row_counts[self._full_pattern] += rows

    def add(self, finite_BC: Tensor) -> None:
        packed = np.packbits(finite_BC.cpu().numpy(), axis=1)
        patterns, counts = np.unique(packed, axis=0, return_counts=True)
        self._row_counts.update({pattern.tobytes(): int(n) for pattern, n in zip(patterns, counts, strict=True)})

    @property
    def is_full(self) -> bool:
        """True if every entry is finite, so that all totals can be met."""
        return set(self._row_counts) <= {self._full_pattern}

    def violation(self, totals_C: NDArray[np.float64]) -> Violation | None:
        """Classes whose totals cannot be met, or None if all can (to within C rows in 2^31 / N)."""
        if self.is_full:
            return None
        # SciPy is imported only here: it doubles the import time of the package, and full supports never need it.
        from scipy.sparse import coo_array, csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        counts_P = np.array(list(self._row_counts.values()))
        packed = np.frombuffer(b"".join(self._row_counts), dtype=np.uint8).reshape(len(counts_P), -1)
        support_PC = np.unpackbits(packed, axis=1, count=self.classes).astype(bool)
        unit = MAX_CAPACITY // int(counts_P.sum())
        # The network has the source at 0, patterns at 1 … P, classes at P + 1 … P + C, and the sink after them.
        patterns, (edge_pattern, edge_class) = len(counts_P), support_PC.nonzero()
        first_class, sink = 1 + patterns, 1 + patterns + self.classes
        tail = np.concatenate(
            [np.zeros(patterns, dtype=np.int64), 1 + edge_pattern, first_class + np.arange(self.classes)]
        )
        head = np.concatenate([1 + np.arange(patterns), first_class + edge_class, np.full(self.classes, sink)])
        capacity_P = counts_P * unit
        capacity = np.concatenate([capacity_P, capacity_P[edge_pattern], np.ceil(totals_C * unit)]).astype(np.int32)
        network = csr_array(coo_array((capacity, (tail, head)), shape=(sink + 1, sink + 1)))
        flow = maximum_flow(network, 0, sink)
        # A flow that places every row meets all totals. Otherwise the classes beyond the minimum cut are the violation.
        if flow.flow_value == counts_P.sum() * unit:
            return None
        reachable = breadth_first_order(csr_array((network - flow.flow) > 0), 0, return_predecessors=False)
        classes_S = np.setdiff1d(np.arange(self.classes), reachable - first_class)
        rows = int(counts_P[support_PC[:, classes_S].any(axis=1)].sum())
        return Violation(classes_S, float(totals_C[classes_S].sum()), rows)
