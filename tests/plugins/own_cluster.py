"""python own_cluster.py SWEEP STORE: doctor and run on a cluster of which no node sees the folders of the driver."""

from __future__ import annotations

import os
import sys
from unittest import mock

from adaprob_ray import cli
from adaprob_ray.runtime import cell_runner, doctor, ray_environment


def main(sweep: str, store: str) -> int:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray_environment.prepare("a cluster")
    from ray.cluster_utils import Cluster

    options = {"object_store_memory": 80_000_000, "include_dashboard": False, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    arguments = [sweep, "--store", store, "--address", cluster.address]

    def no_folders() -> tuple[str, ...]:
        return ()

    with (
        mock.patch.object(cell_runner, "looked_in", no_folders),
        mock.patch.object(doctor, "looked_in", no_folders),
    ):
        code = cli.main(["doctor", *arguments]) or cli.main(["run", *arguments, "--no-tensorboard"])
    cluster.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
