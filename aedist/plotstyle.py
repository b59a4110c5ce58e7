"""The look of every figure, of the report and of evaluations: colours that most eyes tell apart, small upright text.

Lines and bars take their colours from the palette of Okabe and Ito ("Color Universal Design", 2008), those of it that
stand out from white and from a dark page alike first. Classes, of which there may be ten, take the ten of Petroff
("Accessible color sequences for data visualization", 2021).
"""

from typing import Any

INK, MUTED, RULE = "#22272e", "#6b7280", "#dfe2e6"
"""Text, text beside it, rules."""

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, for what is drawn over each other: runs, processes."""
LINE, DOT = SERIES[:2]
"""The two colours of a figure of one thing."""

CATEGORIES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadb",
)  # fmt: skip
"""Petroff's ten, for dots of classes."""
NO_CATEGORY = "#b0b4b9"

STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
}
"""For ``matplotlib.rc_context``."""
