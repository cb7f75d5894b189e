"""Models and data by name: factories of a user's own, torchvision, timm and folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_file import WeightsFile, read_weights
from adaprob_ray.sweep.index_files import read_indices
from adaprob_ray.unlearning.data_source import Data, check_data_name, load_data, with_validation
from adaprob_ray.unlearning.model_source import check_model_name, load_model


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def weights_of(model: nn.Module, path: Path) -> WeightsFile:
    torch.save(model.state_dict(), path)
    return read_weights(path)


FACTORIES = """
import torch
from torch import nn

def make(width=4):
    return nn.Linear(width, 2)

made = nn.Linear(7, 2)
number = 3

def broken():
    raise ValueError("no such width")

def not_a_model():
    return 3

def pair():
    return torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])

def three():
    return pair(), None, pair()

def named():
    return {"train": pair(), "val": pair()}

def two():
    return {"a": 1}, {"b": 1}

def wrong_key():
    return {"train": pair(), "tests": pair()}

def no_train():
    return {"test": pair()}

def nothing():
    pass
"""


def test_factories_of_a_file_and_of_a_module(tmp_path: Path) -> None:
    path = write(tmp_path / "own_factories.py", FACTORIES)
    model: Any = load_model(f"{path}:make", {"width": 9}, None, tmp_path)
    assert model.in_features == 9
    model = load_model("own_factories:made", {}, None, tmp_path)
    assert model.in_features == 7, "modules are found in the folder"


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "code" / "neighbour_layers.py", "from torch import nn\nLAYER = nn.Linear(3, 2)\n")
    path = write(tmp_path / "code" / "net.py", "from neighbour_layers import LAYER\ndef make(): return LAYER\n")
    assert isinstance(load_model(f"{path}:make", {}, None, tmp_path), nn.Linear)


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("FILE:broken", {}, 'own.py:12 (raise ValueError("no such width")): ValueError: no such width'),
        ("FILE:make", {"depth": 3}, "TypeError: make() got an unexpected keyword argument 'depth'"),
        ("FILE:not_a_model", {}, "must return a torch.nn.Module, got int"),
        ("FILE:number", {}, "must be a function or a class, got int"),
        ("FILE:mak", {}, "unknown name 'mak'; did you mean 'make'?"),
        ("missing.py:make", {}, "must be a Python file, got missing.py, which is not there"),
        ("no_such_package.net:make", {}, "must be an importable module, got no_such_package.net; it is looked for in"),
        ("torchvision:resnet19", {}, "unknown network of torchvision 'resnet19'; did you mean 'resnet"),
    ],
)
def test_faults_of_a_model_are_one_line(
    spec: str, arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "own.py", FACTORIES)
    weights = weights_of(nn.Linear(4, 2), tmp_path / "a.pt")
    with pytest.raises(InputError) as stop:
        load_model(spec.replace("FILE", str(path)), arguments, weights, tmp_path)
    assert message in str(stop.value)
    assert str(stop.value).startswith("--model: ")
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\nx = torch.nn.Linear(3)\n", "bad.py:2 (x = torch.nn.Linear(3)): TypeError"),
        ("import torch\ndef make(:\n", "bad.py:2 (def make(:): SyntaxError"),
        ("import sys\nsys.exit(3)\n", "bad.py:2 (sys.exit(3)): SystemExit: 3"),
        ("import no_such_dependency\n", "bad.py:1 (import no_such_dependency): ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_shown_by_its_own_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.py", source)
    for _ in range(2):  # the failed import leaves nothing behind
        with pytest.raises(InputError) as stop:
            load_model("bad.py:make", {}, None, tmp_path)
        assert message in str(stop.value)


def test_names_that_have_no_known_form() -> None:
    for check in (check_model_name, lambda spec: check_data_name(spec, None)):
        for spec in ("resnet", "net.py", "net.py:", ":make", "huggingface:bert-base"):
            with pytest.raises(InputError, match=r"file\.py:factory"):
                check(spec)
    with pytest.raises(InputError, match="--size: must be left out"):
        check_data_name("cifar10", 64)


def test_a_network_of_torchvision_has_the_classes_of_the_weights(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    original = resnet18(num_classes=7)
    state = {f"module.{key}".replace("fc.", "classifier."): value for key, value in original.state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    weights = read_weights(tmp_path / "a.pt")
    model = load_model("torchvision:resnet18", {}, weights, tmp_path)
    weights.load_into(model)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(images), original.eval()(images))
    with pytest.raises(InputError, match="--weights: must be given for torchvision:resnet18"):
        load_model("torchvision:resnet18", {}, None, tmp_path)


def test_the_resnet_20_of_the_documents_has_the_names_and_sizes_of_published_weights(tmp_path: Path) -> None:
    path = Path(__file__).with_name("resnet20.py")
    assert len([line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]) <= 20
    model = load_model(f"{path}:resnet20", {}, None, tmp_path)
    parameters = dict(model.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == 269_722, "19 convolutions and a linear layer"
    assert parameters["layer2.0.conv1.weight"].shape == (32, 16, 3, 3)
    assert parameters["linear.bias"].shape == (10,)
    assert not any("shortcut" in name or "downsample" in name for name in parameters), "shortcuts have no parameters"
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_network_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    arguments = {"img_size": 32, "patch_size": 8}
    original = timm.create_model("vit_tiny_patch16_224", num_classes=5, **arguments)
    weights = weights_of(original, tmp_path / "a.pt")
    model = load_model("timm:vit_tiny_patch16_224", arguments, weights, tmp_path)
    weights.load_into(model)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(images), original.eval()(images))
    with pytest.raises(InputError, match="unknown network of timm 'vit_tinny'"):
        load_model("timm:vit_tinny", {}, weights, tmp_path)


def test_timm_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'adaprob-ray\[timm\]'"):
        load_model("timm:vit_tiny_patch16_224", {}, weights_of(nn.Linear(4, 2), tmp_path / "a.pt"), tmp_path)


# -- data ------------------------------------------------------------------------------------------------------------------


def test_what_a_data_factory_may_return(tmp_path: Path) -> None:
    path = write(tmp_path / "own.py", FACTORIES)
    pair = load_data(f"{path}:pair", None, tmp_path)
    assert len(pair.train[1]) == 4
    assert pair.test is None
    three = load_data(f"{path}:three", None, tmp_path)
    assert three.validation is None
    assert len(three.test[0]) == 4
    named = load_data(f"{path}:named", None, tmp_path)
    assert len(named.validation[0]) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two", "got a tuple of 2"),
        ("wrong_key", "unknown key 'tests'; did you mean 'test'?"),
        ("no_train", "must return a dict with train, got test"),
        ("nothing", "must return a data set, got None"),
        ("broken", "ValueError: no such width"),
    ],
)
def test_faults_of_a_data_factory(name: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "own.py", FACTORIES)
    with pytest.raises(InputError) as stop:
        load_data(f"{path}:{name}", None, tmp_path)
    assert message in str(stop.value)
    assert str(stop.value).startswith("--data: ")


def image_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 3) -> None:
    generator = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(root / name / f"{number}.png")


def test_a_folder_of_images(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        image_folder(tmp_path / split)
    data = load_data(f"imagefolder:{tmp_path}", 16, tmp_path)
    image, label = data.train[4]
    assert (tuple(image.shape), image.dtype, label) == ((3, 16, 16), torch.uint8, 1)
    assert len(data.validation) == len(data.test) == 6
    image_folder(tmp_path / "alone")
    assert load_data(f"imagefolder:{tmp_path / 'alone'}", None, tmp_path).train[0][0].shape == (3, 224, 224)


def test_faults_of_a_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is not there"):
        load_data(f"imagefolder:{tmp_path / 'missing'}", None, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must have a folder of images for each class"):
        load_data(f"imagefolder:{tmp_path / 'empty'}", None, tmp_path)
    image_folder(tmp_path / "two" / "train")
    image_folder(tmp_path / "two" / "test", ("cat", "fox"))
    with pytest.raises(InputError, match="only one of them has dog, fox"):
        load_data(f"imagefolder:{tmp_path / 'two'}", None, tmp_path)


@pytest.mark.data
def test_cifar10_is_read_in_the_order_of_torchvision(cifar: Path, tmp_path: Path) -> None:
    from torchvision.datasets import CIFAR10

    data = load_data("cifar10", None, tmp_path)
    images, labels = data.train
    theirs = CIFAR10(str(cifar), train=True)
    assert np.array_equal(images[17].numpy(), theirs.data[17].transpose(2, 0, 1))
    assert labels.tolist() == theirs.targets
    assert len(data.test[1]) == 10_000
    assert data.mean == (0.4914, 0.4822, 0.4465)


def test_digits_are_a_data_set_by_name(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", None, tmp_path)
    (images, labels), (test_images, test_labels) = data.train, data.test
    assert images.shape[1:] == (1, 8, 8)
    assert len(images) + len(test_images) == len(labels) + len(test_labels) == len(load_digits().target)
    assert len(data.mean) == len(data.std) == 1


def test_cifar_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    with pytest.raises(InputError, match="adaprob-ray data prepare cifar10"):
        load_data("cifar10", None, tmp_path)


def test_a_share_of_the_test_data_becomes_validation_data() -> None:
    images, labels = torch.arange(40.0).view(40, 1), torch.arange(40) % 2
    for test in ((images, labels), torch.utils.data.TensorDataset(images, labels)):
        data = with_validation(Data(None, test=test), "share:0.25", 3)
        parts = [each if isinstance(each, tuple) else tuple(map(torch.stack, zip(*each, strict=True))) for each in
                 (data.validation, data.test)]  # fmt: skip
        assert [len(part[1]) for part in parts] == [10, 30]
        assert torch.equal(torch.cat([part[0] for part in parts]).flatten().sort().values, images.flatten())
    for argument, fault in (
        ("share:0", "between 0 and 1"),
        ("0.1", "must be share:NUMBER"),
        ("share:x", "must be share"),
    ):
        with pytest.raises(InputError, match=fault):
            with_validation(Data(None, test=(images, labels)), argument, 0)
    with pytest.raises(InputError, match="must have test data, of which it takes a share, got none"):
        with_validation(Data(None), "share:0.1", 0)
    with pytest.raises(InputError, match="of their own"):
        with_validation(Data(None, test=(images, labels), validation=(images, labels)), "share:0.1", 0)


# -- files of indices ------------------------------------------------------------------------------------------------------


def test_files_of_indices(tmp_path: Path) -> None:
    assert read_indices(write(tmp_path / "a.txt", "# rows\n3\n\n  17  # twice asked for\n5"), "--forget") == [3, 17, 5]
    assert read_indices(write(tmp_path / "a.json", "[3, 17, 5]"), "--forget") == [3, 17, 5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "3\n1.5\n", "line 2: must be an index, got '1.5'"),
        ("a.txt", "3 4\n", "line 1: must be an index, got '3 4'"),
        ("a.txt", "# nothing\n", "must have at least one index"),
        ("a.json", "[3, ", "must be JSON"),
        ("a.json", "[]", "must be a list of at least one index, got []"),
        ("a.json", '{"rows": [1]}', "must be a list of at least one index, got {"),
        ("a.json", "[3, true]", "entry 1: must be an index, got true"),
    ],
)
def test_faults_of_a_file_of_indices(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as stop:
        read_indices(write(tmp_path / name, text), "--forget")
    assert message in str(stop.value)
    assert str(stop.value).startswith("--forget: ")


def test_a_file_of_indices_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe3")
    for name, message in (("missing.txt", "which is not there"), (".", "got a folder"), ("bytes.txt", "got bytes")):
        with pytest.raises(InputError, match=message):
            read_indices(tmp_path / name, "--forget")
