"""Time and peak memory of NTK forgetting at small scale: 500 images of five classes, ResNet-18 with width multiplier 0.4.

    python -m benchmarks.ntk [--rows 500] [--memory 512]

Limits: 10 minutes and 3 GiB on two cores; the whole Jacobian would take 18 GB. The images are noise, on which neither time nor
memory depends.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from adaprob_ray.data.batches import DeviceImages, Subset
from adaprob_ray.methods.base import Context, Sizes, Split
from adaprob_ray.methods.ntk import NTK
from adaprob_ray.models.resnet import ResNet18
from adaprob_ray.recipe import RECIPES
from benchmarks import run_command

CLASSES, FORGET = 5, 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--memory", type=int, default=NTK().memory, help="MiB of a slice of the Jacobian")
    options = parser.parse_args()
    method, generator = NTK(memory=options.memory), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.rows, 32, 32, 3), generator=generator).to(torch.uint8)
    pixels = DeviceImages(
        images, torch.arange(options.rows) % CLASSES, torch.full((3,), 1 / 64), torch.full((3,), -2.0)
    )
    model, start = (ResNet18(classes=CLASSES, filters=0.4) for _ in range(2))
    context = Context(
        device=torch.device("cpu"),
        precision="float32",
        seed=1,
        repeat=0,
        needs=method.needs,
        recipe=RECIPES["small"],
        make_model=lambda seed: start,
        initial_state=start.state_dict,
        report=lambda step, **scalars: None,
    )
    rows = torch.arange(options.rows)
    subsets = {
        "train": Subset(pixels, rows),
        "forget": Subset(pixels, rows[:FORGET]),
        "retain": Subset(pixels, rows[FORGET:]),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    begin = time.perf_counter()
    method.unlearn(model, Split(needs=method.needs, subsets=subsets), context)
    seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cost = method.cost(
        Sizes(
            retain=options.rows - FORGET,
            forget=FORGET,
            validation=0,
            recipe_epochs=context.recipe.epochs,
            recipe_decay=context.recipe.decay,
            classes=CLASSES,
            parameters=sum(p.numel() for p in model.parameters()),
        )
    )
    print(f"{options.rows} images: {seconds:.0f} s, peak {peak:.2f} GiB ({before:.2f} GiB before), {cost}")


if __name__ == "__main__":
    run_command(main)
