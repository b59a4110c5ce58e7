"""Checkpoints are written behind training's back, one at a time, and nobody believes in one that is not there.

Every process saves at the same step. First each makes its ledger durable, and rank zero the records, for a checkpoint
vouches for both up to its step; when all have, rank zero copies the state to host memory and training goes on, while
a thread of rank zero writes the copy, puts it on the disk, renames it into place and clears up. The next save, the
end of the run, an interrupt and an error wait for that thread.

A checkpoint that cannot be written is told in one line. Training goes on, what was there stays, and the next one is
tried in its turn; only a last one that is not there ends the run as a mistake. Whether one was written all processes
learn when the next is saved: until then none of them relies on it.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from aedist.checkpoint import Tensors, keep, save_checkpoint
from aedist.errors import ToldByRankZero, UserError
from aedist.place import Place
from aedist.tracking.tracker import Tracker
from aedist.training.ledger import Ledger
from aedist.training.state import TrainState

_Best = tuple[int | None, float | None]


class CheckpointWriter:
    """Saves the state of a run in the background. All processes call the same methods in the same order."""

    def __init__(
        self,
        folder: Path,
        keep_last: int,
        state: TrainState,
        ledger: Ledger,
        tracker: Tracker,
        place: Place,
        say: Callable[[str], None],
        run_id: str | None = None,
    ) -> None:
        """``run_id`` is kept in every checkpoint: whoever goes on from it goes on with that run."""
        self._facts = {} if run_id is None else {"run_id": run_id}
        self._folder, self._keep_last = folder, keep_last
        self._state, self._ledger, self._tracker, self._place, self._say = state, ledger, tracker, place, say
        self._newest = state.progress.step
        """The step of the newest checkpoint that is known to be there; 0 if there is none."""
        self._best: _Best = (state.progress.best_step, state.progress.best_value)
        """The step and value of the best evaluation whose checkpoint is known to be there."""
        self._under_way: tuple[int, _Best] | None = None
        self._thread: Thread | None = None
        self._problem: str | None = None
        self._fault: BaseException | None = None

    def save(self) -> None:
        """Checkpoint the state as it is. Returns when it is copied, which waits for the checkpoint before."""
        self._ledger.flush()
        self._tracker.sync()
        self._place.wait_for_all()
        self._settle()
        progress = self._state.progress
        self._under_way = progress.step, (progress.best_step, progress.best_value)
        if self._place.is_zero:
            what = (progress.step, self._state.tensors(), self._state.numbers() | self._facts, progress.best_step)
            self._thread = Thread(target=self._write, args=what, name="checkpoint")
            self._thread.start()

    def finish(self) -> None:
        """Wait for the last checkpoint.

        Raises:
            ToldByRankZero: on all processes, if it could not be written.
        """
        problem = self._settle()
        if problem is not None:
            kept = f"the newest checkpoint is of step {self._newest:,}" if self._newest else "there is no checkpoint"
            raise ToldByRankZero(
                f"{problem}; training came to step {self._state.progress.step:,}, but {kept}; "
                f"the same command goes on from there"
            )

    def close(self) -> None:
        """Let a write under way come to its end, whatever ended the run: without the other processes."""
        if self._thread is not None:
            self._thread.join()

    def _settle(self) -> str | None:
        """Wait for the write under way, if any. Returns why it failed, the same on all processes."""
        if self._under_way is None:
            return None
        problem = self._place.from_rank_zero(self._join)
        (step, best), self._under_way = self._under_way, None
        progress = self._state.progress
        if problem is None:
            self._newest, self._best = step, best
        elif progress.best_step == step:  # its weights are gone: the best one is the best that is there
            progress.best_step, progress.best_value = self._best
        return problem

    def _join(self) -> str | None:
        """Rank zero's part of settling."""
        self._place.watch.doing("waits for the checkpoint before to be written")
        self.close()
        self._thread = None
        if self._fault is not None:
            raise self._fault
        problem, self._problem = self._problem, None
        return problem

    def _write(self, step: int, tensors: Tensors, numbers: dict[str, Any], best_step: int | None) -> None:
        """In the thread: write, then remove what is not kept."""
        try:
            save_checkpoint(self._folder, step, tensors, numbers)
        except UserError as error:
            self._problem = str(error)
            self._say(f"{error}; training goes on, and the next checkpoint is tried in its turn")
            return
        except BaseException as fault:  # raised where it is waited for
            self._fault = fault
            return
        try:
            keep(self._folder, self._keep_last, best_step)
        except OSError as error:
            self._say(f"{self._folder}: an old checkpoint cannot be removed ({error.strerror or error})")
