"""What `adaprob-ray unlearn` reads, by name, and `audit` reads again: model, weights, data and the request."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_file import WeightsFile, read_weights
from adaprob_ray.sweep.index_files import read_indices
from adaprob_ray.unlearning.data_source import Data, check_data_name, load_data, with_validation
from adaprob_ray.unlearning.model_source import check_model_name, load_model
from adaprob_ray.unlearning.prepare import Plan, prepare
from adaprob_ray.unlearning.request import CLASS, SAMPLE


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The options of the command line that name inputs; paths are absolute.

    Attributes:
        model, data, forget, retain, validation, size: as on the command line.
        model_args: keyword arguments of the model's factory.
        weights: file of the original weights; None for those that the factory gives.
        weights_sha256: of this file, if it is known.
        references: files with the weights of models trained without the forgotten samples.
        mean, std: of the normalization; None for that of the data.
        folder: where modules are looked for.
    """

    model: str
    data: str
    forget: str
    folder: str
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    weights_sha256: str | None = None
    retain: str | None = None
    validation: str | None = None
    references: Sequence[str] = ()
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: int | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Inputs:
        """Read what `document` gives. Raises InputError."""
        try:
            return cls(**document)
        except TypeError as error:
            raise InputError(f"{where}: must be written by `adaprob-ray unlearn`, got other keys: {error}") from error

    def document(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return dataclasses.asdict(self)

    def absolute(self) -> Inputs:
        """The same inputs with absolute paths. Raises InputError if a name has no known form."""
        return dataclasses.replace(
            self,
            model=check_model_name(self.model),
            data=check_data_name(self.data, self.size),
            forget=self.forget if self.forget.startswith(CLASS) else _absolute(self.forget),
            retain=self.retain if self.retain is None or self.retain.startswith(SAMPLE) else _absolute(self.retain),
            weights=None if self.weights is None else _absolute(self.weights),
            references=tuple(map(_absolute, self.references)),
        )


@dataclass(frozen=True)
class LoadedInputs:
    """Inputs in memory.

    Attributes:
        model: with the original weights, in the types of their file.
        weights: the file; None if the factory gave the weights.
        keys: the key in that file by the model's key.
        data: with validation data.
        references: models.
        forget, retain: as `unlearn` takes them.
        mean, std: of the normalization that is applied; empty for none.
    """

    model: nn.Module
    weights: WeightsFile | None
    keys: Mapping[str, str]
    data: Data
    references: Sequence[nn.Module]
    forget: Any
    retain: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def prepared(self, **arguments: Any) -> Plan:
        """The plan with these inputs; `arguments` are those of `prepare` that name no input. Raises InputError."""
        return prepare(
            self.model,
            self.data.train,
            forget=self.forget,
            retain=self.retain,
            validation=self.data.validation,
            test=self.data.test,
            references=self.references,
            forward=None,
            mean=self.mean,
            std=self.std,
            **arguments,
        )

    def new_weights(self, model: nn.Module) -> dict[str, bytes] | None:
        """The file with new weights, by name, in the format of the original; None for the default format."""
        if self.weights is None:
            return None
        return {f"weights{self.weights.path.suffix}": self.weights.with_weights(model.state_dict(), self.keys)}


def load_inputs(inputs: Inputs, seed: int) -> LoadedInputs:
    """Read everything. Small files come first, so that a fault in them is seen at once.

    Args:
        inputs: with absolute paths.
        seed: of the validation share, and of PyTorch while a factory runs.

    Raises:
        InputError: something is missing, unreadable, or does not fit.
    """
    folder = Path(inputs.folder)
    forget: Any = inputs.forget
    if not inputs.forget.startswith(CLASS):
        forget = read_indices(Path(inputs.forget), "--forget", "a file of indices or class:NUMBER")
    is_file = inputs.retain is not None and not inputs.retain.startswith(SAMPLE)
    retain = read_indices(Path(str(inputs.retain)), "--retain") if is_file else inputs.retain
    weights = None if inputs.weights is None else _read("--weights", inputs.weights)
    references = [_read("--reference", path) for path in inputs.references]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = load_model(inputs.model, inputs.model_args, weights, folder)
        torch.manual_seed(seed)  # whatever the model has drawn
        data = load_data(inputs.data, inputs.size, folder)
    keys = {} if weights is None else _fitted("--weights", weights, model)
    models = []
    for each in references:
        models.append(copy.deepcopy(model))
        _fitted("--reference", each, models[-1])
    data = with_validation(data, inputs.validation, seed)
    mean = data.mean if inputs.mean is None else tuple(inputs.mean)
    std = data.std if inputs.std is None else tuple(inputs.std)
    return LoadedInputs(model, weights, keys, data, models, forget, retain, mean, std)


def _read(where: str, path: str) -> WeightsFile:
    try:
        return read_weights(Path(path))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _fitted(where: str, weights: WeightsFile, model: nn.Module) -> Mapping[str, str]:
    try:
        return weights.load_into(model)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
