"""Methods: one file each. The contents page is `adaprob_ray.catalogue`."""
