"""The evaluation during training: the whole pass at its cadence, the same pictures each time, the best step.

What is evaluated is the weights' moving average where the run keeps one. A variational model also draws samples, from
the same noise each time. With ``evaluate.in_training: networks`` LPIPS, FID and KID are measured too: every process
looks at its share of the images, and rank zero compares them.

It may take longer than a run that is asked to stop has left. Then it is left out on all processes, the state is
checkpointed as it was before it, and the run begins with it when it goes on: nothing else is different afterwards.
"""

from collections.abc import Callable
from math import isfinite, prod
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from aedist.config import Config, Data
from aedist.data.loader import Split
from aedist.data.plan import Plan
from aedist.data.store import ShardStore
from aedist.errors import LeftOut
from aedist.evaluation.gather import EvaluationPlan, Rows
from aedist.evaluation.measures.distances import compare
from aedist.evaluation.networks import Networks, features, lpips_metric, open_networks, plan_of_features
from aedist.evaluation.pictures.showcase import classes_in_turn, prior_samples, reconstructions
from aedist.evaluation.run import Batches, Measure, Seen, evaluate, pixel_metrics, rates, read_batches
from aedist.models.output import is_variational
from aedist.noise import keyed_normal
from aedist.pictures import save_picture
from aedist.place import Place
from aedist.rundir import RunDir
from aedist.tracking.tracker import Record, Tracker
from aedist.training.histograms import histograms
from aedist.training.state import TrainState

_SHOWN = 3  # what a key is for
_NUM_SAMPLES = 18  # as the notebook draws


def networks_in_training(
    config: Config, channels: int, cache: Path, place: Place, say: Callable[[str], None]
) -> Networks | None:
    """What the evaluations in training look with besides, where that is asked for; what is missing is told."""
    if config.evaluate.in_training == "images":
        return None
    wants_fid = config.evaluate.fid_images != 0
    networks = open_networks(place, cache, config.evaluate.lpips_net, channels, wants_fid=wants_fid)
    for metric, told in networks.missing.items():
        say(f"evaluate.in_training: {metric} is left out: {told['reason']}; to have it: {told['fix']}")
    return networks


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
        networks: Networks | None = None,
        is_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._split, self._plan, self._place, self._state = split, plan, place, state
        self._tracker, self._run, self._seed, self._is_asked = tracker, run, config.run.seed, is_asked
        self._latent: Tensor | None = None
        """Encodings of this process's first batch, in the evaluation under way."""
        self._measures: list[Measure] = [pixel_metrics, rates, self._note_latent]
        if networks is not None and networks.lpips is not None:
            self._measures.append(lpips_metric(networks.lpips, config.evaluate.lpips_net))
        self._inception = networks.inception if networks is not None else None
        num_images = min(config.evaluate.images or split.index.num_samples, split.index.num_samples)
        self._store = ShardStore(split.folder, split.index)  # one for all pictures: each proves its shards anew
        self._evaluation = EvaluationPlan(num_images, config.evaluate.batch)
        num_compared = num_images if config.evaluate.fid_images is None else config.evaluate.fid_images
        self._compared = plan_of_features(min(num_compared, num_images), config.evaluate.batch)
        self._workers = config.data.workers
        self._keep = config.data.mode != "stream" and self._fits_beside_training(config.data)
        self._kept: list[tuple[tuple[int, int], torch.Tensor]] | None = None

    def __call__(self) -> bool:
        """Measure, record, draw. Returns whether the state is to be kept for it.

        It is if this is the lowest mean squared error so far, or if a stop left the evaluation out, which is then owed.
        """
        progress = self._state.progress
        try:
            means = self._means()
        except LeftOut:
            progress.owes_evaluation = True
            return True
        progress.metrics, progress.owes_evaluation = means, False
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
                "histograms": histograms(self._state, self._latent),
            }
            self._tracker.record(record)
            self._draw(record)
        return is_best

    def _means(self) -> dict[str, float | None]:
        """The mean of each metric, the same on every process; None where it is not a number."""
        model, place, self._latent = self._state.usable, self._place, None
        batches = self._kept or read_batches(self._split, self._evaluation, place, self._workers)
        if self._keep and self._kept is None:
            batches = self._keeping(batches)
        rows = evaluate(model, self._until_asked(batches), self._evaluation, place, self._measures)
        seen = dict[str, Tensor]()
        if self._inception is not None:
            again = read_batches(self._split, self._compared, place, self._workers)
            seen = evaluate(model, self._until_asked(again), self._compared, place, [features(self._inception)])

        def reduce() -> dict[str, float | None]:
            means = {name: _finite(float(values.numpy().mean())) for name, values in rows.items()}
            if seen:
                compared = compare(seen["originals"], seen["reconstructions"], self._seed)
                means |= {"rfid": compared["fid"], "rkid": compared["kid"]["mean"]}
            return means

        return place.from_rank_zero(reduce)

    def _note_latent(self, seen: Seen) -> Rows:
        if self._latent is None:
            self._latent = seen.output.latent
        return {}

    def _until_asked(self, batches: Batches) -> Batches:
        for batch in batches:
            if self._is_asked():
                raise LeftOut
            yield batch

    def _keeping(self, batches: Batches) -> Batches:
        kept = list[tuple[tuple[int, int], Tensor]]()
        for batch in batches:
            kept.append(batch)
            yield batch
        self._kept = kept

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


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
