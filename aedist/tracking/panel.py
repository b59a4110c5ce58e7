"""The live panel: what a run has told so far, laid out for the terminal as it is at this moment.

It is drawn anew for every frame, for the width and height that the terminal has then: two columns where there is room
for them, and where there is no room for every row, the least needed rows are left out, so that nothing scrolls.
"""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel as Frame
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aedist.tracking.told import Measured, Told
from aedist.tracking.words import NEITHER_IS_BETTER, duration, number, size, sparkline, spell

_WIDE = 120
"""From so many columns on, evaluations stand beside training."""
_WIDEST = 170
_BORDERS = 2
_LINE_BELOW = 1
"""An empty line under the panel, so that what others write to the terminal begins a line of its own."""
_LABEL_WIDTH, _NUMBER_WIDTH = 16, 12
_MOST_TERMS = 8


class Row(NamedTuple):
    """A row, and how early it is given up where there is no room: 0 never."""

    label: str
    content: Text | ProgressBar
    expendable: int


class PanelOfRun:
    """A rich renderable."""

    def __init__(self, told: Told, memory_bytes: Callable[[], int | None]) -> None:
        """``memory_bytes`` is asked for what this process takes, where records do not say."""
        self._told, self._memory_bytes = told, memory_bytes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _WIDEST)
        is_wide = width >= _WIDE
        room = max(3, options.max_height - _BORDERS - _LINE_BELOW)
        inner = width - 4
        left = inner * 11 // 20 if is_wide else inner
        ascii_only = options.ascii_only
        training = _training(self._told, self._memory_bytes, left, ascii_only=ascii_only)
        measured = self._told.measured()
        title = _evaluation_title(self._told) if measured else None
        beside_width = max((len(metric.name) for metric in measured), default=0)
        label_width = max([len(row.label) for row in training] + ([] if is_wide else [beside_width]))
        if is_wide:
            training, measured = _fitting(training, room), measured[: room - 1]
            body = Table.grid(padding=(0, 3, 0, 0))
            body.add_column(width=left - 3)
            body.add_column()
            beside = _evaluation(measured, title, beside_width) if title else Text("no evaluation yet", style="dim")
            body.add_row(_grid(training, label_width), beside)
        else:
            needed = sum(not row.expendable for row in training)
            measured = measured[: max(0, room - needed - 2)]
            training = _fitting(training, room - (len(measured) + 1 if measured else 0))
            body = Table.grid()
            body.add_row(_grid(training, label_width))
            if measured and title:
                body.add_row(_evaluation(measured, title, label_width))
        yield Frame(body, title=Text(self._told.outlook.title), title_align="left", border_style="blue", width=width)
        yield Text("")


def _fitting(rows: list[Row], room: int) -> list[Row]:
    """The rows that are left when the least needed are given up until they fit."""
    kept = list(rows)
    while len(kept) > room:
        last = max(row.expendable for row in kept)
        if not last:
            return kept[:room]
        kept.remove(next(row for row in reversed(kept) if row.expendable == last))
    return kept


def _grid(rows: Iterable[Row], label_width: int) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", justify="right", no_wrap=True, width=label_width)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        grid.add_row(row.label, row.content)
    return grid


def _training(told: Told, memory_bytes: Callable[[], int | None], width: int, *, ascii_only: bool) -> list[Row]:
    outlook, record, step = told.outlook, told.train, told.steps_done
    epoch = step / outlook.steps_per_epoch
    share = step / outlook.last_step
    where = Text.assemble(
        (f"epoch {epoch:.2f} of {outlook.total_epochs:.4g}", "bold"),
        f", step {step:,} of {outlook.last_step:,} ({share:.1%})",
    )
    bar_width = max(10, width - _LABEL_WIDTH - 2)
    rows = [Row("", ProgressBar(total=outlook.last_step, completed=step, width=bar_width), 0), Row("", where, 0)]
    spark_width = width - _LABEL_WIDTH - _NUMBER_WIDTH - 4
    if record:
        rows += _losses(told, spark_width, ascii_only=ascii_only)
        rows.append(Row("speed", _speed(told), 2))
    memory = record.get("memory_bytes") or memory_bytes()
    if record or memory:
        waiting = f"waits for data {record['data_wait']:.1%} of the time" if record else ""
        taken = f"memory {size(memory)}" if memory else ""
        rows.append(Row("", Text(", ".join(filter(None, (waiting, taken)))), 4))
    rows.append(Row("time", _time(told), 1))
    rows.append(Row("next", _next(told, step), 3))
    if at := outlook.at():
        rows.append(Row("now", Text(at, style="dim"), 7))
    if outlook.attempt > 1:
        times = "once" if outlook.attempt == 2 else f"{outlook.attempt - 1} times"
        rows.append(Row("interrupted", Text(f"{times} so far; went on after step {outlook.first_step:,}"), 5))
    if told.num_skipped:
        last = told.skipped
        what = f"step {last['step']:,} was not taken: {last['term']} is {last['value']}"
        more = f" ({told.num_skipped} times in all)" if told.num_skipped > 1 else ""
        rows.append(Row("skipped", Text(what + more, style="red"), 0))
    return rows


