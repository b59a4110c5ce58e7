"""The look of every figure, of the report and of evaluations: colours that most eyes tell apart, small upright text."""

from typing import Any

INK, MUTED, RULE, LINE, DOT = "#22272e", "#6b7280", "#dfe2e6", "#0072b2", "#d55e00"
"""Text, text beside it, rules, and the two colours of data."""

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
