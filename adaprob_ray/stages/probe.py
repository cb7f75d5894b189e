"""Probe: how well a linear classifier on a model's features still tells the forget samples' classes, whatever the outputs say.

The features are the input of the network's last layer. A logistic regression is fitted to those of the retain samples and, for
classes of which no sample is retained, of their validation samples, which no model was trained on. Then it classifies the
forget samples, and the test samples of their classes.

A method that rewrites outputs, such as bias_shift, leaves the features as they were, and so these errors too. Retrain's are the
reference: a probe on the features of a network that never saw the forget samples.

The metric `probe` needs this stage: the evaluate cell copies the numbers from the probe cell.

Axes: N rows, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adaprob_ray.data.batches import Subset, Subsets
from adaprob_ray.data.dataset import Integers
from adaprob_ray.data.split import retain_positions
from adaprob_ray.models.anatomy import anatomy, missing_layers
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.stages.models import trained_model
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import CellSettings, ForgetRequest, ModelSettings
from adaprob_ray.sweep.registry import MetricStage
from adaprob_ray.training.loop import PREDICT_BATCH


@settings_dataclass
class ProbeOptions:
    """How the linear classifier is fitted."""

    inverse_regularization: float = hyperparameter(
        default=1.0, gt=0, help="C of scikit-learn's LogisticRegression, on features of unit variance"
    )
    iterations: int = hyperparameter(default=1000, ge=1, help="the most that the solver takes")


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(CellSettings):
    """The forget request and the options; the model is a parent."""

    method: str
    forget: ForgetRequest
    repeat: int
    probe: ProbeOptions


def cell_settings(model: Cell, forget: ForgetRequest, repeat: int, options: Any) -> ProbeSettings:
    """The settings of the probe cell of a model's cell."""
    settings = model.settings
    assert isinstance(settings, ModelSettings)
    return ProbeSettings(
        **settings.shared(),
        method=settings.method,
        forget=forget,
        repeat=repeat,
        probe=options,
    )


@torch.no_grad()
def features(model: nn.Module, subset: Subset) -> NDArray[np.float64]:
    """The input of a network's `classifier` for each row, in eval mode [N, D]."""
    inputs: list[Tensor] = []
    handle = anatomy(model, "classifier").classifier.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model.eval()
    try:
        for batch in subset.batches(PREDICT_BATCH):
            model(batch.images)
    finally:
        handle.remove()
    return torch.cat([block.flatten(1) for block in inputs]).double().cpu().numpy()


def fit_probe(features_ND: NDArray[np.float64], labels_N: Integers, options: ProbeOptions) -> Any:
    """A logistic regression on features of unit variance, as a scikit-learn pipeline."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=options.inverse_regularization, max_iter=options.iterations)
    return make_pipeline(StandardScaler(), regression).fit(features_ND, labels_N)


def probe_errors(
    model: nn.Module, subsets: Subsets, forget: Integers, before: Integers, options: ProbeOptions
) -> dict[str, float]:
    """The columns of the metric `probe`, without those that have no samples.

    Args:
        model: the network.
        subsets: the training, validation and test samples.
        forget: positions of the forget samples in the training set.
        before: positions of those that earlier requests of a sequence forgot; the probe is not fitted to them.
        options: of the fit.

    Returns:
        Errors in percent; none at all where fewer than two classes have samples to fit to.
    """
    train, validation, test = subsets.train, subsets.validation, subsets.test
    retain = train.select(retain_positions(len(train), np.concatenate([before, forget])))
    is_new = ~torch.isin(validation.labels, retain.labels.unique())
    parts = [retain, validation.with_rows(validation.rows[is_new])]
    labels = torch.cat([part.labels for part in parts]).cpu().numpy()
    if len(np.unique(labels)) < 2:
        return {}
    probe = fit_probe(np.concatenate([features(model, part) for part in parts if len(part)]), labels, options)

    def wrong(part: Subset) -> NDArray[np.bool_]:
        return np.asarray(probe.predict(features(model, part)) != part.labels.cpu().numpy())

    wrong_test = wrong(test)
    is_of_forgotten_class = torch.isin(test.labels, train.labels[forget].unique()).cpu().numpy()
    tested = {
        "probe_forget_error_percent": wrong(train.select(forget)),
        "probe_test_forget_class_error_percent": wrong_test[is_of_forgotten_class],
        "probe_test_error_percent": wrong_test,
    }
    return {name: 100 * float(values.mean()) for name, values in tested.items() if len(values)}


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Fit the probe to a model's features; the facts are its errors."""
    settings = cell.settings
    assert isinstance(settings, ProbeSettings)
    subsets = context.subsets(settings)
    forget, before = subsets.request_positions(settings.forget, settings.seed)
    model = trained_model(settings, cell.parents["model"], context)
    return StageOutput({}, probe_errors(model, subsets, forget, before, settings.probe))


PROBE = MetricStage(
    name="probe",
    settings=ProbeSettings,
    run=run,
    artefact_bytes=lambda cell, registry: SMALL_FILE_BYTES,
    options=ProbeOptions,
    defaults={},
    cell_settings=cell_settings,
    network_fault=lambda network: missing_layers(network, "classifier"),
)
