"""The fault table: real faults in running sweeps, and what became of the cells. `python -m benchmarks.faults --help`."""
