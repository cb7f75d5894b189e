"""Search over hyperparameters: search files, spaces, selection rules, and Optuna studies that are rebuilt from the store."""
