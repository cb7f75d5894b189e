"""Weights files: formats, wrappers and names of the last layer, bit for bit; and what is refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small import Convolutional
from torch import Tensor, nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_file import read_weights

State = dict[str, Tensor]


def random_state(dtype: torch.dtype = torch.float32, seed: int = 1) -> State:
    torch.manual_seed(seed)
    state = Convolutional().state_dict()
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


def write_safetensors(state: State, path: Path) -> None:
    safetensors.torch.save_file(state, path, metadata={"format": "pt", "epoch": "7", "name": "größer"})


def write_plain(state: State, path: Path) -> None:
    torch.save(state, path)


def write_ordered(state: State, path: Path) -> None:
    torch.save(OrderedDict(state), path)


def write_legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def write_nested(name: str) -> Callable[[State, Path], None]:
    return lambda state, path: torch.save({"epoch": 7, name: state, "best": [0.5, None], "arch": "conv"}, path)


WRITERS = {
    "safetensors": write_safetensors,
    "plain": write_plain,
    "ordered": write_ordered,
    "legacy": write_legacy,
    **{name: write_nested(name) for name in ("state_dict", "model", "model_state_dict", "net")},
}


def same_bits(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(
        first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8)
    )


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "backbone."])
def test_a_file_is_loaded_and_written_back_with_its_keys_and_bits(
    writer: str, dtype: torch.dtype, prefix: str, tmp_path: Path
) -> None:
    state = {prefix + name: value for name, value in random_state(dtype).items()}
    path = tmp_path / "weights.file"
    WRITERS[writer](state, path)
    weights = read_weights(path)
    model = Convolutional()
    keys = weights.load_into(model)
    own = model.state_dict()
    assert all(same_bits(own[name], state[prefix + name]) for name in own)
    again = tmp_path / "again.file"
    again.write_bytes(weights.with_weights(own, keys))
    result = read_weights(again)
    assert list(result.state) == list(weights.state)
    assert set(result.state) == set(state)
    assert all(same_bits(result.state[key], value) for key, value in state.items())
    assert type(result.document) is type(weights.document)
    assert list(result.document) == list(weights.document)
    if writer == "safetensors":
        assert again.read_bytes() == path.read_bytes()
    elif weights.container is not None:
        assert {k: v for k, v in result.document.items() if k != writer} == {
            "epoch": 7,
            "best": [0.5, None],
            "arch": "conv",
        }


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    torch.save(random_state(), tmp_path / "a.pt")
    weights, model = read_weights(tmp_path / "a.pt"), Convolutional()
    keys = weights.load_into(model)
    assert weights.with_weights(model.state_dict(), keys) == weights.with_weights(model.state_dict(), keys)


@pytest.mark.parametrize("name", ["classifier", "head", "heads.head", "linear", "last_linear.1", "output"])
def test_the_last_layer_may_have_another_name(name: str, tmp_path: Path) -> None:
    state = {"module." + key.replace("fc.", name + "."): value for key, value in random_state().items()}
    torch.save(state, tmp_path / "a.pt")
    weights, model = read_weights(tmp_path / "a.pt"), Convolutional()
    keys = weights.load_into(model)
    assert torch.equal(model.fc.weight, state[f"module.{name}.weight"])
    torch.save(torch.load(tmp_path / "a.pt"), tmp_path / "b.pt")
    (tmp_path / "b.pt").write_bytes(weights.with_weights(model.state_dict(), keys))
    assert list(torch.load(tmp_path / "b.pt")) == list(state)


def test_counters_of_batch_norm_may_be_missing_and_stay_missing(tmp_path: Path) -> None:
    state = {key: value for key, value in random_state().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "a.pt")
    weights, model = read_weights(tmp_path / "a.pt"), Convolutional()
    keys = weights.load_into(model)
    (tmp_path / "b.pt").write_bytes(weights.with_weights(model.state_dict(), keys))
    assert list(torch.load(tmp_path / "b.pt")) == list(state)


def test_layers_that_are_compiled_or_parallel_by_themselves(tmp_path: Path) -> None:
    state = {key.replace("features.", "features.module._orig_mod."): value for key, value in random_state().items()}
    torch.save(state, tmp_path / "a.pt")
    read_weights(tmp_path / "a.pt").load_into(model := Convolutional())
    assert torch.equal(model.features[0].weight, state["features.module._orig_mod.0.weight"])


def test_a_model_with_a_layer_named_module_gets_the_keys_as_they_are(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = Convolutional()

    torch.save({"module." + key: value for key, value in random_state().items()}, tmp_path / "a.pt")
    read_weights(tmp_path / "a.pt").load_into(wrapper := Wrapper())
    assert torch.equal(wrapper.module.fc.weight, random_state()["fc.weight"])


def test_parameters_keep_whether_they_are_trained(tmp_path: Path) -> None:
    torch.save(random_state(torch.bfloat16), tmp_path / "a.pt")
    model = Convolutional()
    model.features.requires_grad_(False)
    read_weights(tmp_path / "a.pt").load_into(model)
    assert not model.features[0].weight.requires_grad
    assert model.fc.weight.requires_grad
    assert model.fc.weight.dtype == torch.bfloat16


def test_entries_with_tensors_are_not_written_back(tmp_path: Path) -> None:
    momentum = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []}
    torch.save({"model": random_state(), "optimizer": momentum, "epoch": 3}, tmp_path / "a.pt")
    weights, model = read_weights(tmp_path / "a.pt"), Convolutional()
    assert weights.left_out == ["optimizer"]
    keys = weights.load_into(model)
    (tmp_path / "b.pt").write_bytes(weights.with_weights(model.state_dict(), keys))
    assert set(torch.load(tmp_path / "b.pt")) == {"model", "epoch"}


# -- refused ---------------------------------------------------------------------------------------------------------------


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_never_executed(writer: str, tmp_path: Path) -> None:
    path, evidence = tmp_path / "a.pt", tmp_path / "executed"
    document = {"state_dict": random_state(), "hook": Malicious(evidence)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Malicious(evidence)))
    else:
        torch.save(document, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(InputError, match="code") as stop:
        read_weights(path)
    assert "not executed" in str(stop.value)
    assert "model.state_dict()" in str(stop.value)
    assert "\n" not in str(stop.value)
    assert not evidence.exists()


def test_a_whole_model_is_refused_with_its_class(tmp_path: Path) -> None:
    torch.save(Convolutional(), tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"pickle with code \(small\.Convolutional\)"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file(writer: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    WRITERS[writer](random_state(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="truncated or corrupt") as stop:
        read_weights(path)
    assert "\n" not in str(stop.value)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("conv1.weight 0.5", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "other")
    torch.save(torch.ones(3), tmp_path / "tensor")
    torch.save({}, tmp_path / "nothing")
    messages = {
        "missing": "cannot be read: No such file",
        "empty": "got an empty file",
        "text": "got another format",
        "folder": "got a folder",
        "other": "got epoch, loss",
        "tensor": "got Tensor",
        "nothing": "got an empty dict",
    }
    for name, message in messages.items():
        with pytest.raises(InputError) as stop:
            read_weights(tmp_path / name)
        assert message in str(stop.value), name
        assert str(tmp_path / name) in str(stop.value)
        assert "\n" not in str(stop.value)


def refused(state: State, tmp_path: Path) -> str:
    torch.save(state, tmp_path / "a.pt")
    model = Convolutional()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError) as stop:
        read_weights(tmp_path / "a.pt").load_into(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model is unchanged"
    return str(stop.value).partition("got ")[2]


def test_keys_and_shapes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = random_state()
    without = {key: value for key, value in state.items() if key != "features.0.bias"}
    assert refused(without, tmp_path) == "1 missing: features.0.bias"
    assert refused({**state, "extra.weight": torch.ones(1)}, tmp_path) == "1 extra: extra.weight"
    many = {**state, **{f"layer{n}.weight": torch.ones(1) for n in range(8)}}
    assert refused(many, tmp_path) == f"8 extra: {', '.join(f'layer{n}.weight' for n in range(5))}, …"
    other = {**state, "fc.weight": torch.ones(5, 8), "fc.bias": torch.ones(5)}
    assert (
        refused(other, tmp_path) == "2 different ones: fc.weight [5, 8] instead of [3, 8], fc.bias [5] instead of [3]"
    )
    assert (
        refused({**state, "fc.bias": torch.ones(3, dtype=torch.int64)}, tmp_path)
        == "fc.bias of torch.int64 instead of torch.float32"
    )


def test_a_last_layer_of_another_name_and_shape_is_not_taken_for_the_classifier(tmp_path: Path) -> None:
    state = {key: value for key, value in random_state().items() if not key.startswith("fc.")}
    message = refused({**state, "head.weight": torch.ones(5, 8), "head.bias": torch.ones(5)}, tmp_path)
    assert message == "2 missing: fc.weight, fc.bias; 2 extra: head.weight, head.bias"
