"""`python -m analysis report`: one self-contained HTML file of every Record, without server or network."""

from analysis.report.document import write_report

__all__ = ["write_report"]
