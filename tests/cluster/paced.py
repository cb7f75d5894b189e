"""`adaprob-ray` with cells that last a second: python paced.py run SWEEP … Workers import the table of stages from here.

No cell of the last stage starts before the host that joins in mid-run has had a cell, so that the test's verdict does not
depend on how fast the machine is.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from stage_tables import before

from adaprob_ray import cli
from adaprob_ray.runtime import launch
from adaprob_ray.sweep.cell import Cell

SECONDS = 1.0
PATIENCE = 120.0  # seconds until the host that does not join is given up
MARKS = Path("/mnt/shared/marks")
JOINING = "host4"


def pace(cell: Cell) -> None:
    MARKS.mkdir(exist_ok=True)
    (MARKS / socket.gethostname()).touch()
    time.sleep(SECONDS)
    end = time.monotonic() + PATIENCE
    while cell.stage == "evaluate" and not (MARKS / JOINING).exists() and time.monotonic() < end:
        time.sleep(0.1)


PACED = before(pace)

if __name__ == "__main__":
    launch.run.__kwdefaults__["registry"] = "paced:PACED"
    sys.exit(cli.main(sys.argv[1:]))
