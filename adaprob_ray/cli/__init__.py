"""The command line."""

from adaprob_ray.cli.sweeps import main

__all__ = ["main"]
