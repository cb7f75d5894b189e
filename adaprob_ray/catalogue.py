"""The catalogue: every data set, architecture, recipe, method, metric and stage, by the name that a sweep file uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from adaprob_ray.data.cifar import CIFAR5, CIFAR10, CIFAR100
from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.digits import DIGITS
from adaprob_ray.data.faces import FACES5, FACES10, FACES100
from adaprob_ray.data.folder import prepared_folders
from adaprob_ray.data.lacuna import LACUNAS
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.bad_teacher import BadTeacher
from adaprob_ray.methods.base import Method
from adaprob_ray.methods.bias_shift import BiasShift
from adaprob_ray.methods.cf_k import CFk
from adaprob_ray.methods.eu_k import EUk
from adaprob_ray.methods.finetune import Finetune
from adaprob_ray.methods.fisher import Fisher
from adaprob_ray.methods.neggrad_plus import NegGradPlus
from adaprob_ray.methods.ntk import NTK
from adaprob_ray.methods.original import Original
from adaprob_ray.methods.random_label import RandomLabel
from adaprob_ray.methods.retrain import Retrain
from adaprob_ray.methods.retrain_independent import RetrainIndependent
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.methods.scrub_rewind import ScrubRewind
from adaprob_ray.metrics import Metric, fact_metrics
from adaprob_ray.metrics.auc import MEMBERSHIP_AUC
from adaprob_ray.metrics.divergence import KL_TO_RETRAIN, KL_VARIANTS
from adaprob_ray.metrics.error_rate import ALL_REQUESTS, ERRORS
from adaprob_ray.metrics.membership import MEMBERSHIP
from adaprob_ray.metrics.selection import SELECTION
from adaprob_ray.models import allcnn, resnet
from adaprob_ray.plugins.datasets import load_dataset
from adaprob_ray.plugins.libraries import is_library, load_library_network
from adaprob_ray.plugins.methods import load_method
from adaprob_ray.plugins.metrics import load_metric
from adaprob_ray.plugins.networks import PathArchitecture, load_network
from adaprob_ray.recipe import RECIPES
from adaprob_ray.stages.evaluate import EVALUATE
from adaprob_ray.stages.import_weights import IMPORT, weights_sha256
from adaprob_ray.stages.pretrain import PRETRAIN
from adaprob_ray.stages.probe import PROBE
from adaprob_ray.stages.relearn import RELEARN
from adaprob_ray.stages.select import SELECT
from adaprob_ray.stages.train import TRAIN
from adaprob_ray.stages.unlearn import UNLEARN
from adaprob_ray.sweep.registry import MetricStage, Registry, Stage
from adaprob_ray.user_code.source import is_path


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network by name; `build(classes=…, channels=…, filters=…)` makes one.

    `about`: one line for `adaprob-ray list architectures`. `narrowest`: its smallest scaled width.

    `multiply_adds(channels=…, filters=…, size=…)`: those of one forward pass of one image, with a classifier of one class.
    """

    name: str
    about: str
    narrowest: int
    build: Callable[..., nn.Module] = field(repr=False)
    multiply_adds: Callable[..., int] = field(repr=False)
    revision: int = 1

    @functools.cache  # noqa: B019  # a few entries that live as long as the process
    def on_meta(self, *, classes: int, channels: int, filters: float) -> nn.Module:
        """The network on the meta device: its layers, without memory for their weights."""
        with torch.device("meta"):
            return self.build(classes=classes, channels=channels, filters=filters)

    @functools.cache  # noqa: B019  # as above
    def parameter_count(self, *, classes: int, channels: int, filters: float) -> int:
        """Trainable parameters."""
        network = self.on_meta(classes=classes, channels=channels, filters=filters)
        return sum(parameter.numel() for parameter in network.parameters())


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (DIGITS, CIFAR5, CIFAR10, CIFAR100, FACES5, FACES10, FACES100, *LACUNAS)
}
BUILT_IN = frozenset(DATASETS)


def data_root() -> Path:
    """The folder of the data sets: ADAPROB_DATA, or ./data where that is not set or empty."""
    return Path(os.environ.get("ADAPROB_DATA") or "./data").expanduser()


def register_prepared_folders(root: Path) -> None:
    """Register the image-folder data sets prepared under `root` (ADAPROB_DATA); unregister those of other roots.

    Only manifests are read. Every command, and every process that executes cells, calls this once it knows its root. An
    unchanged entry stays the same object, so that what is cached for it stays valid.
    """
    folders = prepared_folders(root, BUILT_IN)
    for name in DATASETS.keys() - BUILT_IN - folders.keys():
        if not is_path(name):
            del DATASETS[name]
    for name, dataset in folders.items():
        if name not in DATASETS or DATASETS[name].revision != dataset.revision:
            DATASETS[name] = dataset


ARCHITECTURES: dict[str, Architecture | PathArchitecture] = {
    "resnet18": Architecture(
        name="resnet18",
        about="ResNet-18 with pre-activation blocks and a stem of 64 channels",
        narrowest=min(resnet.STAGE_WIDTHS),
        build=resnet.ResNet18,
        multiply_adds=resnet.multiply_adds,
    ),
    "allcnn": Architecture(
        name="allcnn",
        about="ALL-CNN: eight convolutions with batch norm, one pooling at the end",
        narrowest=min(allcnn.BASE_WIDTHS),
        build=allcnn.AllCNN,
        multiply_adds=allcnn.multiply_adds,
    ),
}

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Original,
        Retrain,
        RetrainIndependent,
        Finetune,
        NegGradPlus,
        Fisher,
        NTK,
        CFk,
        EUk,
        BadTeacher,
        Scrub,
        ScrubRewind,
        RandomLabel,
        BiasShift,
        AdaProb,
    )
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ERRORS,
        MEMBERSHIP,
        KL_TO_RETRAIN,
        MEMBERSHIP_AUC,
        KL_VARIANTS,
        SELECTION,
        ALL_REQUESTS,
        fact_metrics.RELEARN,
        fact_metrics.PROBE,
        fact_metrics.SECONDS,
        fact_metrics.PASSES,
        fact_metrics.DISTANCE,
    )
}

STAGES: dict[str, Stage] = {
    stage.name: stage for stage in (PRETRAIN, IMPORT, TRAIN, UNLEARN, RELEARN, PROBE, SELECT, EVALUATE)
}

REGISTRY = Registry(
    datasets=DATASETS,
    architectures=ARCHITECTURES,
    recipes=RECIPES,
    methods=METHODS,
    metrics=METRICS,
    stages=STAGES,
    weights_sha256=weights_sha256,
    loaders={
        "dataset": partial(load_dataset, built_in=BUILT_IN, known=DATASETS),
        "architecture": lambda path: (load_library_network if is_library(path) else load_network)(path),
        "method": partial(load_method, built_in=tuple(METHODS)),
        "metric": partial(
            load_metric,
            built_in=dict(METRICS),
            stages=tuple(name for name, stage in STAGES.items() if isinstance(stage, MetricStage)),
        ),
    },
)
