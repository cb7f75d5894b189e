"""The command `adaprob-ray` with the registry of stages.py: python -m benchmarks.faults.driver run SWEEP --store …"""

from __future__ import annotations

import functools
import signal
import sys

from adaprob_ray import cli
from adaprob_ray.runtime import launch

if __name__ == "__main__":
    # As in a terminal: a shell makes what it starts in the background ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    launch.run = functools.partial(launch.run, registry="benchmarks.faults.stages:REGISTRY")
    sys.exit(cli.main())
