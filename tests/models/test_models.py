"""The networks against protocol §2: parameter counts, and the structure that a count cannot see.

Axes: B batch, C channels, H W height and width, K classes.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.catalogue import ARCHITECTURES
from adaprob_ray.models import AllCNN, ResNet18
from adaprob_ray.models.resnet import PreActivationBlock

COUNTS = [  # protocol §2.1 and §2.2
    ("resnet18", 0.4, 5, 1_787_741),
    ("resnet18", 0.4, 100, 1_807_216),
    ("resnet18", 1.0, 5, 11_172_613),
    ("resnet18", 1.0, 10, 11_175_178),
    ("resnet18", 1.0, 100, 11_221_348),
    ("allcnn", 1.0, 5, 1_619_045),
    ("allcnn", 1.0, 10, 1_620_010),
    ("allcnn", 1.0, 100, 1_637_380),
    ("allcnn", 0.4, 5, 255_175),
    ("allcnn", 0.4, 10, 255_560),
    ("allcnn", 0.4, 100, 262_490),
]


def images(size: int, channels: int = 3, rows: int = 2) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(0))


def unsettle(model: nn.Module) -> nn.Module:
    """Batch norm away from the identity, so that leaving one out or applying one twice is seen; in eval mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def norm(x_BCHW: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    return functional.batch_norm(x_BCHW, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)


@pytest.mark.parametrize(("architecture", "filters", "classes", "count"), COUNTS)
def test_parameter_counts_are_the_published_ones(architecture: str, filters: float, classes: int, count: int) -> None:
    assert ARCHITECTURES[architecture].parameter_count(classes=classes, channels=3, filters=filters) == count


def test_the_count_on_the_meta_device_is_that_of_the_network_itself() -> None:
    for name, entry in ARCHITECTURES.items():
        model = entry.build(classes=7, channels=1, filters=0.1)
        count = ARCHITECTURES[name].parameter_count(classes=7, channels=1, filters=0.1)
        assert count == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("filters", "widths"), [(0.4, [25, 51, 102, 204]), (0.1, [6, 12, 25, 51])])
def test_resnet_scales_the_stages_but_not_the_stem(filters: float, widths: list[int]) -> None:
    model = ResNet18(classes=5, filters=filters)
    assert model.stem.out_channels == 64
    assert model.stem.stride == (1, 1)
    assert model.stem.bias is not None
    assert [stage[-1].conv2.out_channels for stage in model.stages] == widths
    assert [len(stage) for stage in model.stages] == [2, 2, 2, 2]
    assert [block.conv1.stride[0] for stage in model.stages for block in stage] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [block.projection is not None for stage in model.stages for block in stage] == [True, False] * 4


def test_resnet_at_full_width_needs_no_projection_in_the_first_stage() -> None:
    with torch.device("meta"):
        model = ResNet18(classes=5, filters=1.0)
    assert [stage[0].projection is not None for stage in model.stages] == [False, True, True, True]


def test_resnet_biases_are_where_the_protocol_has_them() -> None:
    model = ResNet18(classes=5, filters=0.1)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {conv.kernel_size for conv in convolutions} == {(3, 3), (1, 1)}
    assert all((conv.bias is not None) == (conv.kernel_size == (3, 3)) for conv in convolutions)
    assert model.classifier.bias is not None


@pytest.mark.parametrize(("width_in", "width_out", "stride"), [(6, 6, 1), (6, 9, 1), (6, 6, 2), (6, 9, 2), (16, 20, 2)])
def test_a_block_equals_the_protocols_formula(width_in: int, width_out: int, stride: int) -> None:
    """The projection starts from the activated input, the identity shortcut from the input itself; nothing follows the sum."""
    block = unsettle(PreActivationBlock(width_in, width_out, stride))
    x_BCHW = images(8, width_in)
    active = functional.relu(norm(x_BCHW, block.bn1))
    inner = functional.relu(norm(functional.conv2d(active, block.conv1.weight, block.conv1.bias, stride, 1), block.bn2))
    out = functional.conv2d(inner, block.conv2.weight, block.conv2.bias, 1, 1)
    if width_in == width_out and stride == 1:
        out = out + x_BCHW
    else:
        out = out + functional.conv2d(active, block.projection.weight, None, stride)
    torch.testing.assert_close(block(x_BCHW), out)


