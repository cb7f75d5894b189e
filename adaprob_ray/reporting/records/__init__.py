"""Records: where they are read, how they are grouped, and how their columns are written."""
