"""Reports: one self-contained page per study, drawn from surfaces and cubes."""

from flows.report.page import build_report
from flows.report.spec import drawn_variables

__all__ = ["build_report", "drawn_variables"]
