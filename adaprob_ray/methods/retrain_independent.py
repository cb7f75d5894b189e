"""Retrain a second time, on the same samples, in another order, from other initial weights (pretrained: of the classifier).

A network that is trained from scratch has other initial weights in all layers. A pretrained one has other initial weights of
the classifier, and shares the pretrained weights of all other layers with Retrain (DESIGN §9).

The original and Retrain of one seed share their start and their order, so that the original is closer to Retrain than an
independent retraining would be. The divergence between the two retrainings is the noise floor: a method whose distance to
Retrain is below it is no farther from Retrain, on average, than a second retrained model. With three seeds this is not a test.

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
