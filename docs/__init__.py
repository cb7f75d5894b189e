"""Pages that are generated from the code, and their generators."""
