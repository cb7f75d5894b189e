"""Intervals over seeds, and tests of differences from Retrain."""
