"""Any result folder as one self-contained HTML page: what was learned, how, and how to do it again."""

from rllib_biac.report.page import write_report

__all__ = ["write_report"]
