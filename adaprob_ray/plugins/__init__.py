"""Methods, metrics, networks and data sets of other packages: loaded by their path, and checked before any work starts."""
