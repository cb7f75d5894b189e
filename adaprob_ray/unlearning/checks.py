"""Whether a model fits the data, and whether a method can run on both: known before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from adaprob_ray.catalogue import METHODS
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Sizes, Unlearning
from adaprob_ray.recipe import Recipe
from adaprob_ray.unlearning.network import AdaptedNetwork, copy_with_random_weights
from adaprob_ray.unlearning.subset import SampleSubset


@torch.no_grad()
def check_outputs(network: AdaptedNetwork, subsets: Mapping[str, SampleSubset], classes: int | None = None) -> int:
    """The number of classes, from a first batch. Raises InputError if the model does not fit the data or has not `classes`."""
    logits = _first_logits(network, subsets["forget"], "model: must accept images of shape {shape}, got {fault}")
    for name in [name for name in ("validation", "test") if name in subsets]:
        _first_logits(
            network, subsets[name], name + ": must have images that the model accepts, got shape {shape}: {fault}"
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError("model: must give finite logits, got NaN or infinity for the first forgotten samples")
    count = logits.shape[1]
    if count < 2:
        raise InputError(f"model: must have at least two classes, got {count} output; binary models need two logits")
    _check_no_probabilities(logits)
    if classes is not None and count != classes:
        raise InputError(f"must have {classes} classes like the model, got {count}")
    # All other subsets of the data set are part of `train`.
    for name in [name for name in ("train", "validation", "test") if name in subsets]:
        subset = subsets[name]
        outside = (subset.labels < 0) | (subset.labels >= count)
        if bool(outside.any()):
            position = int(outside.nonzero()[0])
            row = subset.training.rows[int(subset.rows[position])]
            place = "dataset" if name == "train" else name
            raise InputError(
                f"{place}: labels must be 0 to {count - 1}, as the model has {count} outputs, got "
                f"{int(subset.labels[position])} in sample {row}"
            )
    return count


def _first_logits(network: AdaptedNetwork, subset: SampleSubset, message: str) -> Tensor:
    """The logits of a first batch. Raises InputError with the message, completed by `shape` and `fault`, if there are none."""
    shape: list[int] = []
    try:
        batch = next(iter(subset.batches(2)))
        shape = list(batch.images.shape)
        return cast(Tensor, network.eval()(batch.images))
    except InputError:
        raise
    except Exception as error:
        raise InputError(message.format(shape=shape, fault=f"{type(error).__name__}: {error}")) from error


def _check_no_probabilities(logits: Tensor) -> None:
    """Methods and metrics apply softmax: probabilities in place of logits would be flattened by it."""
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        shown = ", ".join(f"{value:.3f}" for value in logits[0, :4].tolist())
        raise InputError(
            f"model: must return logits, got probabilities: each row sums to 1 ({shown}, …); leave the softmax out, or pass "
            "forward=lambda model, images: model(images).clamp_min(1e-12).log()"
        )


def check_method(
    method: Unlearning, network: AdaptedNetwork, subsets: Mapping[str, SampleSubset], recipe: Recipe, classes: int
) -> None:
    """Raises InputError with the reason if the method cannot run."""
    if "initial_state" in method.needs:
        possible = sorted(
            name for name, each in METHODS.items() if issubclass(each, Unlearning) and "initial_state" not in each.needs
        )
        raise InputError(
            f"method: {method.name} needs the weights from which the model was trained, which are not known (known: "
            f"{', '.join(possible)})"
        )
    if "validation" in method.needs and "validation" not in subsets:
        raise InputError(f"validation: must be given for {method.name}")
    if "fresh_model" in method.needs:
        copy_with_random_weights(network, 0)
    sizes = method_sizes(network, subsets, recipe, classes)
    reason = method.skip(sizes, network)
    if reason is not None:
        raise InputError(f"method: {method.name}: {reason}")


def method_sizes(network: nn.Module, subsets: Mapping[str, SampleSubset], recipe: Recipe, classes: int) -> Sizes:
    """What the cost of a method depends on."""
    forgotten = torch.unique(subsets["forget"].labels)
    validation = int(torch.isin(subsets["validation"].labels, forgotten).sum()) if "validation" in subsets else 0
    return Sizes(
        retain=len(subsets["retain"]),
        forget=len(subsets["forget"]),
        validation=validation,
        recipe_epochs=recipe.epochs,
        recipe_decay=recipe.decay,
        classes=classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        whole_classes=not bool(torch.isin(forgotten, subsets["retain"].labels).any()),
    )
