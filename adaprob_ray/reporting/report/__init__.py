"""`adaprob-ray report`: one self-contained HTML file of every Record, without server or network."""

from adaprob_ray.reporting.report.build import write_report

__all__ = ["write_report"]
