"""Retrain once more, on the same rows, with an initial classifier and an order of its own (DESIGN §9).

The original and Retrain of one seed share their start and their order, so that the original is closer to Retrain than another
honest retraining would be. This second retraining gives the divergence between two of them: the floor below which no
method's distance to Retrain means anything.

Needs and cost are those of Retrain, whose settings it takes. The paper has no such model.
"""

from __future__ import annotations

from adaprob_ray.methods.retrain import Retrain
from adaprob_ray.settings import settings_dataclass


@settings_dataclass
class RetrainIndependent(Retrain):
    """Retrain with independent randomness."""

    name = "retrain_independent"
    generator_suffix = "-independent"
