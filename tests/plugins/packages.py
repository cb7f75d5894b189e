"""A package of a user, written to a folder: a method, a metric, a network and a data set."""

from __future__ import annotations

from pathlib import Path

METHOD = '''\
"""Noise on the weights. Needs nothing. Cost: none."""

import torch

from adaprob_ray.methods.base import Cost, Unlearning
from adaprob_ray.settings import Log, hyperparameter, settings_dataclass

from NAME.scale import SCALE


@settings_dataclass
class Noise(Unlearning):
    name = "noise"
    sigma: float = hyperparameter(default=0.05, gt=0, help="standard deviation", search=Log(1e-3, 1e-1))

    def cost(self, sizes):
        return Cost(forward=0, backward=0)

    def unlearn(self, model, split, context):
        context.check_deadline()
        generator = context.generator("noise")
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter += SCALE * self.sigma * torch.randn(parameter.shape, generator=generator)
        return model
'''
METRIC = """\
from adaprob_ray.metrics import Metric


def top_logit(evaluation):
    return {"test_top_logit": evaluation.model.logits["test"].max(axis=1).mean()}


TOP_LOGIT = Metric(name="top_logit", about="Mean largest logit", columns=("test_top_logit",), compute=top_logit)
"""
NETWORK = '''\
from torch import nn


def small(*, classes, channels, width=4):
    """One convolution."""
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, classes))
'''
DATASET = """\
import numpy as np

from adaprob_ray.data.dataset import Dataset, RawImages


def draw(per_class):
    labels = np.repeat(np.arange(3), per_class)
    images = np.random.default_rng(per_class).integers(0, 80, (len(labels), 8, 8, 1)).astype(np.uint8)
    images[np.arange(len(labels)), 2 * labels] += 120
    return images, labels, np.arange(len(labels))


def load(root, seed):
    (train, train_labels, train_source), (test, test_labels, test_source) = draw(20), draw(10)
    return RawImages(
        train_NHWC=train,
        train_labels=train_labels,
        train_source=train_source,
        test_NHWC=test,
        test_labels=test_labels,
        test_source=test_source,
    )


def stripes():
    return Dataset(
        name="stripes",
        about="Striped noise",
        channels=1,
        size=8,
        pool_per_class=(20, 20, 20),
        test_count=30,
        mean=(0.3,),
        std=(0.2,),
        load=load,
        verify=lambda root: None,
    )
"""
SWEEP = """\
name: own
grid:
  dataset: NAME.data:stripes
  architecture: {name: NAME.nets:small, width: 2}
  forget: {kind: selective, class: 1, count: 5}
  seed: 1
train: {recipe: large, epochs: 1, batch_size: 16}
methods:
  NAME.method:Noise: {sigma: 0.02}
metrics: [errors, NAME.metric:TOP_LOGIT]
"""


def write_package(folder: Path, name: str, **changes: str) -> Path:
    """Write the package and a sweep file next to it; `changes`: texts of single modules."""
    package = folder / name
    package.mkdir(parents=True)
    modules = {
        "__init__": "",
        "method": METHOD,
        "metric": METRIC,
        "nets": NETWORK,
        "data": DATASET,
        "scale": "SCALE = 1.0\n",
    }
    for module, text in {**modules, **changes}.items():
        (package / f"{module}.py").write_text(text.replace("NAME", name), encoding="utf-8")
    sweep = folder / "own.yaml"
    sweep.write_text(SWEEP.replace("NAME", name), encoding="utf-8")
    return sweep
