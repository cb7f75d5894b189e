"""Weights files: read without running code, loaded into a model, and written back in their own format with their own keys.

A file is a safetensors file, or one that `torch.save` wrote: a state dict, or a dict that has one under a usual name.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_keys import match_keys

# Names under which a checkpoint holds its state dict, the most usual first.
CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # what a file of torch.save begins with, since PyTorch 1.6 and before
# Of safetensors: the bytes that give the length of the header, and the header's entry that is no tensor.
HEADER_BYTES, METADATA = 8, "__metadata__"


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        path: of the file.
        sha256: of its bytes, in hexadecimal.
        document: the object in it; of safetensors, the state dict.
        container: the name under which `document` has the state dict; None if it is one itself.
        metadata: of safetensors; None for a file of torch.save.
    """

    path: Path
    sha256: str
    document: Mapping[str, Any]
    container: str | None
    metadata: Mapping[str, str] | None

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The state dict, with the keys of the file."""
        state: Mapping[str, Tensor] = self.document if self.container is None else self.document[self.container]
        return state

    @property
    def left_out(self) -> list[str]:
        """Other entries that are not written back: they hold tensors, such as an optimizer's of the original training."""
        if self.container is None:
            return []
        return [str(name) for name, value in self.document.items() if name != self.container and not _is_plain(value)]

    def load_into(self, model: nn.Module) -> Mapping[str, str]:
        """Give a model these weights, in the types of the file.

        Returns:
            The key in the file by the model's key.

        Raises:
            InputError: keys, shapes or types do not fit, with at most five names of each kind.
        """
        with torch.no_grad():
            own = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
            keys = match_keys(self.state, own, str(self.path))
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if name in keys:
                    tensor.data = self.state[keys[name]].to(tensor.device, copy=True)
        return keys

    def with_weights(self, state: Mapping[str, Tensor], keys: Mapping[str, str]) -> bytes:
        """The bytes of a file of the same format, keys, order and types.

        Args:
            state: of the model with new weights.
            keys: from `load_into`.
        """
        names = {key: name for name, key in keys.items()}
        weights = {
            key: state[names[key]].detach().cpu().to(old.dtype).contiguous().clone() for key, old in self.state.items()
        }
        if self.metadata is not None:
            return _with_metadata(save_safetensors(weights), self.metadata)
        document: Any = copy.copy(self.state)  # an OrderedDict has versions of its layers as an attribute
        document.update(weights)
        if self.container is not None:
            entries = {name: value for name, value in self.document.items() if str(name) not in self.left_out}
            document = entries | {self.container: document}  # in the order of the file
        buffer = io.BytesIO()
        torch.save(document, buffer)
        return buffer.getvalue()


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file. Code in it is never executed.

    Raises:
        InputError: there is no such file, or it is truncated, of another format, or has more than tensors and plain data.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: must be a weights file, got a folder") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: must be a weights file, got an empty file")
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith((ZIP, PICKLE)):
        document = _read_torch(path, data)
        return WeightsFile(path, digest, document, _container(path, document), None)
    if data[HEADER_BYTES : HEADER_BYTES + 1] == b"{":
        try:
            header = json.loads(data[HEADER_BYTES : HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "little")])
            tensors = load_safetensors(data)  # in any order
            state = {key: tensors[key] for key in header if key != METADATA}
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"{path}: must be a whole safetensors file, got a truncated or corrupt one") from error
        if not state:
            raise InputError(f"{path}: must have weights, got none")
        return WeightsFile(path, digest, state, None, header.get(METADATA) or {})
    raise InputError(f"{path}: must be a safetensors file or a state dict saved by torch.save, got another format")


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with metadata in this order; the library writes them in any order, each time another."""
    if not metadata:
        return data
    length = int.from_bytes(data[:HEADER_BYTES], "little")
    header = json.loads(data[HEADER_BYTES : HEADER_BYTES + length])
    text = json.dumps({METADATA: dict(metadata), **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % HEADER_BYTES)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(HEADER_BYTES, "little") + text + data[HEADER_BYTES + length :]


def _read_torch(path: Path, data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the pickle is of a usual, later protocol
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        text = str(error)
        if "TorchScript" in text:
            raise InputError(
                f"{path}: must be a state dict, got a TorchScript archive; save model.state_dict()"
            ) from error
        code = re.search(r"(?:GLOBAL|class|import module|instantiate) `?([\w.]+)`?", text)
        if "nsupported" in text or "not an allowed global" in text or "import" in text:
            name = f" ({code[1]})" if code else ""
            raise InputError(
                f"{path}: must hold tensors and plain data only, got a pickle with code{name}, which is not executed; in the "
                "program that wrote the file, save model.state_dict() instead"
            ) from error
        raise InputError(f"{path}: must be a whole file of torch.save, got a truncated or corrupt one") from error


def _container(path: Path, document: Any) -> str | None:
    """The name under which the state dict is, None for the document itself. Raises InputError."""
    if _is_state(document):
        return None
    if isinstance(document, Mapping):
        for name in CONTAINERS:
            if _is_state(document.get(name)):
                return name
        entries = ", ".join(map(str, list(document)[:5])) or "an empty dict"
    else:
        entries = type(document).__name__
    raise InputError(
        f"{path}: must be a state dict (a name and a tensor each), or have one under {', '.join(CONTAINERS)}, got {entries}"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes))
