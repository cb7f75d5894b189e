"""Each performance claim as a command that prints a ratio or seconds, side by side in one run: `python -m benchmarks.NAME`."""
