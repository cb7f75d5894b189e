"""The command `adaprob-ray` with another table of stages: python driver.py MODULE:TABLE run sweep.yaml …"""

from __future__ import annotations

import signal
import sys

from adaprob_ray import cli
from adaprob_ray.runtime import launch, search

if __name__ == "__main__":
    # As in a terminal: a shell makes what it starts in the background ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    launch.run.__kwdefaults__["registry"] = search.run_search.__kwdefaults__["registry"] = sys.argv[1]
    sys.exit(cli.main(sys.argv[2:]))
