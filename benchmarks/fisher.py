"""Three implementations of the diagonal of the Fisher information on the same rows, alternating: speed ratios and errors.

    python -m benchmarks.fisher [--rows 48] [--rounds 3] [--device cpu]

`ones` makes a backward pass for each row and class, as the authors' code does; `func` uses torch.func's vmap of grad over rows
and classes; `layers` is ours, products layer by layer (adaprob_ray/training/per_sample_gradients.py). Networks: ResNet-18 with
width multiplier 0.4 on 32x32 images of five classes, and the quickstart's ALL-CNN 0.12 on 8x8 images of ten. Errors are
relative to `ones` in float64. In float32 `ones` has errors too, so two implementations can differ by more than either differs
from the reference; `layers64` is ours in float64. Row by row the output shows the cause of a difference: rounding may switch a
ReLU whose input is close to 0, which changes the gradients of this row by 1e-4 and those of no other row.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import InputError
from adaprob_ray.methods.fisher import Fisher, fisher_diagonal
from adaprob_ray.models.allcnn import AllCNN
from adaprob_ray.models.resnet import ResNet18
from benchmarks import run_command

Diagonal = dict[str, Tensor]


def ones(model: nn.Module, images: Tensor) -> Diagonal:
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for image in images:
        log_p_K = model(image[None]).log_softmax(1)[0]
        for y in range(len(log_p_K)):
            gradients = torch.autograd.grad(-log_p_K[y], list(parameters.values()), retain_graph=y + 1 < len(log_p_K))
            for name, gradient in zip(parameters, gradients, strict=True):
                total[name].addcmul_(gradient, gradient, value=float(log_p_K[y].detach().exp()))
    return total


def func(model: nn.Module, images: Tensor) -> Diagonal:
    weights = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: Diagonal, image: Tensor, y_K: Tensor) -> tuple[Tensor, Tensor]:
        log_p_K = torch.func.functional_call(model, (weights, buffers), (image[None],)).log_softmax(1)[0]
        return -(y_K * log_p_K).sum(), log_p_K

    by_class = torch.func.vmap(torch.func.grad(loss, has_aux=True), in_dims=(None, None, 0))
    by_row = torch.func.vmap(by_class, in_dims=(None, 0, None))
    classes = torch.eye(model(images[:1]).shape[1], device=images.device)
    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    for batch in images.split(4):
        gradients, log_p_BKK = by_row(weights, batch, classes)
        p_BK = log_p_BKK[:, 0].exp()
        for name, gradient in gradients.items():
            total[name] += torch.einsum("bk...,bk->...", gradient.square(), p_BK)
    return total


def layers(model: nn.Module, images: Tensor) -> Diagonal:
    unused = torch.zeros(len(images), dtype=torch.int64)
    batches = [Batch(rows, unused[: len(rows)], unused[: len(rows)]) for rows in images.split(Fisher().batch_size)]
    return fisher_diagonal(model, batches, precision="float32")


def timed(
    implementation: Callable[[nn.Module, Tensor], Diagonal], model: nn.Module, images: Tensor
) -> tuple[float, Diagonal]:
    """Seconds and result."""
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    diagonal = implementation(model, images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, diagonal


def relative_error(actual: Diagonal, expected: Diagonal) -> float:
    """‖actual − expected‖ / ‖expected‖ over all tensors jointly."""
    squared = sum(float((actual[name].double() - value.double()).square().sum()) for name, value in expected.items())
    return (squared / sum(float(value.double().square().sum()) for value in expected.values())) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device: must be a device of this machine, got {options.device} (known: cpu)")
    torch.manual_seed(0)
    networks = {
        "ResNet-18 0.4, 32x32, 5 classes": (ResNet18(classes=5, channels=3, filters=0.4), (3, 32, 32)),
        "ALL-CNN 0.12, 8x8, 10 classes": (AllCNN(classes=10, channels=1, filters=0.12), (1, 8, 8)),
    }
    implementations = {"ones": ones, "func": func, "layers": layers}
    for title, (network, shape) in networks.items():
        model = network.to(options.device)
        images = torch.randn(options.rows, *shape, generator=torch.Generator().manual_seed(0)).to(options.device)
        images = images.contiguous(memory_format=torch.channels_last)
        for _ in range(20):  # running statistics that match the images, as those of a trained network
            model(images)
        model.eval()
        exact = copy.deepcopy(model).double()
        reference = ones(exact, images.double())
        rounds = [
            {name: timed(implementation, model, images) for name, implementation in implementations.items()}
            for _ in range(options.rounds + 1)
        ]
        print(f"{title}: {options.rows} rows on {options.device}")
        for name in implementations:
            seconds = statistics.median(results[name][0] for results in rounds[1:])
            ratio = statistics.median(results["ones"][0] / results[name][0] for results in rounds[1:])
            error = relative_error(rounds[0][name][1], reference)
            print(f"  {name:8s} {1e3 * seconds:8.0f} ms  {ratio:5.2f}x  relative error {error:.1e}")
        errors = sorted(relative_error(layers(model, row), ones(exact, row.double())) for row in images.split(1))
        large = [f"{error:.1e}" for error in errors if error > 1e-5]
        others = f"{max((error for error in errors if error <= 1e-5), default=0.0):.1e}"
        print(
            f"  layers row by row: {len(large)} errors above 1e-5 ({', '.join(large) or 'none'}), others at most {others}"
        )
        print(f"  layers64 {'':19s}relative error {relative_error(layers(exact, images.double()), reference):.1e}")


if __name__ == "__main__":
    run_command(main)
