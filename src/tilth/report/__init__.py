"""The funnel of a run: a table in a terminal, HTML in a notebook, and one self-contained page with pictures."""

from tilth.report.funnel import Lengths
from tilth.report.report import Report

__all__ = ["Lengths", "Report"]
