"""A sweep with training cells on GPUs, on a cluster that starts without any: python autoscaling.py FOLDER writes what happened.

AutoscalingCluster ends every Ray process of the machine (`ray stop --force`), so run this in a PID namespace of its own.
The module is also the registry that workers import; importing it makes a worker take the CPU for the card it was granted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray.cluster_utils import AutoscalingCluster
from stage_tables import registry_with
from tiny_sweep import TINY, cells_of

from adaprob_ray.runtime import cell_runner, launch
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell

DOCUMENT = {**TINY, "resources": {"train": {"gpu": 1}, "unlearn": {"gpu": 0}, "evaluate": {"gpu": 0}}}
NODE_TYPES = {"gpu.node": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
Stage = Callable[[Cell, StageContext], StageOutput]


class GrowingCluster(AutoscalingCluster):
    """AutoscalingCluster without the example file that Ray's wheel lacks."""

    def _generate_config(self, head_resources: Any, worker_node_types: Any, **options: Any) -> dict[str, Any]:
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        return {
            "cluster_name": "growing",
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,  # all nodes have the same address
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "max_workers": 2,
            "available_node_types": {**worker_node_types, "ray.head.default": head},
            "head_node_type": "ray.head.default",
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 1.0,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "initialization_commands": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
        }


def cpu_device(gpu: float) -> torch.device:
    return torch.device("cpu")


cell_runner.select_device = cpu_device


def noting_the_card(stage: Stage) -> Stage:
    def run(cell: Cell, context: StageContext) -> StageOutput:
        import ray

        output = stage(cell, context)
        cards = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        return StageOutput(output.files, {**output.facts, "cards": len(cards)})

    return run


REGISTRY = registry_with(noting_the_card)


def main(folder: Path) -> None:
    cluster = GrowingCluster({"CPU": 2, "object_store_memory": 100_000_000}, NODE_TYPES)
    cluster.start(override_env={"RAY_enable_autoscaler_v2": "0"})
    import ray

    ray.init(address="auto", logging_level="ERROR")
    gpus_at_start = ray.cluster_resources().get("GPU", 0)
    ray.shutdown()
    cells, store = cells_of(DOCUMENT), Store.open(folder / "store")
    result = launch.run(
        cells, store, sweep="growing", data_root=folder, executor="ray", address="auto", registry="autoscaling:REGISTRY"
    )
    cards = {key: store.commit(key).facts["cards"] for key in cells if store.commit(key)}
    report = {
        "gpus_at_start": gpus_at_start,
        "states": result.plan.counts(),
        "cards": sorted({(cells[key].stage, number) for key, number in cards.items()}),
    }
    (folder / "report.json").write_text(json.dumps(report))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
