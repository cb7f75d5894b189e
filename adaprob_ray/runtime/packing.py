"""How much of a GPU each cell gets, so that cells share cards where they fit and spread over cards where there are few.

Ray counts shares of a card and isolates no memory, and it fills the first card before it uses the next. So the share is
decided here, cell by cell, and each process limits its own memory to its share (see device.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaprob_ray.store import Store
from adaprob_ray.store.contents import in_threads
from adaprob_ray.sweep.cell import Cell, canonical

# Shares that `gpu: auto` grants: 1/n. Few, because each share is a kind of actor of its own, which takes seconds to start.
CELLS_PER_CARD = (16, 12, 8, 6, 4, 3, 2, 1)
# The allocator's peak grows with fragmentation, and with a method's settings, which a shape does not name.
MEMORY_MARGIN = 1.25
# What one process holds of a card's memory besides its tensors: 0.3 to 0.5 GiB, for the CUDA context and its kernels.
CONTEXT_BYTES = 512 * 2**20
# Ray keeps four decimals of a share.
ROUNDING = 1e-4
# One trial runs and one is pending in each slot, so that no actor is idle between two cells and that a node which joins
# gets work at once.
TRIALS_PER_SLOT = 2
# A pending trial is a placement group that Ray tries to place: a thousand of them ask for every node that there may be.
MAX_TRIALS = 1000


def shape(identity: Mapping[str, Any]) -> str:
    """What the peak memory of a cell depends on, from its identity: stage, method, data set, network and precision."""
    names = ("method", "dataset", "architecture", "precision")
    return canonical({"stage": identity["stage"], **{n: identity["settings"].get(n) for n in names}})


def cell_kinds(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each kind that may ask for other resources than the others."""
    kinds = {(cell.resources, shape(cell.identity) if cell.resources.gpu == "auto" else ""): cell for cell in cells}
    return list(kinds.values())


def memory_fraction(gpu: float, card_bytes: int) -> float:
    """The fraction of a card's memory that the tensors of one process may take, if `gpu` of the card was granted.

    Contexts are outside PyTorch's allocator, so each process leaves room for its own.
    """
    return 1.0 if gpu >= 1 else max(gpu - CONTEXT_BYTES / card_bytes, gpu / 2)


