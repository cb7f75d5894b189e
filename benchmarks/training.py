"""Training throughput against a plain float32 DataLoader loop with the same model, alternating epochs in one process.

    ADAPROB_DATA=… python -m benchmarks.training [--threads 2] [--rows 3840] [--epochs 4]

Required on processors with bfloat16 units: 2.5x for ALL-CNN 1.0, 1.8x for ResNet-18 0.4, at the same error within noise.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Subset as TorchSubset
from torchvision import transforms
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, data_root
from adaprob_ray.data.batches import Subset, load_subsets
from adaprob_ray.data.split import split_images
from adaprob_ray.stages.models import to_device
from adaprob_ray.training.loop import predict, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import cross_entropy
from benchmarks import run_command

LR, MOMENTUM, BATCH, SEED = 0.01, 0.9, 128, 1
MODELS = {"allcnn 1.0": ("allcnn", 1.0, 2.5), "resnet18 0.4": ("resnet18", 0.4, 1.8)}


def plain_loader(root: Path, rows: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """The usual pipeline: PIL image, ToTensor, Normalize, DataLoader with shuffle and no workers."""
    dataset = DATASETS["cifar10"]
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)])
    train = split_images(dataset.load(root, SEED), SEED, test_pool="clean").train[:rows]
    return DataLoader(TorchSubset(TorchvisionCIFAR10(str(root), transform=steps), train.tolist()), BATCH, shuffle=True)


def plain_epoch(
    model: nn.Module, loader: DataLoader[tuple[torch.Tensor, torch.Tensor]], optimizer: torch.optim.SGD
) -> None:
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def error_percent(model: nn.Module, subset: Subset) -> float:
    return 100 * float((predict(model, subset).argmax(1) != subset.labels).double().mean())


def compare(name: str, root: Path, rows: int, epochs: int) -> None:
    architecture, filters, required = MODELS[name]
    torch.manual_seed(SEED)
    plain = ARCHITECTURES[architecture].build(classes=10, filters=filters)
    ours = to_device(copy.deepcopy(plain), torch.device("cpu"))
    loader = plain_loader(root, rows)
    parts = load_subsets(DATASETS["cifar10"], root, SEED, test_pool="clean", device=torch.device("cpu"))
    train = Subset(parts.train.pixels, parts.train.rows[:rows])
    test = Subset(parts.test.pixels, parts.test.rows[:2000])
    plain_optimizer = torch.optim.SGD(plain.parameters(), lr=LR, momentum=MOMENTUM)
    our_optimizer = sgd(ours, lr=LR, momentum=MOMENTUM)
    shuffle = torch.Generator().manual_seed(SEED)

    def our_epoch() -> None:
        set_mode(ours, "train")
        train_epoch(ours, train.batches(BATCH, shuffle), cross_entropy, our_optimizer, precision="bfloat16")

    times = [(seconds(lambda: plain_epoch(plain, loader, plain_optimizer)), seconds(our_epoch)) for _ in range(epochs)]
    ratios = sorted(slow / fast for slow, fast in times[1:] or times)  # without the first epoch, which compiles kernels
    print(f"{name}: plain {times[-1][0]:.1f} s, ours {times[-1][1]:.1f} s an epoch of {rows} rows")
    print(
        f"  ratio: median {ratios[len(ratios) // 2]:.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}; required {required})"
    )
    print(
        f"  test error after {epochs} epochs: plain {error_percent(plain, test):.1f} %, ours {error_percent(ours, test):.1f} %"
    )


def has_bfloat16_units() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(flag in flags.read_text(encoding="utf-8") for flag in ("amx_bf16", "avx512_bf16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=3840)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads; processor has bfloat16 units: {has_bfloat16_units()}")
    for name in MODELS:
        compare(name, data_root(), options.rows, options.epochs)


if __name__ == "__main__":
    run_command(main)
