"""Telling W&B of a run while it goes on, from a process of its own (``follow``).

It reads what training writes and has nothing else to do with it, so that W&B, dead, slow or broken, costs no step
anything; and what could not be told yet still lies in the files, however much it is. Where W&B does not answer it tries
again and again. It ends when it is told to, or when whoever started it is gone.
"""

import json
import os
import select
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aedist.config import Config
from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, UserError
from aedist.rundir import RunDir
from aedist.tracking.rows import Rows, Tail
from aedist.tracking.synced import Told, begin_to_tell, write_told
from aedist.tracking.telling import (
    account_of,
    facts_of,
    load_facts,
    offline_pieces,
    remove_pieces,
    tell_artifacts,
    tell_evaluations,
)
from aedist.tracking.wandb import NotDone, WandbRun, abandon, mode_of, open_wandb

FINISH_SECONDS = 45.0
"""How long W&B may take for what is left when the run has ended."""
_LOOK_SECONDS, _AGAIN_SECONDS = 0.5, 30.0


@dataclass
class Starter:
    """Whoever started this process."""

    requests: IO[str]
    answers: IO[str]
    process: int
    exit_code: int | None = None
    """How its run ended, when it has."""

    def wait(self, seconds: float) -> bool:
        """Wait until the run has ended, or so long. Returns whether it has."""
        if self.exit_code is None and select.select([self.requests], [], [], seconds)[0]:
            line = self.requests.readline().strip()
            self.exit_code = int(line) if line else EXIT_FAULT
        if self.exit_code is None and os.getppid() != self.process:
            self.exit_code = EXIT_FAULT
        return self.exit_code is not None

    def say(self, **answer: Any) -> None:
        """Answer, unless nobody is there."""
        with suppress(OSError):
            print(json.dumps(answer), file=self.answers, flush=True)


def follow(folder: Path, asked_mode: str, task: str, starter: Starter) -> None:
    """Tell W&B of a run until it ends.

    Args:
        folder: the run's.
        asked_mode: ``track.wandb``.
        task: ``train``, or ``evaluate`` where the run itself does not go on.
        starter: who wants it.
    """
    mode, has_complained, has_ended = mode_of(asked_mode), False, False
    while True:
        is_open = False
        try:
            run, config = load_facts(folder)
            told = begin_to_tell(run)
            wandb_run = _open(run, config, mode, starter.process if task == "train" else None)
            is_open = True
            starter.say(connected=True, mode=mode, url=wandb_run.url)
            _tell(wandb_run, run, config, told, starter)
        except (NotDone, OSError, UserError) as error:
            if not has_complained:
                starter.say(problem=" ".join(str(error).split())[:300])
            has_complained = True
            abandon()
            if mode == "offline" or has_ended:
                return
            has_ended = starter.wait(_AGAIN_SECONDS)
            if has_ended and not is_open:  # else once more: a SIGTERM to all of a job ends what W&B runs by itself
                return
        else:
            return


def _open(run: RunDir, config: Config, mode: Any, training_process: int | None) -> WandbRun:
    account, facts = account_of(run, config), facts_of(run, config)
    return open_wandb(mode, run.path, account, facts, finish_seconds=FINISH_SECONDS, training_process=training_process)


def _tell(wandb_run: WandbRun, run: RunDir, config: Config, told: Told, starter: Starter) -> None:
    """Tell everything until the run has ended, then finish."""
    older = offline_pieces(run, account_of(run, config))
    rows, tail = Rows(run.path), Tail(run.metrics)
    has_ended = False
    while not has_ended:
        has_ended = starter.wait(_LOOK_SECONDS)  # asked first: what was written before the end is then read
        for record in tail.new():
            row = rows.add(record)
            if row is not None:
                wandb_run.tell(row)
    row = rows.rest()
    if row is not None:
        wandb_run.tell(row)
    evaluations = tell_evaluations(wandb_run, run, told.evaluations if wandb_run.first_step else 0)
    exit_code = EXIT_FAULT if starter.exit_code is None else starter.exit_code
    if exit_code == 0:
        tell_artifacts(wandb_run, run, config)
    piece, url, is_online = wandb_run.piece, wandb_run.url, wandb_run.mode == "online"
    wandb_run.finish(exit_code, interrupted=exit_code == EXIT_INTERRUPTED)
    write_told(run, Told(is_online, evaluations, url))
    remove_pieces(older, but=piece)
    starter.say(done=True)
