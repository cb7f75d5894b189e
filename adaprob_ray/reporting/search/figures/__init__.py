"""Figures of hyperparameter searches."""
