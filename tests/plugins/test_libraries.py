"""Networks of torchvision and timm in sweeps: what builds them, what is refused, what is in keys and Records."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, REGISTRY
from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.errors import InputError
from adaprob_ray.plugins import libraries
from adaprob_ray.sweep.sweep import Sweep

SWEEP = """\
name: lib
grid: {dataset: "tests:color", architecture: NETWORK, forget: {kind: selective, class: 1, count: 3}, seed: 1}
train: {recipe: large, epochs: 1, batch_size: 7}
methods: {finetune: {epochs: 1}, cf_k: {epochs: 1}, eu_k: {epochs: 1}}
metrics: [errors]
"""


def load(root: Path, seed: int) -> RawImages:
    """Three classes of noise of 32×32 pixels; 48 images are trained on, so that the last batch of seven has six."""
    draw = np.random.default_rng(0)
    subsets = {name: np.repeat(np.arange(3), count) for name, count in (("train", 20), ("test", 5))}
    images = {
        name: draw.integers(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8) for name, labels in subsets.items()
    }
    return RawImages(
        train_NHWC=images["train"],
        train_labels=subsets["train"],
        train_source=np.arange(60),
        test_NHWC=images["test"],
        test_labels=subsets["test"],
        test_source=np.arange(15),
    )


@pytest.fixture(autouse=True)
def color(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A data set of color images that needs no files; entries that a test adds go with it."""
    dataset = Dataset(
        name="color",
        about="",
        channels=3,
        size=32,
        pool_per_class=(20, 20, 20),
        test_count=15,
        mean=(0.5,) * 3,
        std=(0.3,) * 3,
        load=load,
        verify=lambda root: None,
    )
    monkeypatch.setitem(DATASETS, "tests:color", dataset)
    before = set(ARCHITECTURES)
    yield
    for name in ARCHITECTURES.keys() - before:
        del ARCHITECTURES[name]


def parse(network: str) -> Sweep:
    return Sweep.parse(SWEEP.replace("NETWORK", network), REGISTRY)


def fault_of(network: str) -> str:
    with pytest.raises(InputError) as error:
        parse(network)
    (fault,) = error.value.faults
    return fault


@pytest.mark.slow
def test_a_network_of_torchvision_is_trained_unlearned_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lib.yaml").write_text(SWEEP.replace("NETWORK", "torchvision:squeezenet1_1"), encoding="utf-8")
    arguments = ["--executor", "local", "--no-tensorboard", "--store", "store"]
    # SqueezeNet has no linear layer: methods that single one out decline, as from any network without the layers they need.
    assert cli.main(["run", "lib.yaml", *arguments]) == 0
    Path("lib.yaml").write_text(SWEEP.replace("NETWORK", "torchvision:resnet18"), encoding="utf-8")
    assert cli.main(["run", "lib.yaml", *arguments, "--only", "label=eu_k"]) == 0
    records = adaprob_ray.load_records("store")
    libraries_of = records.set_index("architecture")["architecture_library"].to_dict()
    version = libraries.metadata.version("torchvision")
    assert libraries_of == dict.fromkeys(
        ("torchvision:squeezenet1_1", "torchvision:resnet18"), f"torchvision {version}"
    )
    assert set(records[records["architecture"] == "torchvision:resnet18"]["label"]) == {"eu_k"}


def test_names_of_layers_shapes_and_random_weights() -> None:
    sweep = parse("torchvision:resnet18")
    cell = next(cell for cell in sweep.cells.values() if cell.stage == "train")
    network: Any = REGISTRY.network(cell.settings)
    assert network.classifier.out_features == 3
    assert network.last_stage is network.network.layer4
    entry: Any = REGISTRY.architectures["torchvision:resnet18"]
    built = entry.build(**REGISTRY.network_size(cell.settings))
    one_image = torch.zeros(1, 3, 32, 32)
    assert built.train()(one_image).shape == (1, 3), "the last batch of an epoch may have one image, and the map is 1×1"
    assert REGISTRY.parameter_count(cell.settings) == sum(p.numel() for p in built.parameters())


