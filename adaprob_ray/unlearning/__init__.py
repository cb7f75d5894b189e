"""Unlearn samples from a network of one's own: `adaprob_ray.unlearn(model, dataset, forget=…)`.

The network is any PyTorch classifier, the data any map-style data set. Methods are those of sweeps, unchanged: this package
gives them the network (`network`) and the samples (`samples`, `subset`) in the form in which they get those of a sweep.
"""
