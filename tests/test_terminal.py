"""What a person sees of a run: the panel at every size, the lines of a log, and the words for numbers."""

import io
import json
import math
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aedist.tracking.console import LivePanel, PlainLines, watched
from aedist.tracking.jsonstream import JsonStream
from aedist.tracking.outlook import Outlook
from aedist.tracking.panel import PanelOfRun
from aedist.tracking.tail import last_evaluations
from aedist.tracking.told import Told
from aedist.tracking.tracker import Record
from aedist.tracking.words import duration, number, rough, size, sparkline

OUTLOOK = Outlook(
    run=Path("runs/a"),
    title="name [not markup]: mlp on blobs",
    images_per_step=12,
    steps_per_epoch=8,
    last_step=80,
    evaluate_steps=8,
    checkpoint_steps=20,
    world=2,
)


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 23, 59, 0) + timedelta(seconds=self.seconds)


def train(step: int, *terms: float, names: tuple[str, ...] = ("squared_error", "kl", "lpips")) -> Record:
    return {
        "kind": "train",
        "step": step,
        "images": 12 * step,
        "epoch": step / 8,
        "loss": sum(terms),
        "terms": dict(zip(names, terms, strict=False)),
        "learning_rate": 1e-3,
        "gradient_norm": 0.25,
        "skipped_steps": 0,
        "images_per_second": 48.0,
        "data_wait": 0.125,
    }


def evaluation(step: int, **metrics: float | None) -> Record:
    return {
        "kind": "evaluation",
        "step": step,
        "images": 12 * step,
        "epoch": step / 8,
        "split": "test",
        "num_images": 23,
        "metrics": metrics,
        "best": True,
    }


def skipped(step: int, slot: int | None = 3) -> Record:
    what = {"slot": slot, "rank": None if slot is None else 1, "term": "kl", "value": "nan"}
    return {"kind": "skipped", "step": step, "images": 12 * step, "epoch": step / 8, **what}


def drawn(told: Told, width: int, height: int, **options: Any) -> list[str]:
    """The panel's lines in a terminal of that size, without the empty one under it."""
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, force_terminal=True, **options)
    console.print(PanelOfRun(told, lambda: 3 * 2**29))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).split("\n")
    assert lines[-2:] == ["", ""]
    return lines[:-2]


def told_of_a_run(outlook: Outlook = OUTLOOK) -> Told:
    clock = Clock()
    told = Told(outlook, clock)
    for step in range(1, 25):
        clock.seconds += 2.0
        told.record(train(step, 100 / step, step / 10, 0.5))
        if step % 8 == 0:
            told.record(evaluation(step, mse=0.5 / step, psnr=10.0 + (step != 24) * step, ssim=None))
    return told


@pytest.mark.parametrize("width", [60, 80, 119, 120, 200])
@pytest.mark.parametrize("height", [8, 12, 24, 60])
def test_the_panel_fits_every_terminal_and_every_line_is_whole(width: int, height: int) -> None:
    told = told_of_a_run()
    told.record(skipped(20))
    lines = drawn(told, width, height)
    assert len(lines) < height, "a frame that is higher than the terminal could not be drawn over"
    assert {len(line) for line in lines} == {min(width, 170)}
    text = "\n".join(lines)
    assert "epoch 3.00 of 10, step 24 of 80 (30.0%)" in text
    assert "step 20 was not taken: kl is nan" in text
    assert f"loss  {100 / 24 + 2.4 + 0.5:#.5g}" in text


def test_a_terminal_of_80_by_24_shows_all_of_it() -> None:
    told = told_of_a_run()
    lines = drawn(told, 80, 24)
    text = "\n".join(lines)
    for words in (
        "name [not markup]: mlp on blobs",
        "squared error  4.1667",
        "kl  2.4000",
        "lpips  0.50000",
        "48 images/s, 24 a process (2)",
        "waits for data 12.5% of the time, memory 1.5 GiB",
        "evaluation after step 32, checkpoint after 40",
        "evaluation of 23 images of test, epoch 3",
    ):
        assert words in text
    # 23 steps in 46 seconds, and 56 steps are left
    assert re.search(r"time  0:01:52 left, done (20..-..-.. )?at \d\d:\d\d, 0:00:48 gone", text)
    (mse,) = (line for line in lines if " mse " in line)
    assert mse.split()[1:-1] == ["mse", "0.020833", "-0.0104", "the", "best", "so", "far"]
    (psnr,) = (line for line in lines if " psnr " in line)
    assert psnr.split()[1:-1] == ["psnr", "10.000", "-16", "best", "26.000", "at", "epoch", "2"]
    assert "ssim" not in text, "a metric without a value is left out"
    assert "interrupted" not in text


