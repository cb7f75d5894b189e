"""The contents page: every data set, architecture, recipe, method, metric and stage, by the name that a sweep file uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from adaprob_ray.data.cifar import CIFAR5, CIFAR10, CIFAR100
from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.digits import DIGITS
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.base import Method
from adaprob_ray.methods.finetune import Finetune
from adaprob_ray.methods.original import Original
from adaprob_ray.methods.retrain import Retrain
from adaprob_ray.methods.retrain_independent import RetrainIndependent
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.cost import from_facts
from adaprob_ray.metrics.divergence import kl_to_retrain
from adaprob_ray.metrics.errors import errors
from adaprob_ray.metrics.membership import membership
from adaprob_ray.models.allcnn import BASE_WIDTHS, AllCNN
from adaprob_ray.models.resnet import STAGE_WIDTHS, ResNet18
from adaprob_ray.sweep.vocabulary import Vocabulary
from adaprob_ray.training import RECIPES


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network by name; `build(classes=…, channels=…, filters=…)` makes one. `narrowest` is its least scaled width."""

    name: str
    narrowest: int
    build: Callable[..., nn.Module] = field(repr=False)
    revision: int = 1


@functools.cache
def parameter_count(architecture: str, classes: int, channels: int, filters: float) -> int:
    """Trainable parameters, counted on the meta device: nothing is allocated."""
    with torch.device("meta"):
        model = ARCHITECTURES[architecture].build(classes=classes, channels=channels, filters=filters)
    return sum(parameter.numel() for parameter in model.parameters())


DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (DIGITS, CIFAR5, CIFAR10, CIFAR100)}

ARCHITECTURES = {
    "resnet18": Architecture(name="resnet18", narrowest=min(STAGE_WIDTHS), build=ResNet18),
    "allcnn": Architecture(name="allcnn", narrowest=min(BASE_WIDTHS), build=AllCNN),
}

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Original, Retrain, RetrainIndependent, Finetune, Scrub, AdaProb)
}

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="errors",
            columns=(
                "test_error_percent",
                "retain_error_percent",
                "forget_error_percent",
                "test_other_classes_error_percent",
                "validation_error_percent",
            ),
            compute=errors,
        ),
        Metric(name="membership", columns=("membership_accuracy_percent",), compute=membership),
        Metric(
            name="kl_to_retrain",
            columns=("kl_forget_nats", "kl_test_nats", "kl_forget_same_seed_nats", "kl_test_same_seed_nats"),
            compute=kl_to_retrain,
        ),
        Metric(name="seconds", columns=("unlearn_seconds",), compute=from_facts),
        Metric(name="passes", columns=("forward_examples", "backward_examples"), compute=from_facts),
        Metric(name="distance", columns=("parameter_distance", "start_distance"), compute=from_facts),
    )
}

STAGE_REVISIONS = {"pretrain": 1, "train": 1, "unlearn": 1, "evaluate": 1}

VOCABULARY = Vocabulary(
    datasets=DATASETS,
    architectures=ARCHITECTURES,
    recipes=RECIPES,
    methods=METHODS,
    metrics=METRICS,
    stages=STAGE_REVISIONS,
)
