"""What the cells of a store use one training image for: which models were trained on it, and which unlearned it.

An image is known by its source number, which `adaprob-ray data indices` writes as `train_source`. Data sets that are drawn from
one another share their source numbers: an image of CIFAR-10 may also be one of CIFAR-5's. In data sets prepared from
folders all images with the same pixels have one number; elsewhere a copy under another number is another image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from adaprob_ray.data.dataset import Dataset, Integers
from adaprob_ray.data.split import copy_groups, request_positions, split_images
from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.methods.base import Trained, Unlearning
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import (
    DatasetSettings,
    ForgetRequest,
    ImportSettings,
    ModelSettings,
    TrainSettings,
    UnlearnSettings,
)
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.user_code.source import is_path, source_revisions

# trained:   the model was trained on it
# left out:  it is in the forget set, and the model was trained from the start without it
# retain:    it is in the retain set of an unlearned model, whose original was trained on it
# forget:    it is in the forget set of an unlearned model, whose original was trained on it
# forgotten: an earlier request of a sequence forgot it, and this model starts from the one that did
# selection: it is a validation image, which the method may use: to select one of several results, or for the targets of
#            forget samples
# none:      the model has not seen it
# imported:  the model came from a file, and may have been trained on it
# unknown:   the model was trained on another revision of the data set, whose images have other numbers, or its data set or
#            method is one of a package that cannot be imported here
Use = Literal[
    "trained",
    "left out",
    "retain",
    "forget",
    "retain and forget",
    "forgotten",
    "selection",
    "imported",
    "none",
    "unknown",
]
# Uses with which a model, or the original that it was unlearned from, has or may have been trained on the image.
SEEN: frozenset[Use] = frozenset({"trained", "imported", "forgotten", "retain", "forget", "retain and forget"})


@dataclass(frozen=True)
class _SeedSplit:
    """The training labels of one data set and seed, and where the image is: its positions there, or among the validation."""

    train_labels: Integers
    positions: Integers
    is_validation: bool
    groups: Integers | None


class ImageUse:
    """One training image, and what each cell uses it for.

    Args:
        dataset: name of the data set.
        row: the image's source number.
        registry: the data sets and methods.
        data_root: folder of the data sets.

    Raises:
        InputError: if there is no such data set or training image, or the data set is missing or corrupt.
    """

    def __init__(self, dataset: str, row: int, registry: Registry, data_root: Path) -> None:
        if is_path(dataset) and (faults := registry.name_faults("dataset", dataset)):
            raise InputError(*(f"--descendants: {fault}" for fault in faults))
        if dataset not in registry.datasets:
            raise InputError(f"--descendants: {unknown_name('data set', dataset, registry.datasets)}")
        self._registry, self._root, self._row = registry, data_root, row
        self._verified: set[str] = set()
        self._source = self._source_of(dataset)
        if faults := registry.name_faults("dataset", self._source):
            raise InputError(*(f"--descendants: {dataset}: drawn_from: {fault}" for fault in faults))
        self._verify(self._source)
        images = cast(Dataset, registry.datasets[self._source]).load(data_root, 1)
        known = np.unique(images.train_source)
        if row not in known:
            numbers = f"{known[0]} to {known[-1]}"
            if len(known) <= known[-1] - known[0]:
                numbers += f", of which {len(known)} are training images"
            if images.forget_copies:
                numbers += "; images with the same pixels have the number of the first"
            raise InputError(
                f"--descendants: row of {dataset}: must be that of a training image, got {row} (known: {numbers})"
            )
        self._splits: dict[tuple[DatasetSettings, int], _SeedSplit] = {}
        self._forget: dict[tuple[DatasetSettings, int, ForgetRequest], tuple[Integers, Integers]] = {}

    @property
    def datasets(self) -> frozenset[str]:
        """The names of the data sets that may contain the image."""
        return frozenset(name for name in self._registry.datasets if self._source_of(name) == self._source)

    def use(self, cell: Cell) -> Use:
        """What the cell uses the image for; `none` for a cell that is not a model's."""
        settings, name = cell.settings, cell.settings.dataset.name
        if cell.stage not in ("pretrain", "import", "train", "unlearn"):
            return "none"
        if is_path(name) and self._registry.name_faults("dataset", name):
            return "unknown"  # of a package that cannot be imported here
        if name not in self.datasets:
            return "none"
        revisions = {f"dataset:{name}": self._registry.datasets[name].revision, **source_revisions(name)}
        if any(cell.revisions.get(entry) != revision for entry, revision in revisions.items()):
            return "unknown"
        if cell.method and self._registry.name_faults("method", cell.method):
            return "unknown"  # of a package that cannot be imported here
        split = self._split(settings.dataset, settings.seed)
        if isinstance(settings, ImportSettings):
            return "imported" if len(split.positions) or split.is_validation else "none"
        if isinstance(settings, TrainSettings):
            return self._trained(settings, split)
        if isinstance(settings, UnlearnSettings):
            return self._unlearned(settings, split)
        return "trained" if len(split.positions) else "none"

    def _trained(self, settings: TrainSettings, split: _SeedSplit) -> Use:
        """As the train stage: the method says on which rows it trains."""
        forget = np.empty(0, np.int64)
        if settings.forget is not None:
            forget = np.concatenate(self._forget_positions(settings, settings.forget, split))
        method = cast(Trained, self._registry.method(settings))
        rows = method.rows(len(split.train_labels), forget, settings.seed)
        if np.isin(split.positions, rows).any():
            return "trained"
        return "left out" if np.isin(split.positions, forget).any() else "none"

    def _unlearned(self, settings: UnlearnSettings, split: _SeedSplit) -> Use:
        forget, before = self._forget_positions(settings, settings.forget, split)
        if len(split.positions) and np.isin(split.positions, before).all():
            return "forgotten"
        in_forget = np.isin(split.positions, forget)
        if len(in_forget) == 0:
            method = cast(type[Unlearning], self._registry.methods[settings.method])
            may_use = "validation" in method.needs | method.optional_needs
            return "selection" if split.is_validation and may_use else "none"
        # Where a data set has repeats, one image can be in both.
        if in_forget.all():
            return "forget"
        return "retain and forget" if in_forget.any() else "retain"

    def _forget_positions(
        self, settings: ModelSettings, forget: ForgetRequest, split: _SeedSplit
    ) -> tuple[Integers, Integers]:
        request = settings.dataset, settings.seed, forget
        if request not in self._forget:
            self._forget[request] = request_positions(split.train_labels, forget, settings.seed, split.groups)
        return self._forget[request]

    def _split(self, dataset: DatasetSettings, seed: int) -> _SeedSplit:
        if (dataset, seed) not in self._splits:
            self._verify(dataset.name)
            images = cast(Dataset, self._registry.dataset(dataset)).load(self._root, seed)
            rows = split_images(images, seed, test_pool="paper")  # the test pool changes no training or validation row
            self._splits[dataset, seed] = _SeedSplit(
                train_labels=images.train_labels[rows.train],
                positions=np.flatnonzero(images.train_source[rows.train] == self._row),
                is_validation=bool((images.train_source[rows.validation] == self._row).any()),
                groups=copy_groups(images, rows.train),
            )
        return self._splits[dataset, seed]

    def _source_of(self, name: str) -> str:
        return getattr(self._registry.datasets[name], "drawn_from", None) or name

    def _verify(self, name: str) -> None:
        if name not in self._verified:
            if (fault := self._registry.datasets[name].verify(self._root)) is not None:
                raise InputError(fault)
            self._verified.add(name)