def test_a_run_of_one_term_shows_its_loss_once() -> None:
    told = Told(OUTLOOK, Clock())
    told.record(train(4, 12.5))
    text = "\n".join(drawn(told, 80, 24))
    assert "squared error  12.500" in text
    assert "loss" not in text


def test_a_sparkline_is_as_wide_as_there_is_room_and_shows_the_latest() -> None:
    told = told_of_a_run()
    (wide,) = (line for line in drawn(told, 120, 24) if "kl" in line)
    assert "▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███" in wide.replace(" ", "") or wide.count("█") >= 1
    assert sparkline([1, 2, 3, 8], 3) == "▁▂█"
    assert sparkline([1.0, math.nan, 2.0], 9) == "▁?█"
    assert sparkline([2.0, 2.0], 9) == "▁▁"
    assert sparkline([1, 8], 9, ascii_only=True) == "_@"
    assert sparkline([1, 8], 0) == ""


def test_before_the_first_record_the_panel_says_what_comes() -> None:
    text = "\n".join(drawn(Told(OUTLOOK, Clock()), 80, 24))
    assert "epoch 0.00 of 10, step 0 of 80 (0.0%)" in text
    assert "0:00:00 gone" in text
    assert "left" not in text


def test_a_run_that_went_on_knows_its_earlier_evaluations_and_its_interruptions() -> None:
    earlier = (evaluation(8, mse=0.25), evaluation(16, mse=0.5))
    outlook = Outlook(
        **{**vars(OUTLOOK), "first_step": 20, "attempt": 3, "earlier": earlier, "best_error": 0.125, "step": lambda: 23}
    )
    text = "\n".join(drawn(Told(outlook, Clock()), 80, 24))
    assert "step 22 of 80" in text, "the step that is being done is the 23rd"
    assert "interrupted  2 times so far; went on after step 20" in text
    assert re.search(r"mse  0\.50000 +\+0\.25 +best 0\.12500 ", text)


def test_a_step_that_is_not_told_yet_counts_and_losses_that_are_no_numbers_are_shown() -> None:
    told = Told(Outlook(**{**vars(OUTLOOK), "step": lambda: 11}), Clock())
    told.record({**train(8, 1.0), "loss": math.nan, "terms": {"kl": None}, "images_per_second": 0.0})
    text = "\n".join(drawn(told, 80, 24))
    assert "step 10 of 80" in text
    assert "nan" in text


def test_no_colours_and_no_blocks_where_the_terminal_has_none() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=output, width=80, height=24, force_terminal=True, no_color=True)
    console.print(PanelOfRun(told_of_a_run(), lambda: None))
    output.flush()
    shown = output.buffer.getvalue()
    assert b"\x1b[3" not in shown
    shown.decode("ascii")


def test_a_terminal_gets_a_panel_and_all_else_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    panel = watched(terminal, OUTLOOK)
    panel.close(0)
    assert isinstance(panel, LivePanel)
    assert isinstance(watched(Console(file=io.StringIO()), OUTLOOK), PlainLines)
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(watched(dumb, OUTLOOK), PlainLines)


def test_a_panel_ends_with_the_last_numbers() -> None:
    output = io.StringIO()
    panel = LivePanel(Console(file=output, force_terminal=True, width=80, height=24), OUTLOOK)
    panel.record(train(79, 1.0))
    panel.record(train(80, 3.25))
    panel.close(0)
    last = output.getvalue().rpartition("not markup")[2]
    assert "3.2500" in last
    assert "step 80 of 80 (100.0%)" in last
    assert "\x1b[2J" not in output.getvalue(), "the screen is never cleared"


def log(clock: Clock, *records: Record | float, outlook: Outlook = OUTLOOK) -> list[str]:
    """The lines of a log; numbers are seconds that go by."""
    output = io.StringIO()
    sink = PlainLines(Console(file=output, width=80), outlook, clock, clock.now)
    for record in records:
        if isinstance(record, float):
            clock.seconds += record
        else:
            sink.record(record)
    sink.sync()
    sink.close(0)
    assert "\x1b" not in output.getvalue()
    return output.getvalue().splitlines()


