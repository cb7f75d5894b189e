"""Tables from the Records of a sweep: `python -m analysis compare`. Run from a checkout; not in the wheel."""
