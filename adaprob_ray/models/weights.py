"""Weights as bytes and as files, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

WEIGHTS_FILE = "weights.safetensors"


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of a state dict; tensors that share memory are stored once each."""
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())})


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of these weights as a safetensors file, in hexadecimal, whatever file they came in."""
    return hashlib.sha256(weights_bytes(state)).hexdigest()