def test_a_log_gets_one_timestamped_line_a_record() -> None:
    epoch = {"kind": "epoch", "step": 8, "images": 96, "epoch": 1, "sums": {"squared_error": 1200.0}, "seconds": 2.0}
    new = {"kind": "new", "step": 9, "of": ["/a [bold] kind"]}
    records = (
        train(8, 12.5),
        epoch,
        evaluation(8, mse=0.0625, psnr=12.04, ssim=None),
        skipped(9),
        skipped(10, None),
        new,
    )
    assert log(Clock(), *records) == [
        "2026-03-04 23:59:00  epoch 1.00 of 10, step 8, 96 images  squared error 12.500  "
        "48 images/s, 12% of the time waiting for data  0:00:18 left",
        "23:59:00  epoch 1 done: sum of squared error 1,200 over its images, in 2.0 s",
        "23:59:00  evaluated 23 images: mse 0.062500  psnr 12.040  (the best so far)",
        "23:59:00  step 9 was not taken: kl is nan in micro-batch 3 on process 1",
        "23:59:00  {'kind': 'new', 'step': 9, 'of': ['/a [bold] kind']}",
        "23:59:00  step 10 was not taken: kl is nan",
    ]


def test_the_date_stands_in_the_first_line_and_in_that_after_midnight() -> None:
    told = log(Clock(), train(1, 1.0), 30.0, train(2, 1.0), 30.0, train(3, 1.0), 30.0, train(4, 1.0))
    assert [line.partition("  ")[0] for line in told] == [
        "2026-03-04 23:59:00",
        "23:59:30",
        "2026-03-05 00:00:00",
        "00:00:30",
    ]


def test_a_log_of_a_long_run_stays_short_and_ends_with_the_last_of_each_kind() -> None:
    """Ten days with a record every half minute of each kind."""
    clock, output = Clock(), io.StringIO()
    sink = PlainLines(Console(file=output), OUTLOOK, clock, clock.now)
    for step in range(0, 864_000, 30):
        clock.seconds += 30
        sink.record(train(step, 1.0))
        sink.record(skipped(step))
    sink.record(train(864_001, 1.0))
    sink.close(0)
    told = output.getvalue().splitlines()
    assert len(told) < 2 * 2000
    assert "step 864,001, " in told[-1]
    assert sum(int(found) for line in told for found in re.findall(r"\(and ([\d,]+) steps", line.replace(",", ""))) == (
        864_000 / 30 - sum("not taken" in line for line in told)
    ), "what is not told line by line is counted"


def test_a_program_gets_an_object_a_line_and_null_for_what_json_has_not() -> None:
    output = io.StringIO()
    stream = JsonStream(output)
    stream.started(OUTLOOK)
    stream.record({**train(1, math.nan), "attempt": 1})
    stream.picture("samples", Path("a.png"), evaluation(8))
    stream.close(0)
    told = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["kind"] for line in told] == ["started", "train", "picture"]
    assert (told[0]["run"], told[0]["last_step"], told[0]["world"]) == ("runs/a", 80, 2)
    assert told[1]["loss"] is None
    assert told[2] == {"kind": "picture", "name": "samples", "path": "a.png", "step": 8}


def test_the_last_evaluations_are_found_at_the_end_of_the_records(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    records = [evaluation(8, mse=3.0), train(9, 1.0), evaluation(16, mse=2.0), evaluation(24, mse=1.0), train(25, 1.0)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [record["step"] for record in last_evaluations(path)] == [16, 24]
    short = len(json.dumps(records[-2])) + len(json.dumps(records[-1])) + 10
    assert [record["step"] for record in last_evaluations(path, tail_bytes=short)] == [24], "not half a line"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0102412, "0.010241"),
        (12.5, "12.500"),
        (1234.56, "1234.6"),
        (498_104.3, "498,104"),
        (0.000012, "1.200e-05"),
        (0.0, "0.0000"),
        (math.nan, "nan"),
        (None, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_have_five_digits_that_tell(value: float | None, words: str) -> None:
    assert number(value) == words


def test_times_and_sizes() -> None:
    assert (duration(3725.9), duration(90_061)) == ("1:02:05", "1 d 01:01:01")
    assert [rough(seconds) for seconds in (59, 119, 120, 7199, 7200, 172_800)] == [
        "59 s", "119 s", "2 min", "119 min", "2 h", "2 d"
    ]  # fmt: skip
    assert [size(count) for count in (1023, 1536, 5 * 2**40, 2**55)] == [
        "1023 bytes",
        "1.5 KiB",
        "5.0 TiB",
        "32768.0 TiB",
    ]
