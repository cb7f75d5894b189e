"""Bad input of `adaprob_ray.unlearn`: one clear error before any work, and nothing of the caller's changed."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import CLASSES, Convolutional, Rows, images, seeded, trained
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)
from torchvision.transforms import v2

import adaprob_ray
from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.unlearning.api import Unlearned

DATA = images()
IMAGES, LABELS = DATA
FORGET = [0, 3, 6]
NETWORK = trained(seeded(Convolutional), DATA, steps=5)


def with_label(row: int, label: Any) -> tuple[torch.Tensor, torch.Tensor]:
    labels = LABELS.clone()
    labels[row] = label
    return IMAGES, labels


def with_nan_weights() -> nn.Module:
    network = copy.deepcopy(NETWORK)
    with torch.no_grad():
        network.fc.weight[0, 0] = float("nan")  # type: ignore[index, union-attr, operator]
    return network


def frozen_network() -> nn.Module:
    return copy.deepcopy(NETWORK).requires_grad_(False)


def failing_at_17(index: int) -> Any:
    if index == 17:
        raise OSError("truncated file")
    return IMAGES[index], int(LABELS[index])


def of_two_sizes(index: int) -> Any:
    return (IMAGES[index] if index != 5 else torch.zeros(3, 9, 9)), int(LABELS[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(*DATA, strict=True))


def with_copy() -> tuple[torch.Tensor, torch.Tensor]:
    copied = IMAGES.clone()
    copied[33] = copied[3]  # of the same class
    return copied, LABELS


class Returning(nn.Module):
    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.network, self.make = Convolutional(), make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.network(x))


def on_two_devices() -> nn.Module:
    network = Convolutional()
    network.fc.to("meta")
    return network


class WithActivations(Convolutional):
    activations: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.activations = super().forward(x)
        return self.activations


def with_activations() -> nn.Module:
    network = WithActivations()
    network(IMAGES)
    return network


class WithExtraState(Convolutional):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


READS = itertools.count()


def flipped_every_second_time(index: int) -> Any:
    return (IMAGES[index].flip(-1) if next(READS) % 2 else IMAGES[index]), int(LABELS[index])


class Transformed(TensorDataset):
    def __init__(self, transform: Any) -> None:
        super().__init__(*DATA)
        self.transform = transform

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return self.transform(image), label


HELD_OUT_WITH_OTHER_LABELS = (IMAGES, LABELS + 1)
# name: (arguments that replace good ones, what the message must contain)
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no module": ({"model": lambda x: x}, ("model: must be a torch.nn.Module, got function",)),
    "no parameters": (
        {"model": nn.Flatten()}, ("model: must have parameters that require gradients", "requires_grad_(True)")
    ),
    "frozen weights": ({"model": frozen_network()}, ("model: must have parameters that require gradients",)),
    "NaN weights": ({"model": with_nan_weights()}, ("model: must have finite weights", "fc.weight")),
    "no classifier": ({"model": Returning(torch.mean)}, ("model: must return logits of shape [2, classes]", "forward=")),
    "an output object": ({"model": Returning(lambda y: {"scores": y})}, ("model: must return a tensor of logits", "got dict")),
    "one output": ({"model": Convolutional(1)}, ("model: must have at least two classes, got 1 output",)),
    "too few classes": ({"model": Convolutional(2)}, ("dataset: labels must be 0 to 1", "2 outputs")),
    "images of another shape": ({"dataset": (torch.randn(90, 5), LABELS)}, ("model: must accept images of shape [2, 5]",)),
    "labels above": ({"dataset": with_label(40, 7)}, ("dataset: labels must be 0 to 2", "got 7 in sample 40")),
    "labels below": ({"dataset": with_label(3, -1)}, ("dataset: labels must be 0 to 2", "got -1 in sample 3")),
    "labels of floats": ({"dataset": (IMAGES, LABELS + 0.5)}, ("dataset[0]: must have an integer label, got 0.5",)),
    "fewer labels": ({"dataset": (IMAGES, LABELS[:50])}, ("dataset: must have as many labels as images, got 50 and 90",)),
    "NaN images": ({"dataset": (IMAGES / 0, LABELS)}, ("dataset: must hold finite images", "in sample 0")),
    "no data set": ({"dataset": 5}, ("dataset: must be a map-style data set", "got int")),
    "an iterable data set": ({"dataset": Stream()}, ("dataset: must be a map-style data set", "got Stream")),
    "a loader of one": (
        {"dataset": DataLoader(Stream())}, ("dataset: must be a DataLoader of a map-style data set, got one of Stream",)
    ),
    "probabilities": (
        {"model": Returning(lambda y: y.softmax(1))}, ("model: must return logits, got probabilities", "leave the softmax out")
    ),
    "a file of indices": ({"forget": "rows.txt"}, ("only the command line reads files of indices",)),
    "one index": ({"forget": 3}, ("forget: must be a list of indices, got int; pass [3]",)),
    "weights as a reference": (
        {"reference": [NETWORK.state_dict()]}, ("reference 1: model: must be a torch.nn.Module", "load the weights into")
    ),
    "a copy with another label in retain": (
        {"dataset": (with_copy()[0], with_label(33, 1)[1])}, ("retain: must have no copy of a forgotten sample, got 1", "33")
    ),
    "an empty data set": ({"dataset": (IMAGES[:0], LABELS[:0])}, ("dataset: must have at least one sample",)),
    "a sample that cannot be read": (
        {"dataset": Rows(90, failing_at_17)}, ("dataset[17]: cannot be read: OSError: truncated file",)
    ),
    "images of two sizes": ({"dataset": Rows(90, of_two_sizes)}, ("dataset[5]: must have the shape (3, 8, 8)", "(3, 9, 9)")),
    "images of two types": (
        {"dataset": Rows(90, lambda i: (IMAGES[i] if i != 5 else IMAGES[i].to(torch.uint8), int(LABELS[i])))},
        ("dataset[5]: must have the type torch.float32 of the first sample, got torch.uint8",),
    ),
    "no pairs": ({"dataset": Rows(90, lambda i: IMAGES[i])}, ("dataset[0]: must be (image, label), got Tensor",)),
    "another mapping": ({"dataset": Rows(90, lambda i: {"a": 1})}, ("dataset[0]: must have an image (pixel_values", "got a")),
    "data that change": (
        {"dataset": Rows(90, lambda i: (IMAGES[random.randrange(90)], int(LABELS[i])))},
        ("must be the same each time it is read", "turn off augmentation"),
    ),
    "nothing to forget": ({"forget": []}, ("forget: must have at least one index, got none",)),
    "an empty mask": ({"forget": torch.zeros(90, dtype=torch.bool)}, ("forget: must have at least one index",)),
    "a short mask": ({"forget": torch.ones(9, dtype=torch.bool)}, ("a mask must have a value for each of 90 samples, got 9",)),
    "everything": ({"forget": list(range(90))}, ("forget: must leave samples to retain, got all 90",)),
    "twice": ({"forget": [1, 1, 2]}, ("forget: must name each sample once, got 1 more than once",)),
    "out of range": ({"forget": [1, 90, -4]}, ("forget: must be 0 to 89, got 90, -4",)),
    "no integers": ({"forget": [0.5]}, ("forget: must be integers, got float64",)),
    "two dimensions": ({"forget": [[1, 2]]}, ("forget: must have one dimension, got shape [1, 2]",)),
    "a class without samples": ({"forget": "class:7"}, ("forget: class:7: must be a class that has samples (known: 0, 1, 2)",)),
    "another word": ({"forget": "cats"}, ("forget: must be indices, a mask or class:NUMBER, got 'cats'",)),
    "retain of forget": ({"retain": [3, 4, 5]}, ("retain: must have no sample of forget, got 3 in both",)),
    "a copy in retain": ({"dataset": with_copy()}, ("retain: must have no copy of a forgotten sample, got 1", "33")),
    "a large sample": ({"retain": "sample:1000"}, ("retain: must be at most the 87 samples that are not forgotten",)),
    "a sample of none": ({"retain": "sample:0"}, ("retain: must be indices or sample:NUMBER",)),
    "an unknown method": ({"method": "adaprb"}, ("method 'adaprb'", "did you mean 'adaprob'?")),
    "a method that trains": ({"method": "retrain"}, ("method: must start from the trained model, got retrain",)),
    "a method without its data": ({"method": "scrub_rewind"}, ("validation: must be given for scrub_rewind",)),
    "an unknown setting": ({"lrr": 0.1}, ("lrr", "did you mean 'lr'?")),
    "a setting out of range": ({"lr": -1.0}, ("lr", "-1.0")),
    "an unknown device": ({"device": "cuda:99"}, ("device: must be available here, got 'cuda:99'", "cpu")),
    "an unknown precision": ({"precision": "float16"}, ("precision: must be one of float32, bfloat16, got 'float16'",)),
    "an unknown batch norm": ({"batch_norm": "eval"}, ("batch_norm: must be one of frozen, train, recompute",)),
    "a negative limit": ({"max_drop": -1}, ("max_drop: must be a number of percentage points",)),
    "mean without std": ({"mean": (0.5, 0.5, 0.5)}, ("mean, std: must have a value per channel each, got 3 and 0",)),
    "a std of zero": ({"mean": (0.0,), "std": (0.0,)}, ("std: must be above 0",)),
    "another number of channels": ({"mean": (0.0,), "std": (1.0,)}, ("must have a value for each of 3 channels, got 1",)),
    "held-out labels": ({"test": HELD_OUT_WITH_OTHER_LABELS}, ("test: labels must be 0 to 2", "got 3")),
    "a reference with other classes": (
        {"reference": Convolutional(5)}, ("reference 1: must have 3 classes like the model, got 5",)
    ),
    "the original as a reference": (
        {"reference": copy.deepcopy(NETWORK)}, ("reference 1: must be a model of its own, got the weights of the original",)
    ),
    "a reference given twice": (
        {"reference": [Convolutional()] * 2}, ("reference 2: must be a model of its own, got the weights of reference 1",)
    ),
    "a network on two devices": ({"model": on_two_devices()}, ("model: must be on one device, got parameters on cpu, meta",)),
    "a network without weights": (
        {"model": Convolutional().to("meta")}, ("model: must have weights, got a model on the device meta", "to_empty")
    ),
    "a lazy network": (
        {"model": nn.LazyLinear(3)}, ("model: must be initialized, got no weights yet in weight, bias", "call it on a batch")
    ),
    "a network that keeps activations": (
        {"model": with_activations()}, ("model: must be a network that copy.deepcopy can copy", "remove tensors")
    ),
    "a network with an extra state": (
        {"model": WithExtraState()}, ("model: must have only tensors in its state_dict, got dict in _extra_state",)
    ),
    "a loader with a sampler": (
        {"dataset": DataLoader(TensorDataset(*DATA), sampler=SubsetRandomSampler(range(60)))},
        ("dataset: must be a DataLoader that reads each sample", "with SubsetRandomSampler", "Subset(dataset, "),
    ),
    "a loader that fails in a worker": (
        {"dataset": DataLoader(Rows(90, failing_at_17), num_workers=2)},
        ("dataset[17]: cannot be read: OSError: truncated file",),
    ),
    "a flip that changes half of the samples": (
        {"dataset": Rows(90, flipped_every_second_time), "forget": [3]}, ("must be the same each time it is read",)
    ),
    "a random choice of transforms": (
        {"dataset": Transformed(v2.Compose([v2.RandomChoice([v2.Resize(8)])]))},
        ("dataset: must have no RandomChoice", "the transform of your evaluation"),
    ),
    "a loader with a sampler in its batches": (
        {"dataset": DataLoader(TensorDataset(*DATA), batch_sampler=BatchSampler(SubsetRandomSampler(range(60)), 8, False))},
        ("got one with SubsetRandomSampler",),
    ),
    "a loader that draws a few samples": (
        {"dataset": DataLoader(TensorDataset(*DATA), sampler=RandomSampler(DATA[1], num_samples=10))}, ("with RandomSampler",)
    ),
    "two shapes from two workers": (
        {"dataset": DataLoader(Rows(90, of_two_sizes), num_workers=2)}, ("must have the shape (3, 8, 8) of the first sample",)
    ),
    "lists": ({"dataset": (IMAGES.tolist(), LABELS.tolist())}, ("dataset: must be a pair of tensors or arrays", "got lists")),
    "other images to retain": (
        {"retain": (torch.zeros(9, 3, 9, 9), LABELS[:9])},
        ("retain: must have images of shape (3, 8, 8) as dataset has, got (3, 9, 9)",),
    ),
    "images of another type to retain": (
        {"retain": (torch.zeros(9, 3, 8, 8, dtype=torch.uint8), LABELS[:9])},
        ("retain: must have images of float32 as dataset has, got uint8",),
    ),
    "held-out images of another shape": (
        {"test": (torch.zeros(9, 1, 8, 8), LABELS[:9])},
        ("test: must have images that the model accepts, got shape [2, 1, 8, 8]",),
    ),
    "a negative seed": ({"seed": -1}, ("seed: must be an integer from 0 to 2**63 - 1, got -1",)),
    "a seed in words": ({"seed": "a"}, ("seed: must be an integer", "got 'a'")),
    "one number as mean": ({"mean": 0.5, "std": 0.5}, ("mean, std: must be sequences with a number per channel", "got 0.5")),
    "a mean of NaN": ({"mean": [float("nan")] * 3, "std": [1.0] * 3}, ("mean, std: must be finite",)),
    "a mistyped argument": ({"retian": [1]}, ("retian: must be an argument of unlearn", "did you mean 'retain'?")),
    "a reference that is none": ({"reference": [NETWORK, 3]}, ("reference 2: model: must be a torch.nn.Module, got int",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_clear_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, words = CASES[name]
    arguments: dict[str, Any] = {"model": NETWORK, "dataset": DATA, "forget": FORGET, "progress": False, **changes}
    monkeypatch.setattr("adaprob_ray.unlearning.api.execute", lambda *_, **__: pytest.fail("work has begun"))
    before = {key: value.clone() for key, value in NETWORK.state_dict().items()}
    with pytest.raises(InputError) as caught:
        adaprob_ray.unlearn(**arguments)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert len(message.splitlines()) == 1
    assert all(torch.equal(value, before[key]) for key, value in NETWORK.state_dict().items())


def unlearned(**arguments: Any) -> Unlearned:
    return adaprob_ray.unlearn(NETWORK, DATA, forget=FORGET, method="finetune", epochs=1, progress=False, **arguments)


def test_a_step_that_diverges_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Diverged, match="a smaller learning rate may help"):
        adaprob_ray.unlearn(NETWORK, DATA, forget=FORGET, method="neggrad_plus", lr=1e30, epochs=3, progress=False)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("x"), RuntimeError("not enough memory")]
)
@pytest.mark.parametrize("place", ["run.measure", "prepare.weights_digest", "network.copy.deepcopy"])
def test_too_little_memory_names_the_remedy(error: Exception, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(f"adaprob_ray.unlearning.{place}", failing)
    with pytest.raises(InputError, match=r"not enough memory.*; use a smaller batch_size"):
        unlearned()


def test_a_folder_with_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="must be a new or an empty folder"):
        unlearned().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_working_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", tmp_path):
        with pytest.raises(InputError, match="must be a folder other than the working directory"):
            unlearned().save(name)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda path: path.name == "volume")
        (tmp_path / "volume").mkdir()
        with pytest.raises(
            InputError, match="must be a folder that can be replaced, got a mount point; name a folder inside"
        ):
            unlearned().save("volume")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    unlearned().save("link")
    assert (tmp_path / "empty/record.json").is_file()
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, write = unlearned(), Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "record.html":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="out: cannot be written: No space left on device"):
        result.save(tmp_path / "new/deep/out")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_unlearning_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {key: value.clone() for key, value in NETWORK.state_dict().items()}

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("adaprob_ray.methods.finetune.train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unlearned()
    assert all(torch.equal(value, before[key]) for key, value in NETWORK.state_dict().items())


def test_the_good_arguments_of_these_tests_are_good() -> None:
    assert adaprob_ray.unlearn(NETWORK, DATA, forget=FORGET, epochs=1, progress=False).model is not None
    assert adaprob_ray.unlearn(NETWORK, TensorDataset(*DATA), forget=FORGET, epochs=1, progress=False).model is not None
    assert CLASSES == 3