def test_multiply_adds_are_those_of_its_layers() -> None:
    assert parse("torchvision:vgg11").cells
    entry: Any = REGISTRY.architectures["torchvision:vgg11"]
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    layers = zip(widths, widths[1:], (32, 16, 8, 8, 4, 4, 2, 2), strict=False)
    convolutions = sum(9 * width_in * width_out * size**2 for width_in, width_out, size in layers)
    linear = 512 * 49 * 4096 + 4096 * 4096 + 4096 * 2
    assert entry.multiply_adds(channels=3, filters=1.0, size=32) == convolutions + linear


def test_the_key_has_a_digest_of_names_and_shapes_and_no_version() -> None:
    def train_revisions(network: str) -> dict[str, int]:
        cells = parse(network).cells.values()
        return dict(next(cell for cell in cells if cell.stage == "train").revisions)

    plain = train_revisions("torchvision:resnet18")
    assert set(plain) == {
        "architecture:torchvision:resnet18",
        "tensors:torchvision:resnet18",
        "dataset:tests:color",
        "method:original",
        "recipe",
        "stage:train",
    }
    other = train_revisions('{name: "torchvision:resnet18", zero_init_residual: true}')
    assert other["tensors:torchvision:resnet18"] == plain["tensors:torchvision:resnet18"]
    deeper = train_revisions("torchvision:resnet34")
    assert deeper["tensors:torchvision:resnet34"] != plain["tensors:torchvision:resnet18"]


@pytest.mark.parametrize(
    ("network", "fault"),
    [
        ('{name: "torchvision:resnet18", pretrained: true}', "torchvision:resnet18: pretrained: must not be given: "),
        ('{name: "torchvision:resnet18", weights: DEFAULT}', "torchvision:resnet18: weights: must not be given: "),
        ('{name: "torchvision:resnet18", num_classes: 3}', "torchvision:resnet18: num_classes: must not be given, because "),
        ('{name: "torchvision:resnet18", filters: 0.5}', "torchvision:resnet18: filters: must be 1, because networks of "),
        ('{name: "torchvision:resnet18", wide: 2}', "torchvision:resnet18: TypeError: ResNet.__init__() got an unexpected "),
        ("torchvision:resnet19", "torchvision:resnet19: unknown network of torchvision 'resnet19'; did you mean 'resnet18'?"),
        ("torchvision:vit_b_16", "torchvision:vit_b_16: must take images of 3×32×32 (channels, height, width): "),
        ("torchvision:googlenet", "torchvision:googlenet: must return logits of shape [2, 3] for 2 images, got GoogLeNetOut"),
        ("timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k: must not name pretrained weights; write timm:resnet18"),
    ],
)  # fmt: skip
def test_what_is_refused(network: str, fault: str) -> None:
    assert fault_of(network).startswith(f"grid.architecture: {fault}")


def test_an_original_of_torchvision_is_read_from_a_file_as_torchvision_writes_it(tmp_path: Path) -> None:
    from torchvision import models

    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "net.pt")
    text = SWEEP.replace("NETWORK", "torchvision:squeezenet1_1") + f"original: {{weights: {tmp_path / 'net.pt'}}}\n"
    assert any(cell.stage == "import" for cell in Sweep.parse(text, REGISTRY).cells.values())
    torch.save(models.squeezenet1_1(num_classes=4).state_dict(), tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"original\.weights: "):
        Sweep.parse(text, REGISTRY)


def test_images_of_one_channel_are_refused_with_the_reason() -> None:
    with pytest.raises(
        InputError, match=r"torchvision:resnet18: must take images of 1×8×8 \(channels, height, width\)"
    ):
        Sweep.parse(SWEEP.replace("tests:color", "digits").replace("NETWORK", "torchvision:resnet18"), REGISTRY)


