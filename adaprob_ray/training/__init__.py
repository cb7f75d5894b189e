"""Training: the loop, its losses, resumable state, cost, and per-sample gradients."""