class GpuPacker:
    """Decides the share of a GPU of each cell that starts.

    Args:
        cards: GPUs in the cluster. Set the attribute when the cluster changes.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> cells = Sweep.load("sweeps/table2.yaml", REGISTRY).cells.values()
        >>> cell = next(cell for cell in cells if cell.stage == "unlearn")  # it asks for gpu: auto
        >>> packer = GpuPacker(cards=2)
        >>> packer.grant(cell, waiting=2)  # a whole card until the memory of such cells is known
        1.0
        >>> packer.release(cell)
        >>> packer.observe(cell.identity, peak_bytes=15 * 2**30, card_bytes=80 * 2**30)
        >>> packer.grant(cell, waiting=100)  # four of them fit on a card
        0.25
        >>> packer.release(cell)
        >>> packer.grant(cell, waiting=2)  # but few cells are spread over the cards
        1.0
    """

    def __init__(self, cards: float = 0.0) -> None:
        self.cards = cards
        self._granted: dict[str, float] = {}
        self._least: dict[str, float] = {}  # by key: the share of a cell that ran out of memory, doubled
        self._need: dict[str, float] = {}  # by shape: the fraction of a card's memory that cells needed

    def observe(self, identity: Mapping[str, Any], *, peak_bytes: int, card_bytes: int) -> None:
        """Note the peak memory of a cell that has ended, and the memory of its card."""
        name = shape(identity)
        need = (peak_bytes * MEMORY_MARGIN + CONTEXT_BYTES) / card_bytes
        self._need[name] = max(need, self._need.get(name, 0.0))

    def observe_store(self, cells: Iterable[Cell], store: Store, *, card_bytes: int | None = None) -> None:
        """Note the peak memory of completed cells in the store, of the shapes of those `cells` that ask for `auto`.

        Args:
            cells: Those that are to run.
            store: Where others have run.
            card_bytes: Memory of the cards on which `cells` will run, None for cards like those that the store names.
        """
        shapes = {shape(cell.identity) for cell in cells if cell.resources.gpu == "auto"}
        if not shapes:
            return
        done = [key for key, log in store.survey().items() if log.done is not None]
        identities = dict(zip(done, in_threads(store.cell, done), strict=True))
        alike = [key for key, identity in identities.items() if identity and shape(identity) in shapes]
        commits = dict(zip(alike, in_threads(store.peek, alike), strict=True))
        for key, commit in commits.items():
            facts = commit.facts if commit else {}
            memory = card_bytes or facts.get("run_card_bytes")
            if facts.get("run_peak_bytes") and memory:
                self.observe(identities[key] or {}, peak_bytes=facts["run_peak_bytes"], card_bytes=memory)

    @property
    def _unused(self) -> float:
        return self.cards - sum(self._granted.values())

    @property
    def has_unused_card(self) -> bool:
        """Whether cells may get more than they need. Less than one card may be parts of several, where no more fits."""
        return self._unused >= 1 - ROUNDING

    def count_waiting(self, ready: Sequence[Cell], free_cpus: int) -> int:
        """How many of the ready cells use a GPU and have a CPU left to start now; the first one is among them.

        Only as many are looked at as the cards can hold: there may be 100,000, and the longest paths are in front.
        """
        if not self.has_unused_card:  # then the number does not matter
            return 1
        at_most = math.ceil(self.cards) * max(CELLS_PER_CARD)
        return max(1, min(sum(cell.resources.gpu != 0 for cell in ready[:at_most]), free_cpus))

    def grant(self, cell: Cell, *, waiting: int) -> float:
        """The share for a cell that starts now: at least what it needs, and more if cards would be left without a cell.

        Args:
            cell: The cell, which holds the share until `release`.
            waiting: How many cells that use a GPU could start now, this one included.
        """
        share = self.share(cell)
        if 0 < share < 1 and self.has_unused_card:
            share = max(share, 1 / math.ceil(waiting / self._unused - ROUNDING))
        self._granted[cell.key] = share
        return share

    def share(self, cell: Cell) -> float:
        """The share that a cell needs: the one in its sweep file, or for `auto` one that its memory fits in."""
        requested_share: float | str = cell.resources.gpu
        if requested_share == "auto":
            # Until a cell of the shape has ended, nothing is known: a whole card.
            need = self._need.get(shape(cell.identity), 1.0)
            requested_share = next((1 / n for n in CELLS_PER_CARD if need <= 1 / n), 1.0)
        return max(float(requested_share), self._least.get(cell.key, 0.0))

    def release(self, cell: Cell) -> None:
        """A cell has ended, or its process has."""
        self._granted.pop(cell.key, None)

    def out_of_memory(self, cell: Cell) -> None:
        """A cell ran out of memory: twice the share it had is the least that it gets next time."""
        self._least[cell.key] = min(1.0, 2 * self._granted.get(cell.key, self.share(cell)))


@dataclass(frozen=True)
class Capacity:
    """What a cluster has, and what it may have.

    nodes: Resources of each node that is alive, by Ray's names.
    startable: Resources of each further node that the autoscaler may start.
    """

    nodes: Sequence[Mapping[str, float]]
    startable: Sequence[Mapping[str, float]] = ()

    @property
    def cards(self) -> float:
        """GPUs of the nodes that are alive."""
        return sum(node.get("GPU", 0) for node in self.nodes)

    @property
    def has_gpus(self) -> bool:
        """Whether cells run on GPUs: in a cluster that has none, and can start none, the same cells run on CPU cores."""
        return any(node.get("GPU") for node in (*self.nodes, *self.startable))

    def request(self, cell: Cell, share: float | None = None) -> dict[str, float]:
        """CPUs and GPUs that a cell asks Ray for; `share` of a GPU instead of what its sweep file says."""
        requested_share = cell.resources.gpu
        gpu = (1.0 if requested_share == "auto" else requested_share) if share is None else share
        return {"CPU": float(cell.resources.cpu), **({"GPU": gpu} if gpu and self.has_gpus else {})}

    def fits(self, request: Mapping[str, float]) -> bool:
        """Whether one node can hold the request: a cell runs on one node, whatever the cluster has in total."""
        return any(_fits(node, request) for node in (*self.nodes, *self.startable))

    def slots(self, request: Mapping[str, float], *, later: bool = False) -> int:
        """How many such requests the nodes hold at once; `later`: with the nodes that the autoscaler may start."""
        nodes = (*self.nodes, *self.startable) if later else self.nodes
        return sum(_fits(node, request) for node in nodes)


def _fits(node: Mapping[str, float], request: Mapping[str, float]) -> int:
    """How many equal requests fit on an empty node. Shares never span two cards, and three thirds fill one."""
    count = math.floor(node.get("CPU", 0) / request["CPU"] + ROUNDING)
    gpu = request.get("GPU", 0.0)
    if gpu:
        cards = math.floor(node.get("GPU", 0) + ROUNDING)
        count = min(count, cards * math.floor(1 / gpu + ROUNDING) if gpu <= 1 else math.floor(cards / gpu))
    return count
