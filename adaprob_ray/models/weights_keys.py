"""Which key of a weights file is which key of a model: wrappers' prefixes and the name of the last layer may differ."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from adaprob_ray.errors import InputError

# Names that DataParallel and torch.compile put into keys.
WRAPPERS = ("module", "_orig_mod")
# Counters that checkpoints of PyTorch before 0.4.1 do not have; only batch norm without momentum reads them.
OPTIONAL_SUFFIX = "num_batches_tracked"
# Keys that one message names of each kind.
MAX_SHOWN = 5


def match_keys(state: Mapping[str, Tensor], model: Mapping[str, Tensor], where: str) -> dict[str, str]:
    """The key of `state` for each key of the model.

    Args:
        state: of the file.
        model: the state dict of the model.
        where: for messages.

    Raises:
        InputError: a key is missing or extra, or shapes or types differ.

    Example:
        >>> import torch
        >>> match_keys({"module.fc.weight": torch.zeros(2, 3)}, {"head.weight": torch.zeros(2, 3)}, "FILE")
        {'head.weight': 'module.fc.weight'}
    """
    names, own = _without_first_part(_without_wrappers(state), _without_wrappers(model))
    _rename_classifier(names, own, state, model)
    missing = [own[name] for name in own if name not in names and not name.endswith(OPTIONAL_SUFFIX)]
    extra = [names[name] for name in names if name not in own]
    if missing or extra:
        parts = [
            f"{len(keys)} {kind}: {_shown(keys)}" for kind, keys in (("missing", missing), ("extra", extra)) if keys
        ]
        raise InputError(f"{where}: must have the keys of the model, got {'; '.join(parts)}")
    keys = {own[name]: names[name] for name in own if name in names}
    wrong = [
        f"{key} {list(state[key].shape)} instead of {list(model[name].shape)}"
        for name, key in keys.items()
        if state[key].shape != model[name].shape
    ]
    if wrong:
        raise InputError(
            f"{where}: must have the shapes of the model, got {len(wrong)} different ones: {_shown(wrong)}"
        )
    types = [
        f"{key} of {state[key].dtype} instead of {model[name].dtype}"
        for name, key in keys.items()
        if state[key].is_floating_point() != model[name].is_floating_point()
    ]
    if types:
        raise InputError(f"{where}: must have floating-point or integer tensors as the model has, got {_shown(types)}")
    return keys


def classifier_rows(state: Mapping[str, Tensor], model: Mapping[str, Tensor], layer: str) -> int | None:
    """The number of outputs that a file has for the linear layer `layer` of a model, under this name or another."""
    names, own = _without_first_part(_without_wrappers(state), _without_wrappers(model))
    for name, key in own.items():
        if key == f"{layer}.weight" and name in names:
            return int(state[names[name]].shape[0])
    others = [state[key] for name, key in names.items() if name not in own and state[key].dim() == 2]
    return int(others[0].shape[0]) if len(others) == 1 else None


def _without_wrappers(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Key without the names of wrappers → key."""
    names = {".".join(part for part in key.split(".") if part not in WRAPPERS): key for key in state}
    return names if len(names) == len(state) else {key: key for key in state}


def _without_first_part(names: dict[str, str], own: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Both, without the first part of the keys of one where all its keys share it and none fits as it is."""
    if names.keys() & own.keys():
        return names, own
    shorter, own_shorter = _shortened(names), _shortened(own)
    if shorter.keys() & own.keys():
        return shorter, own
    return (names, own_shorter) if names.keys() & own_shorter.keys() else (names, own)


def _shortened(names: dict[str, str]) -> dict[str, str]:
    firsts = {name.partition(".")[0] for name in names}
    if len(firsts) > 1 or any("." not in name for name in names):
        return {}
    return {name.partition(".")[2]: key for name, key in names.items()}


def _rename_classifier(
    names: dict[str, str], own: dict[str, str], state: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> None:
    """Rename the one layer of the file that the model does not have to the one that only the model has, if shapes agree."""
    missing = {name: own[name] for name in own if name not in names and not name.endswith(OPTIONAL_SUFFIX)}
    extra = {name: names[name] for name in names if name not in own}
    layers, own_layers = ({name.rpartition(".")[0] for name in each} for each in (extra, missing))
    if len(layers) != 1 or len(own_layers) != 1 or not extra:
        return
    (layer,), (own_layer,) = layers, own_layers
    shapes = {name.removeprefix(layer): state[key].shape for name, key in extra.items()}
    if shapes == {name.removeprefix(own_layer): model[key].shape for name, key in missing.items()}:
        for name in extra:
            names[own_layer + name.removeprefix(layer)] = names.pop(name)


def _shown(keys: list[str]) -> str:
    return ", ".join(keys[:MAX_SHOWN]) + (", …" if len(keys) > MAX_SHOWN else "")
