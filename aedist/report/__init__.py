"""Self-contained HTML pages about a run, or about several side by side, written from their directories alone."""

from aedist.report.compare import write_comparison
from aedist.report.page import write_report

__all__ = ["write_comparison", "write_report"]
