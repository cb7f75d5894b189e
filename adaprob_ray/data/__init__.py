"""Data sets: their descriptions, splits and batches."""
