"""`python -m adaprob_ray.contract.digests [METHOD …]`: digests of the weights that each case gives in this process, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from adaprob_ray.contract.bench import digest
from adaprob_ray.contract.cases import cases, choose
from adaprob_ray.contract.cells import trained, weights_digest
from adaprob_ray.contract.trials import attempt
from adaprob_ray.user_code.folders import look_in


def all_digests() -> dict[str, str]:
    """Digests of the weights that each case gives in this process, by name."""
    unlearned = {case.name: digest(attempt(case).after) for case in cases("unlearn")}
    return {**unlearned, **{case.name: weights_digest(trained(case)) for case in cases("train")}}


if __name__ == "__main__":
    look_in(Path.cwd())
    choose(sys.argv[1:])
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(all_digests()))
