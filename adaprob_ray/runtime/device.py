"""A worker's process before a cell runs: its device, its share of the GPU's memory, its threads and its global generators."""

from __future__ import annotations

import random

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from adaprob_ray.methods.base import derive_seed
from adaprob_ray.runtime.packing import memory_fraction
from adaprob_ray.sweep.cell import Cell


def limit_threads(count: int) -> None:
    """Use `count` threads in all pools of this process. Sums depend on it, so it is the same in every executor."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def select_device(gpu: float) -> torch.device:
    """The card that was granted, never one that is merely visible. `gpu` is a count, so memory is limited in proportion."""
    if gpu <= 0:
        return torch.device("cpu")
    torch.cuda.empty_cache()  # in a reused process: free what the last cell held, and forget its peak
    torch.cuda.reset_peak_memory_stats()
    device = torch.device("cuda", 0)
    card_bytes = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(memory_fraction(gpu, card_bytes), device)
    return device


def seed_global_generators(cell: Cell) -> None:
    """Every generator that a stage uses is its own; the global ones are seeded too, so that nothing is inherited."""
    seed = derive_seed(cell.settings.seed, cell.repeat, "global") % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32
