"""What is asked of one evaluation, settled before any image is read: the model, how many images of what, and with what.

Then the passes over images and samples, which all processes take part in, in the same order. What they measured comes
together on rank zero as ``Measured``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from aedist.data.loader import Split, cut, read_stretches
from aedist.data.store import ShardStore
from aedist.density import Density
from aedist.errors import UserError
from aedist.evaluation.costs import Costs
from aedist.evaluation.gather import EvaluationPlan, Rows
from aedist.evaluation.generation import (
    encode_for_fits,
    features_of_draws,
    fit_densities,
    latent_numbers,
    latent_shape,
)
from aedist.evaluation.measures import baselines
from aedist.evaluation.measures.baselines import Baselines
from aedist.evaluation.measures.metrics import measure
from aedist.evaluation.networks import Networks, features, lpips_distance, lpips_metric, open_networks, plan_of_features
from aedist.evaluation.run import Measure, Seen, encodings, evaluate, pixel_metrics, rates, read_batches, telling
from aedist.trained import Trained, open_another_split


@dataclass(frozen=True)
class Job:
    """One evaluation."""

    trained: Trained
    plan: EvaluationPlan
    """The images that are measured one by one."""
    compared: EvaluationPlan
    """The images, and as many samples, whose features are compared."""
    store: ShardStore
    """One for all that looks at single images: each proves its shards anew."""
    fit_split: Split
    num_fitted: int
    """The first so many images of ``fit_split`` are what baselines, densities and the probe are fitted to."""
    networks: Networks
    costs: Costs
    say: Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What all processes measured together; on rank zero alone it is filled."""

    rows: Mapping[str, Tensor]
    """By image: metrics, encodings, and the baselines' metrics as ``NAME/METRIC``."""
    fitted: Mapping[str, Tensor]
    """Encodings of the images that are fitted to."""
    features: Mapping[str, Tensor]
    """float32 (n, 2048) of originals, reconstructions and samples of each density."""
    baselines: Baselines | None
    densities: Mapping[str, Density]
    without: list[str] = field(default_factory=list)
    """A sentence for each density that could not be had."""


def plan_job(trained: Trained, num_images: int | None, cache: Path, say: Callable[[str], None]) -> Job:
    """What an evaluation will do.

    Raises:
        UserError: if a number is out of range, or the training split is not there.
    """
    if num_images is not None and num_images < 0:
        raise UserError(f"--images: {num_images} is refused: it must be 0 or more; leave it out to evaluate all")
    config, wanted = trained.config.evaluate, trained.split.index
    total = wanted.num_samples
    number = min(total if config.images is None else config.images, total)
    if num_images is not None:
        number = min(num_images, total)
    compared = min(number, number if config.fid_images is None else config.fid_images)
    fit_split = open_another_split(trained, trained.config.data.split)
    in_split = fit_split.index.num_samples
    networks = open_networks(
        trained.place, cache, config.lpips_net, wanted.image_shape[2], wants_fid=config.fid_images != 0
    )
    return Job(
        trained,
        EvaluationPlan(number, config.batch),
        plan_of_features(compared, config.batch),
        ShardStore(trained.split.folder, wanted),
        fit_split,
        min(in_split, config.fit_images or in_split) if number else 0,
        networks,
        Costs(trained.place.device),
        say,
    )


def measure_all(job: Job) -> Measured:
    """All passes, on every process."""
    trained, costs, say = job.trained, job.costs, job.say
    fitted = _fit_pass(job)
    found = _fit_baselines(job)
    measures: list[Measure] = [pixel_metrics, rates, encodings]
    if job.networks.lpips is not None:
        measures.append(lpips_metric(job.networks.lpips, trained.config.evaluate.lpips_net))
    if found is not None:
        measures.append(_baseline_metrics(job, found))
    split = trained.split
    say(f"measuring {job.plan.num_images:,} images of {split.index.name}/{split.index.split}")
    rows = _pass(job, job.plan, measures)
    seen, densities, without = dict[str, Tensor](), dict[str, Density](), list[str]()
    if job.networks.inception is not None and job.compared.num_images:
        say(f"comparing the features of {job.compared.num_images:,} images and their reconstructions")
        seen |= _pass(job, job.compared, [features(job.networks.inception)])
    if job.plan.num_images:
        shape, seed = latent_shape(trained), trained.config.run.seed

        def fit() -> tuple[dict[str, Density], list[str]]:
            with costs.of("fitting densities"):
                return fit_densities(trained, fitted.get("encodings"), latent_numbers(trained), seed, say)

        densities, without = trained.place.from_rank_zero(fit)
        if job.networks.inception is not None and job.compared.num_images:
            for name, density in densities.items():
                say(f"drawing {job.compared.num_images:,} samples: {name}")
                drawn = features_of_draws(
                    trained, density, job.compared, shape, job.networks.inception, seed, costs, say
                )
                if drawn is not None:
                    seen[name] = drawn
    return Measured(rows, fitted, seen, found, densities, without)


def _pass(job: Job, plan: EvaluationPlan, measures: list[Measure]) -> dict[str, Tensor]:
    trained = job.trained
    batches = read_batches(trained.split, plan, trained.place, trained.config.data.workers)
    return evaluate(trained.model, telling(batches, plan, job.say), plan, trained.place, measures, job.costs)


def _fit_pass(job: Job) -> dict[str, Tensor]:
    if not job.num_fitted:
        return {}
    index = job.fit_split.index
    job.say(f"encoding {job.num_fitted:,} of {index.num_samples:,} images of {index.name}/{index.split}")
    return encode_for_fits(job.trained, job.fit_split, job.num_fitted, job.costs)


def _fit_baselines(job: Job) -> Baselines | None:
    """Fitted on rank zero, and given to all."""
    if not job.num_fitted:
        return None
    trained, index = job.trained, job.fit_split.index
    numbers = latent_numbers(trained)

    def fit() -> Baselines:
        job.say(f"fitting PCA of {numbers:,} components to {job.num_fitted:,} images")
        stretches = cut(0, job.num_fitted, trained.config.evaluate.batch)
        images = (images for _, images in read_stretches(job.fit_split, stretches, trained.config.data.workers))
        with job.costs.of("fitting PCA"):
            return baselines.fit(images, job.num_fitted, index.image_shape, numbers)

    return trained.place.from_rank_zero(fit)


def _baseline_metrics(job: Job, found: Baselines) -> Measure:
    """Each metric of each baseline's reconstruction of an image, as ``NAME/METRIC``."""
    lpips = job.networks.lpips
    look = None if lpips is None else lpips_distance(lpips, job.trained.config.evaluate.lpips_net)

    def distance(images_bhwc: Tensor, reconstruction_bhwc: Tensor) -> Tensor:
        assert look is not None  # noqa: S101 (only called where it is there)
        with job.costs.of("LPIPS"):
            return look(images_bhwc, reconstruction_bhwc)

    def metric(seen: Seen) -> Rows:
        with seen.costs.of("baselines"):
            return baselines.measure(found, seen.images_bhwc, measure, distance if look else None)

    return metric


def facts_of_place(job: Job) -> dict[str, Any]:
    """Which machine did it, for ``costs.json``."""
    place = job.trained.place
    return {"world": place.world, "device": str(place.device)}
