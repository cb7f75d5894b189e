"""Intervals over seeds, and tests of differences to Retrain."""
