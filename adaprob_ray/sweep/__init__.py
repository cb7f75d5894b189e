"""Sweep files, cells and plans: what a sweep is, without torch and without Ray."""
