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

from aedist.config import Config
from aedist.tracking.tracker import Record

_SERVICE_BEFORE_IT_MOVED = "api.wandb.ai"
_LONGEST_FAREWELL_SECONDS = 300.0  # without a limit, a server that cannot be reached keeps the process for ever


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
            settings=wandb.Settings(
                init_timeout=15,
                finish_timeout=_LONGEST_FAREWELL_SECONDS,
                silent=True,
                console="off",
            ),
        )
    except Exception as error:  # whatever it is, the run is worth more
        say(f"W&B did not start ({_in_one_line(error)}); the run goes on, and metrics.jsonl has everything")
        return None
    run.define_metric("images")
    run.define_metric("*", step_metric="images")
    return WandbSink(run, say)


def wandb_of_run(config: Config, folder: Path, run_id: str, say: Callable[[str], None]) -> "WandbSink | None":
    """The W&B run of a run's directory, as its configuration says; None as for ``start_wandb``."""
    track = config.track
    return start_wandb(
        track.wandb,
        folder,
        run_id,
        folder.name,
        track.project,
        track.group,
        track.tags,
        config.model_dump(mode="json"),
        say,
    )


class WandbSink:
    """Losses, metrics and pictures in W&B."""

    def __init__(self, run: wandb.Run, say: Callable[[str], None]) -> None:
        self._run, self._say, self._broken = run, say, False

    def record(self, record: Record) -> None:
        kind = record["kind"]
        numbers = {f"{kind}/{name}": value for name, value in _flat(record) if name not in ("images", "step")}
        self._log(lambda: {**numbers, "images": record["images"], "step": record["step"]})

    def picture(self, name: str, path: Path, record: Record) -> None:
        self._log(lambda: {name: wandb.Image(str(path)), "images": record["images"], "step": record["step"]})

    def sync(self) -> None:
        """W&B keeps its own times."""

    def close(self, exit_code: int) -> None:
        self._try(lambda: self._run.finish(exit_code=exit_code))

    def _log(self, values: Callable[[], dict[str, Any]]) -> None:
        if not self._broken:
            self._try(lambda: self._run.log(values()))

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            if not self._broken:
                self._say(f"W&B stopped working ({_in_one_line(error)}); the run goes on without it")
            self._broken = True


def _in_one_line(error: Exception) -> str:
    """What an error says first, and if it says nothing, its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or left by ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    base_url = wandb.Settings().base_url
    hosts = [urlsplit(base_url).netloc]
    if base_url == wandb.Settings.model_fields["base_url"].default:
        hosts.append(_SERVICE_BEFORE_IT_MOVED)  # W&B takes a key that was left for it there, too
    try:
        logins = netrc(os.environ.get("NETRC"))
        return any(logins.authenticators(host) for host in hosts)
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
