"""One self-contained HTML page about a run, written from its directory alone."""

from aedist.report.page import write_report

__all__ = ["write_report"]
