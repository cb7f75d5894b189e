"""The paper's tables, figures and pages from Records: `python -m analysis NAME`. Run from a checkout; not in the wheel."""
