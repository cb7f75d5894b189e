"""Training steps on the CPU with glibc set to retain freed memory, in huge pages, against its defaults, in separate processes.

    python -m benchmarks.allocator [--threads 2] [--steps 8] [--rounds 4]

A step frees its activations and allocates them again in the next; by default every page then faults again. TUNABLES in the
environment avoids this with glibc 2.35 or newer. Prints images per second, page faults and memory of both, and the ratio; the
weights of both must be bit-identical.
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

from benchmarks import run_command

BATCH = 128
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


def child(threads: int, steps: int) -> None:
    """Train ResNet-18 0.4 on random images; the first two steps are not timed."""
    import torch

    from adaprob_ray.data.batches import Batch
    from adaprob_ray.models import ResNet18
    from adaprob_ray.stages.models import to_device
    from adaprob_ray.training.loop import set_mode, sgd, train_epoch
    from adaprob_ray.training.losses import cross_entropy

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = to_device(ResNet18(classes=100, filters=0.4), torch.device("cpu"))
    set_mode(model, "train")
    optimizer = sgd(model, lr=0.01, momentum=0.9)
    images = torch.randn(BATCH, 32, 32, 3).permute(0, 3, 1, 2)
    batch = Batch(images, torch.randint(100, (BATCH,)), torch.arange(BATCH))

    def run(count: int) -> float:
        start = time.perf_counter()
        train_epoch(model, [batch] * count, cross_entropy, optimizer, precision="float32")
        return time.perf_counter() - start

    run(2)
    seconds = run(steps)
    state = b"".join(tensor.contiguous().numpy().tobytes() for tensor in model.state_dict().values())
    print(
        json.dumps(
            {
                "images": BATCH * steps / seconds,
                "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "digest": hashlib.sha256(state).hexdigest(),
            }
        )
    )


def measure(retain_memory: bool, options: argparse.Namespace) -> dict[str, float | str]:
    words = ["--child", "--threads", str(options.threads), "--steps", str(options.steps)]
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.allocator", *words],
        env={**environment, "GLIBC_TUNABLES": TUNABLES} if retain_memory else environment,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    result: dict[str, float | str] = json.loads(process.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.threads, options.steps)
        return
    pairs = [(measure(False, options), measure(True, options)) for _ in range(options.rounds)]
    assert len({run["digest"] for pair in pairs for run in pair}) == 1, "the weights differ"
    for index, name in enumerate(("default", "retained")):
        images = [float(pair[index]["images"]) for pair in pairs]
        faults, memory = (
            statistics.median(float(pair[index][word]) for pair in pairs) for word in ("faults", "megabytes")
        )
        print(f"{name:<8} {statistics.median(images):6.0f} images/s, {faults:10,.0f} page faults, {memory:6,.0f} MB")
    ratios = sorted(float(retained["images"]) / float(default["images"]) for default, retained in pairs)
    print(f"ratio: median {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}); equal weights")
    print(f"GLIBC_TUNABLES={TUNABLES}")


if __name__ == "__main__":
    run_command(main)
