"""The bench that methods are tested on: some rows of digits, and an original that is trained on them in a second."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaprob_ray.catalogue import DATASETS, REGISTRY
from adaprob_ray.contract.cases import Case
from adaprob_ray.data.batches import DeviceImages, Subset, Subsets, load_subsets
from adaprob_ray.data.dataset import Integers
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.recipe import Recipe
from adaprob_ray.sizes import Sizes
from adaprob_ray.stages.models import build_model, to_device
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, CellSettings, DatasetSettings, ForgetRequest
from adaprob_ray.training.loop import fit

CPU = torch.device("cpu")
SEED = 1
ROWS = {"train": 160, "validation": 120, "test": 40}  # validation is ordered by class: enough for the forget class
FORGET: dict[str, Any] = {"kind": "selective", "class": 3, "count": 12}
REQUEST = ForgetRequest.from_document(FORGET)
FILTERS = 0.04
RECIPE = Recipe(epochs=5, lr=0.05, batch_size=20, weight_decay=5e-4)
SETTINGS = CellSettings(
    dataset=DatasetSettings(name="digits"),
    architecture=ArchitectureSettings(name="allcnn", filters=FILTERS),
    seed=SEED,
    precision="float32",
)
PIXELS = ("forget", "retain", "validation", "test")  # what can be replaced by noise


def shrunk(part: Subset, rows: int) -> Subset:
    """The first rows as a subset of their own images, so that positions start at 0."""
    pixels = part.pixels
    return Subset(
        DeviceImages(pixels.images_NHWC[:rows].clone(), pixels.labels[:rows].clone(), pixels.scale_C, pixels.shift_C),
        torch.arange(rows),
    )


@functools.cache
def make_parts() -> Subsets:
    """The training, validation and test rows of the bench."""
    whole = load_subsets(DATASETS["digits"], Path(), SEED, test_pool="clean", device=CPU)
    small: dict[str, Any] = {name: shrunk(getattr(whole, name), rows) for name, rows in ROWS.items()}
    return Subsets(**small)


def forget_rows(parts: Subsets) -> Integers:
    """Positions of the rows to forget."""
    return forget_positions(parts.train.labels.numpy(), REQUEST, SEED)


def noisy(part: Subset, rows: Any) -> Subset:
    """The same subset with the pixels of some rows replaced by noise."""
    images = part.pixels.images_NHWC.clone()
    noise = torch.randint(0, 256, (len(rows), *images.shape[1:]), generator=torch.Generator().manual_seed(99))
    images[torch.as_tensor(rows)] = noise.to(torch.uint8)
    return Subset(dataclasses.replace(part.pixels, images_NHWC=images), part.rows)


def with_noise(parts: Subsets, names: Sequence[str]) -> Subsets:
    """The subsets with noise for all pixels of some of PIXELS."""
    forget = forget_rows(parts)
    rows = {"forget": forget, "retain": retain_positions(len(parts.train), forget)}
    for name in names:
        if name in rows:
            parts = dataclasses.replace(parts, train=noisy(parts.train, rows[name]))
        else:
            part = getattr(parts, name)
            changed: dict[str, Any] = {name: noisy(part, part.rows)}
            parts = dataclasses.replace(parts, **changed)
    return parts


def new_model(seed: int = derive_seed(SEED, 0, "initial")) -> nn.Module:
    """The network of the bench with random weights."""
    return to_device(build_model(SETTINGS, seed, REGISTRY), CPU)


@functools.cache
def _original() -> nn.Module:
    model = new_model()
    shuffle = torch.Generator().manual_seed(derive_seed(SEED, 0, "order"))
    recipe = dataclasses.replace(RECIPE, batch_norm="train")
    fit(model, make_parts().train, recipe, generator=shuffle, precision="float32", report=lambda step, **scalars: None)
    return model


def original() -> nn.Module:
    """A copy of the original that may be changed."""
    return copy.deepcopy(_original())


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors of a model, by name."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of all bits of these tensors and of their names."""
    content = hashlib.sha256()
    for name, tensor in tensors.items():
        content.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


def changed_parameters(case: Case) -> set[str]:
    """The names of the parameters that the method declares to change."""
    model = original()
    changed: set[str] = case.build().changed_parameters(model)
    return changed


def updated_buffers(case: Case, batch_norm: str) -> set[str]:
    """The names of the batch-norm statistics that the method declares to update, under a recipe with this `batch_norm`."""
    model = original()
    buffers = {id(b) for layer in case.build().updated_statistics(model, batch_norm) for b in layer.buffers()}
    return {name for name, buffer in model.named_buffers() if id(buffer) in buffers}


def sizes(parts: Subsets) -> Sizes:
    """What the cost of a method on the bench depends on."""
    forget = len(forget_rows(parts))
    return Sizes(
        retain=len(parts.train) - forget,
        forget=forget,
        validation=int((parts.validation.labels == FORGET["class"]).sum()),
        recipe_epochs=RECIPE.epochs,
        recipe_decay=RECIPE.decay,
        classes=10,
        parameters=sum(p.numel() for p in _original().parameters()),
    )