class TinyNetwork(nn.Module):
    """What the stand-in for timm below builds."""

    def __init__(self, num_classes: int, in_chans: int, img_size: int = 224) -> None:
        super().__init__()
        self.img_size = img_size
        self.stem, self.head = nn.Conv2d(in_chans, 2, 3), nn.Linear(2, num_classes)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]  # as timm does, which no meta tensor can

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] != self.img_size:
            raise ValueError(f"Input height ({images.shape[-1]}) doesn't match model ({self.img_size}).")
        return self.head(functional.relu(self.stem(images)).mean(dim=(2, 3)))


@pytest.fixture
def stand_in_for_timm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A module timm with one network; its arguments are noted."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **arguments: Any) -> nn.Module:
        calls.append({"name": name, **arguments})
        assert arguments.pop("pretrained") is False
        return TinyNetwork(**arguments)

    module: Any = types.ModuleType("timm")
    module.create_model, module.is_model, module.list_models = (
        create_model,
        {"tiny_vit"}.__contains__,
        lambda: ["tiny_vit"],
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    versions = {"timm": "1.2.3"}
    monkeypatch.setattr(libraries.metadata, "version", versions.__getitem__)
    return lambda: calls


def test_timm_gets_classes_and_channels_of_the_data_set(stand_in_for_timm: Callable[..., Any]) -> None:
    sweep = parse('{name: "timm:tiny_vit", img_size: 32}')
    cell = next(cell for cell in sweep.cells.values() if cell.stage == "train")
    assert cell.settings.document()["architecture"] == {
        "name": "timm:tiny_vit",
        "filters": 1.0,
        "arguments": {"img_size": 32},
    }
    assert stand_in_for_timm()[0] == {
        "name": "tiny_vit",
        "pretrained": False,
        "num_classes": 3,
        "in_chans": 3,
        "img_size": 32,
    }
    assert REGISTRY.network_facts(cell.settings) == {"architecture_library": "timm 1.2.3"}
    assert "timm:tiny_vit: must take images of 3×32×32" in fault_of("timm:tiny_vit")
    assert "unknown network of timm 'tiny'; did you mean 'tiny_vit'?" in fault_of("timm:tiny")


def test_without_timm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install 'adaprob-ray[timm]'" in fault_of("timm:resnet18")


def test_pretraining_needs_a_named_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "tests:color", dataclasses.replace(DATASETS["tests:color"], pretrain_on="cifar10"))
    assert any(cell.stage == "pretrain" for cell in parse("torchvision:resnet18").cells.values())
    fault = fault_of("torchvision:squeezenet1_1")
    assert fault.endswith("pretraining needs it: write pretrain: false")
    assert Sweep.parse(SWEEP.replace("NETWORK", "torchvision:squeezenet1_1") + "pretrain: false\n", REGISTRY).cells


def test_a_distilled_network_of_timm_has_two_heads_and_is_refused() -> None:
    pytest.importorskip("timm")
    fault = fault_of('{name: "timm:deit_tiny_distilled_patch16_224", img_size: 32}')
    assert fault == (
        "grid.architecture: timm:deit_tiny_distilled_patch16_224: only its last linear layer, head_dist, must depend on the "
        "number of classes, got head.bias, head.weight, which depend on it too"
    )


@pytest.mark.parametrize(
    "network",
    ['{name: "timm:deit_tiny_patch16_224", img_size: 32}', "timm:mobilenetv3_small_100", "timm:convnext_atto"],
)
def test_networks_of_timm_with_one_head_are_taken(network: str) -> None:
    pytest.importorskip("timm")
    sweep = parse(network)
    cell = next(cell for cell in sweep.cells.values() if cell.stage == "train")
    assert REGISTRY.network(cell.settings).classifier.out_features == 3


def test_a_network_whose_classifier_is_no_linear_layer_is_refused_where_it_has_linear_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Convolutions(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.gate, self.head = nn.Linear(3, 3), nn.Conv2d(3, num_classes, 1, bias=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            means = images.mean(dim=(2, 3))
            return self.head((means * self.gate(means))[:, :, None, None]).flatten(1)

    monkeypatch.setattr(libraries, "library_function", lambda library, name, where: Convolutions)
    fault = fault_of("torchvision:convolutions")
    assert (
        "only its last linear layer, gate, must depend on the number of classes, got head.weight, which depends"
        in fault
    )
