"""Training: the loop, its losses, resumable state, cost, and gradients of single samples."""
