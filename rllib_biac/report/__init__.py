"""Turns a result folder into one self-contained HTML page: what was learned, how, and how to repeat it."""

from rllib_biac.report.page import write_report

__all__ = ["write_report"]
