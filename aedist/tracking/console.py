"""What a person sees while a run goes on: a live panel in a terminal, plain timestamped lines elsewhere."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aedist.tracking.tracker import Record

_SECONDS_BETWEEN_PLAIN_LINES = 10.0


def speaker(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: a path is no markup, and a log wraps its own lines."""
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def say_nothing(line: str) -> None:
    """What the processes other than rank zero say."""


class ConsoleSink:
    """The run's progress on a terminal or in a log."""

    def __init__(self, console: Console, title: str, total_images: int, total_epochs: float) -> None:
        self._console, self._title = console, title
        self._total_images, self._total_epochs = total_images, total_epochs
        self._train: Record = {}
        self._evaluation: Record = {}
        self._last_line_seconds = 0.0
        self._live = None
        if console.is_terminal:
            self._live = Live(self._panel(), console=console, refresh_per_second=4, transient=False)
            self._live.start()

    def record(self, record: Record) -> None:
        kind = record["kind"]
        if kind == "train":
            self._train = record
        elif kind == "evaluation":
            self._evaluation = record
        if self._live:
            self._live.update(self._panel())
        elif kind != "train" or time.monotonic() - self._last_line_seconds > _SECONDS_BETWEEN_PLAIN_LINES:
            self._last_line_seconds = time.monotonic()
            self._line(self._in_words(record))
        if self._live and kind == "skipped":
            self._line(self._in_words(record))

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Pictures are named in the closing summary, not as they come."""

    def sync(self) -> None:
        """Nothing is buffered."""

    def close(self, exit_code: int) -> None:
        if self._live:
            self._live.stop()

    def _line(self, words: str) -> None:
        self._console.print(f"{datetime.now():%H:%M:%S}  {words}", highlight=False, markup=False, soft_wrap=True)

    def _in_words(self, record: Record) -> str:
        kind = record["kind"]
        if kind == "train":
            return f"{self._where()}  {_terms(record)}  {_speed(record)}  {self._remaining()} left"
        if kind == "epoch":
            sums = ", ".join(f"{_spell(name)} {value:,.0f}" for name, value in record["sums"].items())
            return f"epoch {record['epoch']} done: sum of {sums} over its images, in {record['seconds']:.1f} s"
        if kind == "evaluation":
            return f"evaluated {record['num_images']:,} images: {_metrics(record)}"
        if kind == "skipped":
            return (
                f"step {record['step']} was not taken: {record['term']} is {record['value']} in micro-batch "
                f"{record['slot']} on process {record['rank']}"
            )
        return str(record)

    def _panel(self) -> Panel:
        done = self._train.get("images", 0)
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", justify="right")
        rows.add_column()
        rows.add_row("progress", ProgressBar(total=self._total_images, completed=done, width=46))
        rows.add_row("", self._where())
        if self._train:
            rows.add_row("loss", f"[bold]{self._train['loss']:.4f}[/]   {_terms(self._train)}")
            rows.add_row("speed", _speed(self._train))
            rows.add_row("left", self._remaining())
        if self._evaluation:
            rows.add_row("evaluation", f"{_metrics(self._evaluation)}   (epoch {self._evaluation['epoch']:.4g})")
        return Panel(rows, title=Text(self._title), title_align="left", border_style="blue", expand=False)

    def _where(self) -> str:
        record = self._train or {"epoch": 0.0, "step": 0, "images": 0}
        epoch = f"epoch {record['epoch']:.2f} of {self._total_epochs:.4g}"
        return f"{epoch}, step {record['step']:,}, {record['images']:,} images"

    def _remaining(self) -> str:
        rate = self._train.get("images_per_second") or 0
        if not rate:
            return "unknown"
        seconds = int((self._total_images - self._train["images"]) / rate)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _terms(record: Record) -> str:
    return "  ".join(f"{_spell(name)} {value:.4f}" for name, value in record["terms"].items())


def _speed(record: Record) -> str:
    return f"{record['images_per_second']:,.0f} images/s, {record['data_wait']:.0%} of the time waiting for data"


def _metrics(record: Record) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items() if value is not None)


def _spell(name: str) -> str:
    return name.replace("_", " ")
