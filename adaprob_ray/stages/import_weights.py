"""Import: an original whose weights are in a file of the user's, in place of one that this sweep trains."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.models.weights_file import WeightsFile, read_weights
from adaprob_ray.models.weights_keys import match_keys
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.stages.models import (
    build_model,
    compute_outputs,
    model_bytes,
    serialize_weights,
    to_device,
)
from adaprob_ray.store.names import OUTPUTS, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ImportSettings
from adaprob_ray.sweep.registry import Stage


def state_for(network: nn.Module, file: WeightsFile) -> dict[str, Tensor]:
    """The weights of a file under the keys of a network, float32 where they are floating point.

    Args:
        network: it may be on the meta device; its weights are not changed.
        file: its keys may have other prefixes, and its last layer another name.

    Raises:
        InputError: keys or shapes do not fit, or a weight is not finite.
    """
    own = network.state_dict()
    keys = match_keys(file.state, own, str(file.path))
    state = {
        name: file.state[keys[name]].to(tensor.dtype) if name in keys else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in own.items()
    }
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{file.path}: must have finite weights, got NaN or infinity in {keys[name]}")
    return state


def weights_sha256(path: Path, network: nn.Module) -> str:
    """The SHA-256 of the weights that a file has for a network, whatever its format. Raises InputError as `state_for`."""
    return weights_digest(state_for(network, read_weights(path)))


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Read the file, check that it still has the weights of the key, and compute the Outputs."""
    settings = cell.settings
    assert isinstance(settings, ImportSettings)
    model = build_model(settings, 0, context.registry)
    state = state_for(model, read_weights(Path(cell.weights_file)))
    digest = weights_digest(state)
    if digest != settings.weights:
        raise InputError(
            f"{cell.weights_file}: must have the weights with SHA-256 {settings.weights}, got {digest}: the file has changed "
            "since the sweep was planned"
        )
    model.load_state_dict(state)
    model = to_device(model, context.device)
    outputs = compute_outputs(model, context.subsets(settings))
    return StageOutput({WEIGHTS: serialize_weights(model), OUTPUTS: outputs.to_bytes()}, {})


IMPORT = Stage(
    name="import",
    settings=ImportSettings,
    run=run,
    priority=10,
    keeps="weights",
    artefact_bytes=model_bytes,
)
