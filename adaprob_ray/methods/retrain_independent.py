"""Retrain a second time, on the same rows, with independent initial weights of the classifier and another order (DESIGN §9).

The original and Retrain of one seed share their start and their order, so that the original is closer to Retrain than an
independent retraining would be. The divergence between the two retrainings is the noise floor: a method whose distance to
Retrain is below it cannot be distinguished from retraining.

Needs and cost are those of Retrain, whose settings it has. The paper has no such model.
"""

from __future__ import annotations

from adaprob_ray.methods.retrain import Retrain
from adaprob_ray.settings import settings_dataclass


@settings_dataclass
class RetrainIndependent(Retrain):
    """Retrain with independent randomness."""

    name = "retrain_independent"
    generator_suffix = "-independent"
