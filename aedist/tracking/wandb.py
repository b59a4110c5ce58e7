"""Weights & Biases as a sink: offline unless a key is set, and never a reason for a run to stop.

One W&B run has one id for all attempts of a run. The x axis is images seen. If W&B cannot be reached the run
goes on with its own files, which hold everything, and says so once.
"""

import os
from collections.abc import Callable
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

from aedist.tracking.tracker import Record


def start_wandb(
    mode: str,
    folder: Path,
    run_id: str,
    name: str,
    project: str,
    group: str | None,
    tags: tuple[str, ...],
    config: dict[str, Any],
    say: Callable[[str], None],
) -> "WandbSink | None":
    """A W&B run in ``folder``, or None where it is disabled or does not start; ``say`` is told why."""
    if mode == "auto":
        mode = "online" if _has_key() else "offline"
    if mode == "disabled":
        return None
    try:
        run = wandb.init(
            mode="online" if mode == "online" else "offline",
            dir=folder,
            id=run_id,
            name=name,
            project=project,
            group=group,
            tags=tags,
            config=config,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(init_timeout=15, silent=True, console="off"),
        )
    except (wandb.Error, OSError) as error:
        say(f"W&B did not start ({str(error).splitlines()[0]}); the run goes on, and metrics.jsonl has everything")
        return None
    run.define_metric("images")
    run.define_metric("*", step_metric="images")
    return WandbSink(run, say)


class WandbSink:
    """Losses, metrics and pictures in W&B."""

    def __init__(self, run: wandb.Run, say: Callable[[str], None]) -> None:
        self._run, self._say, self._broken = run, say, False

    def record(self, record: Record) -> None:
        kind = record["kind"]
        numbers = {f"{kind}/{name}": value for name, value in _flat(record) if name not in ("images", "step")}
        self._log({**numbers, "images": record["images"], "step": record["step"]})

    def picture(self, name: str, path: Path, record: Record) -> None:
        self._log({name: wandb.Image(str(path)), "images": record["images"], "step": record["step"]})

    def sync(self) -> None:
        """W&B keeps its own times."""

    def close(self, exit_code: int) -> None:
        self._try(lambda: self._run.finish(exit_code=exit_code))

    def _log(self, values: dict[str, Any]) -> None:
        if not self._broken:
            self._try(lambda: self._run.log(values))

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._broken = True
            self._say(f"W&B stopped working ({error}); the run goes on, and metrics.jsonl has everything")


def _has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or left by ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc().authenticators(urlsplit(wandb.Settings().base_url).hostname or "") is not None
    except (OSError, NetrcParseError):
        return False


def _flat(record: Record) -> list[tuple[str, float]]:
    """The numbers in a record, nested names joined by a slash."""
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            found += [(f"{name}/{inner}", number) for inner, number in _flat(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((name, value))
    return found
