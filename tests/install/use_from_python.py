"""What a user of the installed package writes: a method on a network of their own, the projection, and the Records of a sweep.

python use_from_python.py STORE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import adaprob_ray
from adaprob_ray.data.batches import DeviceImages, Subset
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.base import Context, Split
from adaprob_ray.recipe import Recipe

assert Path(adaprob_ray.__file__).is_relative_to(sys.prefix), f"not the installed package: {adaprob_ray.__file__}"

torch.manual_seed(1)
images = torch.randint(0, 256, (40, 4, 4, 1), dtype=torch.uint8)
device_images = DeviceImages(images, torch.arange(40) % 4, torch.ones(1) / 255, torch.zeros(1))
subsets = {"retain": Subset(device_images, torch.arange(8, 40)), "forget": Subset(device_images, torch.arange(8))}
subsets["train"] = Subset(device_images, torch.arange(40))
model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
before = model[1].weight.detach().clone()
method = AdaProb(epochs=1)
context = Context(
    device=torch.device("cpu"),
    precision="float32",
    seed=1,
    repeat=0,
    needs=method.needs,
    recipe=Recipe(epochs=1),
    make_model=lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(16, 4)),
    initial_state=model.state_dict,
    report=lambda step, **scalars: None,
)
unlearned = method.unlearn(model, Split(needs=method.needs, subsets=subsets), context)
assert not torch.equal(unlearned[1].weight, before), "the method changed no weight"

solution = adaprob_ray.project(torch.zeros(4, 2), torch.ones(4), torch.tensor([1.0, 3.0]))
assert solution.status == "converged", solution.message

records = adaprob_ray.load_records(sys.argv[1])
assert {"finetune", "adaprob", "retrain"} <= set(records["label"]), sorted(records["label"])
assert np.isfinite(records["test_error_percent"]).all()
print(f"{len(records)} Records, projection residual {solution.residual:.1g}")
