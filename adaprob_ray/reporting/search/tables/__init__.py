"""Tables of hyperparameter searches."""