@pytest.mark.parametrize(("width_in", "strides"), [(5, (1, 1)), (15, (1, 1)), (16, (2, 2)), (25, (2, 2))])
def test_narrow_projections_have_no_stride(width_in: int, strides: tuple[int, int]) -> None:
    """In channels-last memory the gradient of a strided one corrupts the heap (oneDNN issue 6035)."""
    projection = PreActivationBlock(width_in, 2 * width_in, 2).projection
    assert projection is not None
    assert projection.stride == strides


def test_resnet_ends_without_batch_norm_or_relu_in_a_4x4_average_pool_at_32() -> None:
    model = unsettle(ResNet18(classes=5, filters=0.1))
    x_BCHW = images(32)
    hidden = functional.relu(norm(functional.conv2d(x_BCHW, model.stem.weight, model.stem.bias, 1, 1), model.stem_bn))
    for stage in model.stages:
        for block in stage:
            hidden = block(hidden)
    assert hidden.shape[2:] == (4, 4)
    assert (hidden < 0).any()  # no ReLU at the end
    pooled = functional.avg_pool2d(hidden, 4).flatten(1)
    torch.testing.assert_close(model(x_BCHW), functional.linear(pooled, model.classifier.weight, model.classifier.bias))


def test_allcnn_equals_the_protocols_list_of_layers() -> None:
    """Eight convolutions without bias, batch norm and ReLU after each, then an 8×8 average pool at 32."""
    model = unsettle(AllCNN(classes=5, filters=0.05))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    x_BCHW = images(32)
    hidden, sizes = x_BCHW, []
    layers = [(1, 3), (1, 3), (2, 3), (1, 3), (1, 3), (2, 3), (1, 3), (1, 1)]
    for conv, bn, (stride, kernel) in zip(convolutions, norms, layers, strict=True):
        assert conv.bias is None
        assert conv.kernel_size == (kernel, kernel)
        hidden = functional.relu(norm(functional.conv2d(hidden, conv.weight, None, stride, kernel // 2), bn))
        sizes.append(hidden.shape[-1])
    assert sizes == [32, 32, 16, 16, 16, 8, 8, 8]
    pooled = functional.avg_pool2d(hidden, 8).flatten(1)
    torch.testing.assert_close(model(x_BCHW), functional.linear(pooled, model.classifier.weight, model.classifier.bias))


@pytest.mark.parametrize(("filters", "widths"), [(1.0, (96, 192)), (0.4, (38, 76))])
def test_allcnn_widths(filters: float, widths: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = AllCNN(classes=5, filters=filters)
    first, second = widths
    out = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert out == [first] * 2 + [second] * 6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pytorchs_default_initialization_and_batch_norm(name: str) -> None:
    """Protocol §2.3: fresh scale 1 and shift 0, statistics 0 and 1, momentum 0.1, eps 1e-5; Kaiming-uniform with a = √5."""
    torch.manual_seed(0)
    model = ARCHITECTURES[name].build(classes=5, channels=3, filters=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.momentum, module.eps, module.affine) == (0.1, 1e-5, True)
            assert bool((module.weight == 1).all() and (module.bias == 0).all())
            assert bool((module.running_mean == 0).all() and (module.running_var == 1).all())
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5  # Kaiming-uniform with a = √5: ±1/√fan_in
            assert float(module.weight.detach().abs().max()) <= bound
            assert float(module.weight.detach().abs().max()) > 0.8 * bound or module.weight.numel() < 20


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (9, 3), (28, 1), (33, 3)])
def test_any_input_size_gives_one_row_of_logits_per_image(name: str, size: int, channels: int) -> None:
    model = ARCHITECTURES[name].build(classes=7, channels=channels, filters=0.05).eval()
    with torch.no_grad():
        logits = model(images(size, channels))
    assert logits.shape == (2, 7)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_classifier_is_the_last_linear_layer_and_named_so(name: str) -> None:
    """Stages leave out `classifier.*` when they load a pretrained network."""
    model = ARCHITECTURES[name].build(classes=7, channels=1, filters=0.05)
    assert isinstance(model.classifier, nn.Linear)
    assert model.classifier.out_features == 7
    assert [n for n, _ in model.named_modules() if isinstance(_, nn.Linear)] == ["classifier"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_memory_layout_does_not_change_the_logits(name: str) -> None:
    model = unsettle(ARCHITECTURES[name].build(classes=5, channels=3, filters=0.1))
    x_BCHW = images(32)
    with torch.no_grad():
        plain = model(x_BCHW)
        last = model.to(memory_format=torch.channels_last)(x_BCHW.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)  # only the order of float32 sums differs
