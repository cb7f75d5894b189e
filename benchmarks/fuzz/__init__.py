"""Mutated sweep files, store objects and images, given to the commands: `python -m benchmarks.fuzz`."""
