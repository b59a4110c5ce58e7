"""What a verification states: one thing that is proven, wrong, or open, in a sentence and in numbers."""

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["proven", "wrong", "open"]
_SHOWN = 5


@dataclass(frozen=True)
class Statement:
    """One thing that was looked at. ``open`` means that it can be neither proven nor refuted from what is here."""

    about: str
    verdict: Verdict
    text: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """The same for programs; plain values."""


@dataclass
class Faults:
    """What was found wrong: all of it counted, the first few in words."""

    count: int = 0
    first: list[str] = field(default_factory=list[str])

    def add(self, text: str, count: int = 1) -> None:
        """Note a fault, or ``count`` of a kind of which ``text`` tells one."""
        self.count += count
        if len(self.first) < _SHOWN:
            self.first.append(text)

    @property
    def is_full(self) -> bool:
        """Whether further words would not be shown."""
        return len(self.first) >= _SHOWN

    @property
    def words(self) -> str:
        """The faults in one line."""
        more = self.count - len(self.first)
        return "; ".join(self.first) + (f"; and {more:,} more" if more > 0 else "")
