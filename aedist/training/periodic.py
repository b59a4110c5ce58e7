"""The evaluation during training: the whole pass at its cadence, the same pictures each time, the best step.

What is evaluated is the weights' moving average where the run keeps one. A variational model also draws samples, from
the same noise each time.
"""

from math import prod

import torch
from PIL.Image import Image

from aedist.config import Config, Data
from aedist.data.loader import Split
from aedist.data.plan import Plan
from aedist.data.store import ShardStore
from aedist.evaluation.run import EvaluationPlan, evaluate, read_batches, summarise
from aedist.evaluation.showcase import classes_in_turn, prior_samples, reconstructions
from aedist.models.output import is_variational
from aedist.noise import keyed_normal
from aedist.pictures import save_picture
from aedist.place import Place
from aedist.rundir import RunDir
from aedist.tracking.tracker import Record, Tracker
from aedist.training.state import TrainState

_SHOWN = 3  # what a key is for
_NUM_SAMPLES = 18  # as the notebook draws


class PeriodicEvaluation:
    """Evaluates the model as it is, whenever it is called.

    This process's images are read once and kept, if they fit beside the training images; else they are read
    again each time.
    """

    def __init__(
        self,
        config: Config,
        split: Split,
        plan: Plan,
        place: Place,
        state: TrainState,
        tracker: Tracker,
        run: RunDir,
    ) -> None:
        self._split, self._plan, self._place, self._state = split, plan, place, state
        self._tracker, self._run, self._seed = tracker, run, config.run.seed
        num_images = min(config.evaluate.images or split.index.num_samples, split.index.num_samples)
        self._store = ShardStore(split.folder, split.index)  # one for all pictures: each proves its shards anew
        self._evaluation = EvaluationPlan(num_images, config.evaluate.batch)
        self._workers = config.data.workers
        self._keep = config.data.mode != "stream" and self._fits_beside_training(config.data)
        self._kept: list[tuple[tuple[int, int], torch.Tensor]] | None = None

    def __call__(self) -> bool:
        """Measure, record, draw. Returns whether this is the lowest mean squared error so far."""
        progress, model = self._state.progress, self._state.usable
        batches = self._kept or read_batches(self._split, self._evaluation, self._place, self._workers)
        if self._keep and self._kept is None:
            batches = self._kept = list(batches)
        metrics = evaluate(model, batches, self._evaluation, self._place)
        means = {name: summarise(values)["mean"] for name, values in metrics.items()}
        progress.metrics = means
        error = means["mse"]
        is_best = error is not None and (progress.best_value is None or error < progress.best_value)
        if is_best:
            progress.best_step, progress.best_value = progress.step, error
        if self._place.is_zero:
            record: Record = {
                "kind": "evaluation",
                "step": progress.step,
                "images": progress.step * self._plan.images_per_step,
                "epoch": progress.step / self._plan.steps_per_epoch,
                "split": self._split.index.split,
                "num_images": self._evaluation.num_images,
                "metrics": means,
                "best": is_best,
            }
            self._tracker.record(record)
            self._draw(record)
        return is_best

    def _fits_beside_training(self, data: Data) -> bool:
        """Whether this process's images fit the budget together with the training images, where those are kept."""
        image_bytes = prod(self._split.index.image_shape)
        training_bytes = self._plan.num_samples * image_bytes
        batches = self._evaluation.batches(self._place.rank, self._place.world)
        own_bytes = sum(last - first for first, last in batches) * image_bytes
        return own_bytes + (training_bytes if training_bytes <= data.memory else 0) <= data.memory

    def _draw(self, record: Record) -> None:
        model, device = self._state.usable, self._place.device
        ids = classes_in_turn(self._store)
        self._show("reconstructions", reconstructions(model, device, self._store, ids), record)
        if is_variational(model):
            noise = keyed_normal((_NUM_SAMPLES, *model.noise_shape), _SHOWN, self._seed)
            self._show("samples", prior_samples(self._state.usable, noise), record)

    def _show(self, name: str, picture: Image, record: Record) -> None:
        path = save_picture(picture, self._run.images / name / f"step-{self._state.progress.step:09d}.png")
        self._tracker.picture(name, path, record)
