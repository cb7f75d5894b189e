"""Methods, one file each. `adaprob_ray.catalogue` lists them."""
