"""What a subject found, as Markdown, and the file that keeps the newest of every subject.

A subject is a section of the file. Measuring one writes its section anew and leaves the others as they are; each has
its own lines on the machine and on how busy it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TITLE = """# Results of the benchmarks

Written by `python tests/benchmarks/speed.py`, which measures them anew; tests/benchmarks/README.md says how and what
the words mean. Median (least to most) of the repeats.
"""


@dataclass(frozen=True)
class Table:
    """Rows of words under headings, with what must be known to read them."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title, its note behind it."""
        marks = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (self.headings, marks, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else [])]) + "\n"


def section(subject: str, tables: Sequence[Table], circumstances: str) -> str:
    """A subject's section of the file."""
    return "\n".join([f"## {subject}", "", circumstances, "", *(table.markdown() for table in tables)])


def write_section(path: Path, subject: str, text: str) -> None:
    """Put a subject's section into the file, in place of the one it had."""
    sections = _sections(path.read_text(encoding="utf-8")) if path.exists() else {}
    sections[subject] = text
    path.write_text("\n".join([_TITLE, *sections.values()]), encoding="utf-8")


def _sections(text: str) -> dict[str, str]:
    _, *parts = ("\n" + text).split("\n## ")
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}
