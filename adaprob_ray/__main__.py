"""`python -m adaprob_ray` is the command `adaprob-ray`."""

import sys

from adaprob_ray.cli import main

sys.exit(main())
