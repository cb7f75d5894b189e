"""The layers that unlearning methods single out, in the networks of the catalogue and in a user's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaprob_ray.catalogue import ARCHITECTURES
from adaprob_ray.errors import InputError
from adaprob_ray.models.anatomy import LAYERS, anatomy, missing_layers, parameter_names, submodule_name


class UserNetwork(nn.Module):
    """A network whose submodules have other names than the layers that they are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU())
        self.head = nn.Linear(3, 2)

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def last_stage(self) -> nn.Module:
        return self.body[1]

    @property
    def reset_layers(self) -> tuple[nn.Module, ...]:
        return (self.last_stage,)


@pytest.mark.parametrize(
    ("name", "last_stage", "reset"),
    [("resnet18", "stages.3", {"stages.3"}), ("allcnn", "features.7", {"features.7", "classifier"})],
)
def test_the_layers_of_our_networks_are_those_of_the_authors_code(name: str, last_stage: str, reset: set[str]) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES[name].build(classes=5, channels=3, filters=0.1)
    network = anatomy(model, *LAYERS)
    assert submodule_name(model, network.classifier) == "classifier"
    assert submodule_name(model, network.last_stage) == last_stage
    assert {submodule_name(model, layer) for layer in network.reset_layers} == reset
    assert network.classifier.out_features == 5


def test_parameters_are_found_under_the_networks_own_names() -> None:
    model = UserNetwork()
    network = anatomy(model, *LAYERS)
    assert parameter_names(model, network.classifier) == ["head.weight", "head.bias"]
    assert parameter_names(model, network.last_stage) == ["body.1.weight", "body.1.bias"]
    assert parameter_names(model, model) == [name for name, _ in model.named_parameters()]


def test_missing_layers_are_named_and_wrong_types_are_missing() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.classifier = nn.Conv2d(1, 1, 1)
    message = (
        "network Sequential: must have classifier, last_stage (see UnlearnableModel), got no classifier, last_stage"
    )
    assert missing_layers(model, "classifier", "last_stage") == message
    model.classifier = nn.Linear(2, 2)
    assert missing_layers(model, "classifier") is None
    with pytest.raises(InputError, match=r"got no last_stage$"):
        anatomy(model, "classifier", "last_stage")
