"""``aedist sync RUN``: W&B gets from the run's directory whatever it lacks.

W&B says how far it has come, under the run's one id; the rows after that are read from ``metrics.jsonl`` and told in
one go, with their pictures, the evaluations and the artifacts. Nothing that W&B has is taken away or told twice, and
the steps strictly increase, whatever was offline, interrupted or lost.
"""

from collections.abc import Callable
from pathlib import Path

from aedist.errors import CannotWrite, UserError
from aedist.lease import holder
from aedist.progress import now_and_then
from aedist.rundir import find_run
from aedist.tracking.rows import read_rows
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
from aedist.tracking.wandb import NotDone, abandon, has_key, open_wandb

_FINISH_SECONDS = 1800.0


def sync_run(folder: Path, say: Callable[[str], None]) -> list[str]:
    """Have W&B hold all of a run.

    Args:
        folder: the run's.
        say: told how far it is.

    Returns:
        What was done, in lines.

    Raises:
        UserError: if there is no such run, it is being trained, or W&B cannot be reached or lacks a key.
    """
    find_run(folder)
    run, config = load_facts(folder)
    trainer = holder(run.lock)
    if trainer is not None:
        raise UserError(f"{folder}: is being trained by {trainer}, which tells W&B itself; sync it when that has ended")
    if not has_key():
        raise UserError("WANDB_API_KEY: is not set, and there is no login of W&B; set it, or run: wandb login")
    account, progress = account_of(run, config), now_and_then(say)
    with CannotWrite.instead_of_os_errors(folder):
        told = begin_to_tell(run)
    try:
        say(f"opening {account.project}/{account.id} in W&B")
        wandb_run = open_wandb("online", folder, account, facts_of(run, config), finish_seconds=_FINISH_SECONDS)
        first, sent, pictures, last = wandb_run.first_step, 0, 0, 0
        for row in read_rows(folder):
            last = row.step
            if wandb_run.tell(row):
                sent, pictures = sent + 1, pictures + len(row.pictures)
                progress(f"told W&B of step {row.step:,}")
        already = told.evaluations if first else 0
        evaluations = tell_evaluations(wandb_run, run, already)
        artifacts = tell_artifacts(wandb_run, run, config) if not told.is_complete else []
        say("waiting for W&B to have it")
        wandb_run.finish(0)
    except NotDone as error:
        abandon()
        raise UserError(
            f"W&B: {' '.join(str(error).split())}; nothing of the run is lost, the same command goes on from there"
        ) from error
    write_told(run, Told(True, evaluations, wandb_run.url))
    pieces = offline_pieces(run, account)
    remove_pieces(pieces)
    return _in_words(folder, first, sent, pictures, last, evaluations - already, artifacts, len(pieces), wandb_run.url)


def _in_words(
    folder: Path,
    first: int,
    sent: int,
    pictures: int,
    last: int,
    evaluations: int,
    artifacts: list[str],
    pieces: int,
    url: str | None,
) -> list[str]:
    had = f"W&B had its steps before {first:,}" if first else "W&B had nothing of it"
    also = [f"{evaluations} evaluations"] * bool(evaluations) + artifacts
    lines = [
        f"{folder}: {had}; sent {sent:,} rows up to step {last:,} with {pictures:,} pictures"
        + (f", and {', '.join(also)}" if also else ""),
    ]
    if pieces:
        lines.append(f"removed {pieces} offline {'copy' if pieces == 1 else 'copies'}, which W&B now has")
    return lines + ([url] if url else [])
