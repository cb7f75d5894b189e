"""Networks of cells: built, loaded, serialized, and run over a data set."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from adaprob_ray.data.batches import Subsets
from adaprob_ray.errors import Diverged
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.metrics.outputs import SUBSET_NAMES, Outputs
from adaprob_ray.models.anatomy import anatomy, parameter_names
from adaprob_ray.stages.base import SMALL_FILE_BYTES, Reader, StageContext
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import CellSettings
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.training.loop import Weights, check_finite, predict

BYTES_PER_FLOAT, BYTES_PER_LABEL = 4, 8


def build_model(settings: CellSettings, seed: int, registry: Registry) -> nn.Module:
    """A freshly initialized network on the CPU; the global generator is left as it was."""
    architecture = registry.architectures[settings.architecture.name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = architecture.build(**registry.network_size(settings))
    return model


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device, in channels-last memory, which is the layout of the batches."""
    return model.to(device).to(memory_format=torch.channels_last)


def serialize_weights(model: nn.Module) -> bytes:
    """All tensors of a model as a safetensors file. Raises Diverged if one is not finite."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    check_finite(state)
    return save(state)


def load_weights(store: Reader, key: str) -> Weights:
    """The tensors of the weights file that cell `key` left, on the CPU."""
    return load(store.read(key, WEIGHTS))


def trained_model(settings: CellSettings, key: str, context: StageContext) -> nn.Module:
    """The network whose weights cell `key` left, on the device."""
    model = build_model(settings, derive_seed(settings.seed, 0, "initial"), context.registry)
    model.load_state_dict(load_weights(context.store, key))
    return to_device(model, context.device)


def start_model(cell: Cell, context: StageContext) -> nn.Module:
    """The network that a train cell starts from, on the device: initialized, then all but the classifier pretrained."""
    suffix = getattr(context.registry.methods[cell.method], "generator_suffix", "")  # only trained methods have one
    model = build_model(cell.settings, derive_seed(cell.settings.seed, 0, "initial" + suffix), context.registry)
    if "pretrain" in cell.parents:
        weights = load_weights(context.store, cell.parents["pretrain"])
        classifier = set(parameter_names(model, anatomy(model, "classifier").classifier))
        pretrained = {name: tensor for name, tensor in weights.items() if name not in classifier}
        loaded = model.load_state_dict(pretrained, strict=False)
        assert set(loaded.missing_keys) == classifier, loaded
    return to_device(model, context.device)


def compute_outputs(model: nn.Module, subsets: Subsets) -> Outputs:
    """Logits over train, validation and test. Raises Diverged if one is not finite."""
    by_name = {name: getattr(subsets, name) for name in SUBSET_NAMES}
    logits = {name: predict(model, subset).cpu().numpy() for name, subset in by_name.items()}
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise Diverged(f"the outputs on {name} are not finite; a smaller learning rate may help")
    return Outputs(
        logits=logits,
        labels={name: subset.labels.cpu().numpy() for name, subset in by_name.items()},
        groups=subsets.groups,
    )


def weights_bytes(cell: Cell, registry: Registry) -> int:
    """Bytes of a cell's weights file: its parameters; batch-norm statistics add under 1 %."""
    return BYTES_PER_FLOAT * registry.parameter_count(cell.settings)


def model_bytes(cell: Cell, registry: Registry) -> int:
    """Bytes of all files of a cell that leaves a network with its Outputs."""
    return SMALL_FILE_BYTES + weights_bytes(cell, registry) + outputs_bytes(cell, registry)


def outputs_bytes(cell: Cell, registry: Registry) -> int:
    """Bytes of a cell's Outputs: logits and labels of all subsets."""
    dataset = registry.dataset(cell.settings.dataset)
    samples = sum(dataset.train_per_class) + sum(dataset.validation_per_class) + dataset.test_count
    return samples * (BYTES_PER_FLOAT * dataset.classes + BYTES_PER_LABEL)
