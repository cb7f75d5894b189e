"""python doctor_cluster.py FOLDER OTHER: doctor on a cluster of two nodes, and run after a node with other code has joined.

FOLDER holds sweep.yaml and gets the store and results.json; OTHER is what the last node has on its PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from adaprob_ray import cli
from adaprob_ray.runtime import ray_environment


def call(arguments: list[str]) -> dict[str, object]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def main(folder: Path, other: str) -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray_environment.prepare("a cluster")
    from ray.cluster_utils import Cluster

    options = {"object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": 1})
    cluster.add_node(num_cpus=1, **options)
    sweep = [str(folder / "sweep.yaml"), "--store", str(folder / "store"), "--address", cluster.address]
    results = [call(["doctor", *sweep, "--json"])]
    os.environ["PYTHONPATH"] = other
    cluster.add_node(num_cpus=1, **options)
    results.append(call(["run", *sweep]))
    cluster.shutdown()
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
