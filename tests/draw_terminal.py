"""Draws ``launch/pictures/terminal.svg``: what a terminal shows of a real run, stopped once by Ctrl-C and continued.

    python tests/draw_terminal.py EPOCH CONFIG [key=value ...]

trains in a terminal of 106 columns on two processes, presses Ctrl-C in the middle, starts again, and takes what stands
there at EPOCH. The run is stopped then, and stays in its directory.
"""

import fcntl
import io
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 106, 40
SECONDS_TO_GO_ON = 900
PICTURE = Path(__file__).parents[1] / "launch" / "pictures" / "terminal.svg"
FRAME = re.compile(rb"\r(?:\x1b\[1A)?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
EPOCH = re.compile(r"epoch (\d+\.\d+) of ")
PLAN = re.compile(r"(data|step|epoch|model|train|run) {4,}")


def watch(words: list[str], is_enough: Callable[[str], bool]) -> bytes:
    """Train in a terminal until what it shows is enough, press Ctrl-C, and return all that it showed before."""
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        os.execve(sys.executable, [sys.executable, "-m", "aedist", "train", *words], environment)
    shown, taken, end = b"", b"", time.monotonic() + SECONDS_TO_GO_ON
    while True:
        if select.select([master], [], [], 0.1)[0]:
            try:
                shown += os.read(master, 65_536)
            except OSError:  # the run has ended
                break
        frames = FRAME.split(shown)
        if not taken and len(frames) > 1 and (is_enough(frames[-2].decode()) or time.monotonic() > end):
            taken = shown
            os.write(master, b"\x03")
    os.waitpid(pid, 0)
    return taken or shown


def epoch_of(frame: str) -> float:
    found = EPOCH.search(frame)
    return float(found[1]) if found else 0.0


def draw(command: str, shown: bytes) -> None:
    """The plan and the last whole frame, in a window that has the command as its title."""
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    plan = [line for line in re.split(r"\n|\x1b\[2K", text) if PLAN.match(line)]
    frame = FRAME.split(shown)[-2].decode().replace("\r\n", "\n").strip("\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in plan:
        console.print(line, highlight=False, markup=False, soft_wrap=False)
    console.print(Text.from_ansi(frame))
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    family = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
    picture = without_fonts.replace("font-family: Fira Code, monospace", f"font-family: {family}")
    svg = console.export_svg(title=command, code_format=picture, unique_id="aedist")
    PICTURE.write_text(svg, encoding="utf-8")


def main() -> None:
    until, *words = sys.argv[1:]
    words = [*words, "--processes", "2"]
    watch(words, lambda frame: epoch_of(frame) >= float(until) / 2)
    draw(f"aedist train {' '.join(words)}", watch(words, lambda frame: epoch_of(frame) >= float(until)))
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
