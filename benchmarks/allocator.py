"""Training steps on the CPU with glibc's default allocator, as cells run, and with huge pages, in separate processes.

    python -m benchmarks.allocator [--threads 2] [--steps 8] [--rounds 4] [--filters 0.4] [--batch-size 128]

A step frees its activations and allocates them again in the next; by default every page then faults again. Cells run with
`adaprob_ray.runtime.allocator.reuse_freed_memory`. TUNABLES in the environment does the same in huge pages, with glibc 2.35 or
newer. Prints images per second, page faults and memory of each, and the ratios; all weights must be bit-identical.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from adaprob_ray.runtime.allocator import ALLOCATOR_VARIABLES, reuse_freed_memory
from benchmarks import run_command

VARIANTS = ("default", "as cells run", "huge pages")
# Bytes; larger than any allocation of a step, so that no memory is returned to the system.
THRESHOLD = 2**32
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (
        ("hugetlb", 1),
        ("mmap_threshold", THRESHOLD),
        ("trim_threshold", THRESHOLD),
        ("top_pad", 2**28),
    )
)


def child(options: argparse.Namespace) -> None:
    """Train ResNet-18 on random images; the first two steps are not timed."""
    import torch

    from adaprob_ray.data.batches import Batch
    from adaprob_ray.models import ResNet18
    from adaprob_ray.stages.models import to_device
    from adaprob_ray.training.loop import set_mode, sgd, train_epoch
    from adaprob_ray.training.losses import cross_entropy

    if options.child == "as cells run":
        assert reuse_freed_memory(), f"needs glibc, and none of {ALLOCATOR_VARIABLES} in the environment"
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = to_device(ResNet18(classes=100, filters=options.filters), torch.device("cpu"))
    set_mode(model, "train")
    optimizer = sgd(model, lr=0.01, momentum=0.9)
    size = options.batch_size
    images = torch.randn(size, 32, 32, 3).permute(0, 3, 1, 2)
    batch = Batch(images, torch.randint(100, (size,)), torch.arange(size))

    def run(count: int) -> float:
        start = time.perf_counter()
        train_epoch(model, [batch] * count, cross_entropy, optimizer, precision="float32")
        return time.perf_counter() - start

    run(2)
    seconds = run(options.steps)
    state = b"".join(tensor.contiguous().numpy().tobytes() for tensor in model.state_dict().values())
    print(
        json.dumps(
            {
                "images": size * options.steps / seconds,
                "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "digest": hashlib.sha256(state).hexdigest(),
            }
        )
    )


def measure(variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own prints."""
    numbers = ("threads", "steps", "filters", "batch_size")
    words = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in numbers]
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR_VARIABLES}
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.allocator", "--child", variant, *words],
        env={**environment, "GLIBC_TUNABLES": TUNABLES} if variant == "huge pages" else environment,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--filters", type=float, default=0.4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    # Every other round in reverse order, so that none of them always has the warm processor.
    rounds = [
        {variant: measure(variant, options) for variant in VARIANTS[:: -1 if index % 2 else 1]}
        for index in range(options.rounds)
    ]
    assert len({run["digest"] for by_variant in rounds for run in by_variant.values()}) == 1, "the weights differ"
    for variant in VARIANTS:
        images, faults, memory = (
            statistics.median(by_variant[variant][name] for by_variant in rounds)
            for name in ("images", "faults", "megabytes")
        )
        ratios = sorted(by_variant[variant]["images"] / by_variant["default"]["images"] for by_variant in rounds)
        print(
            f"{variant:<12} {images:6.0f} images/s, {faults:10,.0f} page faults, {memory:6,.0f} MB; "
            f"ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    print(f"equal weights; huge pages: GLIBC_TUNABLES={TUNABLES}")


if __name__ == "__main__":
    run_command(main)