def _losses(told: Told, spark_width: int, *, ascii_only: bool) -> list[Row]:
    """The loss, and its terms where it is more than one term alone."""

    def row(label: str, values: Iterable[float], style: str, expendable: int) -> Row:
        shown = list(values)
        line = sparkline(shown, spark_width, ascii_only=ascii_only)
        return Row(label, Text.assemble((f"{number(shown[-1]):<{_NUMBER_WIDTH}}", style), (line, "cyan")), expendable)

    last = {name: values[-1] for name, values in told.terms.items()}
    if list(last.values()) == [told.loss[-1]]:
        (name,) = last
        return [row(spell(name), told.loss, "bold", 0)]
    return [
        row("loss", told.loss, "bold", 0),
        *(row(spell(name), values, "", 6) for name, values in list(told.terms.items())[:_MOST_TERMS]),
    ]


def _speed(told: Told) -> Text:
    world, device, rate = told.outlook.world, told.outlook.device, told.train["images_per_second"]
    kind = "process" if device == "cpu" else "GPU"
    each = f", {rate / world:,.0f} a {kind} ({world})" if world > 1 else f" on one {kind}"
    return Text.assemble((f"{rate:,.0f} images/s", "bold"), each)


def _time(told: Told) -> Text:
    gone, left = told.elapsed_seconds, told.seconds_left
    if left is None:
        return Text(f"{duration(gone)} gone")
    end = time.localtime(time.time() + left)
    day = "" if end[:3] == time.localtime()[:3] else time.strftime(" %Y-%m-%d", end)
    done = f", done{day} at {time.strftime('%H:%M', end)}, {duration(gone)} gone"
    return Text.assemble((f"{duration(left)} left", "bold"), done)


def _next(told: Told, step: int) -> Text:
    outlook = told.outlook
    evaluation = outlook.next_after(step, outlook.evaluate_steps)
    checkpoint = outlook.next_after(step, outlook.checkpoint_steps)
    if evaluation == checkpoint:
        return Text(f"evaluation and checkpoint after step {evaluation:,}")
    return Text(f"evaluation after step {evaluation:,}, checkpoint after {checkpoint:,}")


def _evaluation_title(told: Told) -> str:
    record = told.evaluation
    return f"evaluation of {record['num_images']:,} images of {record['split']}, epoch {record['epoch']:.4g}"


def _evaluation(measured: list[Measured], title: str, label_width: int) -> Group:
    """A row a metric: its last value, what changed, its best and when that was."""
    table = _grid((), label_width)
    for _ in range(2):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for metric in measured:
        style = {None: "dim", True: "green", False: "red"}[metric.is_better]
        change = "" if metric.change is None else f"{metric.change:+.3g}"
        when = "" if metric.best_epoch is None else f" at epoch {metric.best_epoch:.4g}"
        is_best = metric.best == metric.last and metric.best_epoch is not None
        best = "the best so far" if is_best else f"best {number(metric.best)}{when}"
        best = "" if metric.name in NEITHER_IS_BETTER else best
        table.add_row(spell(metric.name), Text(number(metric.last), style="bold"), Text(change, style=style), best)
    return Group(Text(title, style="dim", no_wrap=True, overflow="ellipsis"), table)
