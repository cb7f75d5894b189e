"""`adaprob_ray.unlearn` on any data: kinds of data sets, augmentation, and what is forgotten and retained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from calls import DATA, FORGET, HELD_OUT, IMAGES, LABELS, same, state, unlearned
from small import Rows
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.transforms import v2

from adaprob_ray.unlearning.samples import open_samples

UINT8 = (IMAGES * 40 + 128).clamp(0, 255).to(torch.uint8)


SOURCES: dict[str, Callable[[], Any]] = {
    "tensors": lambda: DATA,
    "arrays": lambda: (IMAGES.numpy(), LABELS.numpy()),
    "data set": lambda: TensorDataset(*DATA),
    "loader": lambda: DataLoader(TensorDataset(*DATA), batch_size=128, shuffle=True),
    "loader with workers": lambda: DataLoader(TensorDataset(*DATA), batch_size=128, num_workers=1),
    "subset": lambda: Subset(TensorDataset(IMAGES.flip(0), LABELS.flip(0)), list(range(89, -1, -1))),
    "mappings": lambda: Rows(90, lambda i: {"pixel_values": IMAGES[i], "labels": int(LABELS[i])}),
    "channels last": lambda: Rows(90, lambda i: (IMAGES[i].permute(1, 2, 0).numpy(), np.int64(LABELS[i]))),
}


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "tensors"])
def test_every_kind_of_data_set_gives_the_same_result(source: str) -> None:
    assert same(state(unlearned(data=SOURCES[source]()).model), state(unlearned().model))


def test_what_does_not_fit_into_memory_is_read_again_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = state(unlearned(data=SOURCES["mappings"]()).model)
    monkeypatch.setattr("adaprob_ray.unlearning.samples.CACHE_BYTES", 1000)
    assert same(state(unlearned(data=SOURCES["mappings"]()).model), expected)


def test_uint8_images_are_normalized_as_told() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    shape = (1, 3, 1, 1)
    by_hand = (UINT8.float() / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    first = unlearned(data=(UINT8, LABELS), mean=mean, std=std, test=None)
    assert same(state(first.model), state(unlearned(data=(by_hand, LABELS), test=None).model))


def test_augmentation_is_left_out_and_said_so() -> None:
    class Augmented(TensorDataset):
        transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(8, padding=2), v2.Identity()])

        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return self.transform(image), label

    result = unlearned(data=Augmented(*DATA))
    assert same(state(result.model), state(unlearned().model))
    assert result.warnings[0] == "random transforms of the data set are not applied: RandomHorizontalFlip, RandomCrop"


class Large(TensorDataset):
    """Images of 12 x 12 pixels, whose middle is that of DATA."""

    def __init__(self, transform: Any) -> None:
        super().__init__(nn.functional.pad(IMAGES, (2, 2, 2, 2)), LABELS)
        self.transform = transform

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return self.transform(image), label


@pytest.mark.parametrize(
    "transform",
    [
        v2.Compose([v2.RandomCrop(8), v2.RandomHorizontalFlip()]),
        torchvision.transforms.Compose([torchvision.transforms.RandomCrop((8, 8))]),
        v2.RandomOrder([v2.RandomVerticalFlip(), v2.RandomCrop(8)]),
        v2.Compose([v2.RandomApply([v2.RandomErasing()]), v2.RandomCrop(8)]),
        v2.RandomCrop(8),
    ],
)
def test_random_crops_become_crops_of_the_middle(transform: Any) -> None:
    result = unlearned(data=Large(transform))
    assert same(state(result.model), state(unlearned().model))
    assert "RandomCrop" in result.warnings[0]


def test_a_transform_of_nothing_but_random_ones_becomes_one_that_does_nothing() -> None:
    class Flipped(TensorDataset):
        transform = v2.Compose([v2.RandomHorizontalFlip()])

        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return self.transform(image), label

    assert same(state(unlearned(data=Flipped(*DATA)).model), state(unlearned().model))


def test_a_collate_function_is_not_used_and_said_so() -> None:
    def doubled(samples: Any) -> Any:
        batch = torch.utils.data.default_collate(samples)
        return 2 * batch[0], batch[1]

    result = unlearned(data=DataLoader(TensorDataset(*DATA), batch_size=128, collate_fn=doubled))
    assert result.warnings[0] == "the DataLoader's collate_fn is not used: dataset is read sample by sample"
    assert same(state(result.model), state(unlearned().model))


@pytest.mark.parametrize("shape", [(16, 4, 4), (3, 32, 32), (8, 8, 3)])
def test_channels_come_first_unless_the_shape_says_otherwise(shape: tuple[int, ...]) -> None:
    image, _ = open_samples((torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)), "dataset").read(0)
    assert tuple(image.shape) == ((3, 8, 8) if shape == (8, 8, 3) else shape)


def test_forgotten_samples_among_held_out_ones_are_pointed_out() -> None:
    result = unlearned(test=(torch.cat([HELD_OUT[0], IMAGES[:4]]), torch.cat([HELD_OUT[1], LABELS[:4]])))
    assert any(line.startswith("2 of the forgotten samples are in test too") for line in result.warnings)


FORGET_MASK = torch.zeros(90, dtype=torch.bool).index_fill(0, torch.tensor(FORGET), True)


@pytest.mark.parametrize(
    "forget", [tuple(FORGET), set(FORGET), np.array(FORGET), torch.tensor(FORGET[::-1]), FORGET_MASK]
)
def test_forgotten_samples_are_named_in_many_ways(forget: Any) -> None:
    assert same(state(unlearned(forget=forget).model), state(unlearned().model))


def test_a_whole_class_is_named_by_its_number() -> None:
    by_class = unlearned(forget="class:1")
    assert same(state(by_class.model), state(unlearned(forget=(LABELS == 1).nonzero().flatten()).model))
    assert (
        by_class.record["predicate"]["request"] | {"class": 1, "kind": "class", "count": 30}
        == by_class.record["predicate"]["request"]
    )


def test_retained_samples_are_the_rest_a_sample_of_it_or_given() -> None:
    rest = [row for row in range(90) if row not in FORGET]
    for rows in (rest, tuple(rest), set(rest)):
        assert same(state(unlearned(retain=rows).model), state(unlearned().model))
    assert len(unlearned(retain=range(40, 60)).run.plan.subsets["retain"]) == 20
    sampled = unlearned(retain="sample:40")
    assert len(sampled.run.plan.subsets["retain"]) == 40
    own = unlearned(
        data=(IMAGES[FORGET], LABELS[FORGET]), forget=list(range(9)), retain=TensorDataset(IMAGES[rest], LABELS[rest])
    )
    assert len(own.run.plan.subsets["retain"]) == 80
    assert own.run.plan.subsets["train"].labels.tolist() == [*LABELS[FORGET[:9]].tolist(), *LABELS[rest].tolist()]
    (batch,) = own.run.plan.subsets["train"].batches(100, torch.Generator().manual_seed(3))
    assert all(
        torch.equal(image, IMAGES[[*FORGET[:9], *rest][row]])
        for image, row in zip(batch.images, batch.rows, strict=True)
    )


MEMORY = """
import re
import torch
from torch import nn
import adaprob_ray

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 6000
    def __getitem__(self, row):
        return torch.full((3, 224, 224), row / 6000), row % 2

network = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, 2))
loader = torch.utils.data.DataLoader(Rows(), batch_size=64)
adaprob_ray.unlearn(network, loader, forget=[1, 2, 3], method="finetune", epochs=1, progress=False, max_drop=100.0)
status = open("/proc/self/status").read()  # ru_maxrss would include what the parent had when it forked
print(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    """6,000 images of 224 x 224 pixels are 3.4 GiB in float32; they are read again in each pass."""
    process = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) * 1024 < 3 << 30


def test_the_batch_size_of_a_loader_is_used_for_training() -> None:
    loader = DataLoader(TensorDataset(*DATA), batch_size=16)
    assert unlearned(data=loader).run.plan.method.batch_size == 16  # type: ignore[attr-defined]
    assert unlearned(data=loader, batch_size=8).run.plan.method.batch_size == 8  # type: ignore[attr-defined]


def test_memory_stays_small_with_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of predictions are cut to a number of bytes, and what exceeds the cache is read row by row."""
    monkeypatch.setattr("adaprob_ray.unlearning.samples.CACHE_BYTES", 1000)
    monkeypatch.setattr("adaprob_ray.unlearning.subset.PREDICT_BYTES", 4 * IMAGES[0].nbytes)
    result = unlearned(data=Rows(90, lambda i: (IMAGES[i], int(LABELS[i]))))
    sizes = [len(batch.labels) for batch in result.run.plan.subsets["train"].batches(500)]
    assert sizes == [4] * 22 + [2]
    assert open_samples(DATA, "dataset")._block is None
