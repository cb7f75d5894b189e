"""`python -m analysis search`: figures and tables of hyperparameter searches."""
