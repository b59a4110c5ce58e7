"""Where a run goes, told once before its first step, so that its progress can be shown."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aedist.tracking.tracker import Record


@dataclass(frozen=True)
class Outlook:
    """The length of a run, what happens how often in it, and where it stands when this process begins."""

    run: Path
    title: str
    images_per_step: int
    steps_per_epoch: int
    last_step: int
    evaluate_steps: int
    checkpoint_steps: int
    first_step: int = 0
    """The step after which it goes on."""
    attempt: int = 1
    world: int = 1
    device: str = "cpu"
    earlier: tuple[Record, ...] = ()
    """Evaluations of earlier attempts, oldest first."""
    best_error: float | None = None
    """The lowest mean squared error before this attempt, which ``earlier`` may not go back to."""
    step: Callable[[], int] = lambda: 0
    """The step that is being done now, counted from 1; asked by whoever shows it, at any moment."""
    at: Callable[[], str] = lambda: ""
    """What the process is at, in words."""

    @property
    def total_images(self) -> int:
        """How many images the run sees in all."""
        return self.last_step * self.images_per_step

    @property
    def total_epochs(self) -> float:
        """How many epochs that is."""
        return self.last_step / self.steps_per_epoch

    def next_after(self, step: int, every: int) -> int:
        """The first step after ``step`` behind which something happens that comes ``every`` so many, and at the end."""
        return min(self.last_step, (step // every + 1) * every)
