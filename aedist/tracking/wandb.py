"""A run in Weights & Biases: opened, told rows, evaluations and models, finished. Nothing else knows the library.

What is done here may take as long as the network takes, so it is never done in a training process (``apart``).

One W&B run has one id for all attempts. Online it is resumed: W&B says which step it has got to, and is told the
rows after it, so its steps strictly increase and no row comes twice, whatever was interrupted when. Offline, W&B does
not know what earlier pieces hold, and to send two pieces under one id may lose the first: so each piece holds the run
from its beginning. The x axis is images seen.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import wandb

from aedist.tracking.rows import Row
from aedist.tracking.words import HIGHER_IS_BETTER

_SERVICE_BEFORE_IT_MOVED = "api.wandb.ai"
_INIT_SECONDS = 10.0
_RETRIES, _LONGEST_RETRY_SECONDS = 3, 2.0
"""Of a request; whoever opens the run tries again anyway."""


@dataclass(frozen=True)
class Account:
    """What a run is filed under."""

    id: str
    name: str
    project: str
    group: str | None = None
    tags: Sequence[str] = ()


class NotDone(Exception):
    """W&B did not do what it was asked; the message says why, in one line."""


def mode_of(asked: str) -> Literal["online", "offline"]:
    """What ``track.wandb`` comes to: auto is online where there is a key."""
    return "online" if asked == "online" or (asked == "auto" and has_key()) else "offline"


def server() -> str:
    """The address of the server that W&B would tell: by the environment, its files of settings, or its own."""
    settings = wandb.Settings()
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    return settings.base_url


def has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or left by ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    base_url = server()
    hosts = [urlsplit(base_url).netloc]
    if base_url == wandb.Settings.model_fields["base_url"].default:
        hosts.append(_SERVICE_BEFORE_IT_MOVED)  # W&B takes a key that was left for it there, too
    try:
        logins = netrc(os.environ.get("NETRC"))
        return any(logins.authenticators(host) for host in hosts)
    except (OSError, NetrcParseError):
        return False


class WandbRun:
    """An open run."""

    def __init__(self, run: wandb.Run, mode: str) -> None:
        self._run, self.mode = run, mode
        self.first_step = run.starting_step
        """Rows before it W&B has."""
        self._next_step = self.first_step
        """Where what has no step of its own goes: behind the last row."""
        self._known = set[str]()
        self._define("images", None)
        self._define("full_evaluation/*", "full_evaluation/images")
        self._define("*", "images")

    @property
    def url(self) -> str | None:
        """Where it can be looked at, if it is online."""
        return self._run.url if self.mode == "online" else None

    @property
    def piece(self) -> Path:
        """The folder in which the library keeps what it was told."""
        return Path(self._run.settings.sync_dir)

    def tell(self, row: Row) -> bool:
        """Tell a row, unless W&B has its step. Returns whether it was told.

        An evaluation that an earlier attempt left out is told, although that attempt told of its step.
        """
        if row.step < self.first_step and not (row.is_made_up_for and row.step == self.first_step - 1):
            return False
        with _in_one_line():
            for name in row.values:
                if name.startswith("best/") and name not in self._known:
                    best = "max" if name.removeprefix("best/") in HIGHER_IS_BETTER else "min"
                    self._define(name, "images", best)
            values: dict[str, Any] = dict(row.values)
            for name, one in row.histograms.items():
                values[name] = _histogram(one)
            for name, path in row.pictures.items():
                values[f"pictures/{name}"] = wandb.Image(str(path))
            self._log(values, row.step)
        return True

    def tell_evaluation(
        self,
        numbers: dict[str, float],
        pictures: Sequence[Path] = (),
        table: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Tell an evaluation of a checkpoint, behind whatever was told, on an axis of its own.

        Args:
            numbers: with ``images``, where the checkpoint stands.
            pictures: of it.
            table: rows of equal names; a ``Path`` is a picture.
        """
        with _in_one_line():
            values: dict[str, Any] = {f"full_evaluation/{name}": value for name, value in numbers.items()}
            for path in pictures:
                values[f"full_evaluation/{path.stem}"] = wandb.Image(str(path))
            if table:
                rows: list[Any] = [[_shown(one) for one in row.values()] for row in table]
                values["full_evaluation/best_median_worst"] = wandb.Table(columns=list(table[0]), data=rows)
            self._log(values, self._next_step)

    def tell_folder(self, name: str, kind: str, folder: Path, aliases: Sequence[str]) -> None:
        """Keep a folder as an artifact."""
        with _in_one_line():
            artifact = wandb.Artifact(f"{name}-{self._run.id}", type=kind)
            artifact.add_dir(str(folder), policy="immutable")
            self._run.log_artifact(artifact, aliases=list(aliases))

    def finish(self, exit_code: int, *, interrupted: bool = False) -> None:
        """End the run, when W&B has everything.

        Raises:
            NotDone: if it has not, within the seconds it was opened with.
        """
        with _in_one_line():
            if interrupted:
                self._run.mark_preempting()
            self._run.finish(exit_code=exit_code)

    def _log(self, values: dict[str, Any], step: int) -> None:
        """Log a row that is whole, so that W&B need not wait for more of it."""
        step = max(step, self._next_step)
        self._run.log(values, step=step, commit=True)
        self._next_step = step + 1

    def _define(self, name: str, axis: str | None, summary: str | None = None) -> None:
        self._known.add(name)
        self._run.define_metric(name, step_metric=axis, summary=summary)


def open_wandb(
    mode: Literal["online", "offline"],
    folder: Path,
    account: Account,
    config: dict[str, Any],
    *,
    finish_seconds: float,
    training_process: int | None = None,
) -> WandbRun:
    """Open a run, or go on with it.

    Args:
        mode: whether W&B is on the network, or in ``folder/wandb`` until somebody sends it.
        folder: the run's.
        account: what it is filed under.
        config: what it is made from; one that is there already is replaced.
        finish_seconds: how long it may take to finish.
        training_process: whose memory and threads W&B watches; None where nothing is to be watched.

    Raises:
        NotDone: if it cannot be opened.
    """
    settings: dict[str, Any] = {"x_stats_pid": training_process} if training_process else {"x_disable_stats": True}
    with _in_one_line():
        run = wandb.init(
            mode=mode,
            dir=folder,
            id=account.id,
            name=account.name,
            project=account.project,
            group=account.group,
            tags=tuple(account.tags),
            config=config,
            allow_val_change=True,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                init_timeout=_INIT_SECONDS,
                finish_timeout=finish_seconds,
                finish_timeout_raises=True,
                x_graphql_retry_max=_RETRIES,
                x_graphql_retry_wait_max_seconds=_LONGEST_RETRY_SECONDS,
                silent=True,
                console="off",
                **settings,
            ),
        )
        return WandbRun(run, mode)


def abandon() -> None:
    """Leave what could not be finished, so that another run can be opened."""
    with suppress(Exception):
        wandb.teardown()


@contextmanager
def _in_one_line() -> Generator[None]:
    """Whatever W&B raises, as ``NotDone``."""
    try:
        yield
    except Exception as error:
        raise NotDone(next(iter(str(error).splitlines()), type(error).__name__)) from error


def _histogram(one: dict[str, Any]) -> wandb.Histogram:
    edges = np.linspace(one["low"], one["high"], len(one["counts"]) + 1)
    return wandb.Histogram(np_histogram=(np.array(one["counts"]), edges))


def _shown(one: Any) -> Any:
    return wandb.Image(str(one)) if isinstance(one, Path) else one
