"""Data sets: what they are, how they are split, and how batches of them are made."""
