"""The pictures of an evaluation, drawn by rank zero: what the numbers are about."""

from pathlib import Path

import torch
from PIL.Image import Image

from aedist.density import Density
from aedist.evaluation.generation import DEFINITIONS as DENSITIES
from aedist.evaluation.generation import decode_draws, describe, latent_shape
from aedist.evaluation.job import Job, Measured
from aedist.evaluation.measures.latents import active_units
from aedist.evaluation.pictures.chart import Chart, save_chart
from aedist.evaluation.pictures.figures import histograms, kl_bars
from aedist.evaluation.pictures.latentmap import latent_map
from aedist.evaluation.pictures.showcase import (
    classes_in_turn,
    columns,
    reconstructions,
    samples,
    spread,
    where_errors_are,
)
from aedist.evaluation.record import OF_IMAGES, labels_of
from aedist.pictures import save_picture

_SAMPLE_ROWS = 4
_TITLES = {
    "reconstructions": "the first images of each class in turn",
    "best": "the lowest mean squared errors",
    "median": "the middle mean squared errors",
    "worst": "the highest mean squared errors",
}


_NAMES = (*_TITLES, "errors", "histograms", "latents", "kl", *(f"samples_{name}" for name in DENSITIES))


def draw_pictures(job: Job, measured: Measured) -> list[Path]:
    """Draw and save every picture; those of an earlier evaluation that this one does not have are removed.

    Returns:
        the files.
    """
    folder, made = job.trained.run.evaluation, dict[str, Image | Chart]()
    if job.plan.num_images:
        made |= _of_images(job, measured) | _of_encodings(job, measured)
    for name, density in measured.densities.items():
        made[f"samples_{name}"] = _samples(job, name, density)
    for name in set(_NAMES) - made.keys():
        for suffix in ("png", "svg"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return [_save(drawn, folder / f"{name}.png") for name, drawn in made.items()]


def _save(drawn: Image | Chart, path: Path) -> Path:
    return save_chart(drawn, path) if isinstance(drawn, Chart) else save_picture(drawn, path)


def _of_images(job: Job, measured: Measured) -> dict[str, Image | Chart]:
    """The reconstructions of some of each class, the best, median and worst by squared error, and the metrics."""
    trained = job.trained
    split, model, device = trained.split, trained.model, trained.place.device
    store = job.store
    errors = measured.rows["mse"].numpy()
    lowest, middle, highest = spread(errors, columns(split.index))
    chosen = {"reconstructions": classes_in_turn(store), "best": lowest, "median": middle, "worst": highest}
    name = f"{split.index.name} {split.index.split}, N = {len(errors):,}, {trained.checkpoint.name}"
    made: dict[str, Image | Chart] = {}
    for kind, ids in chosen.items():
        labels = () if kind == "reconstructions" else tuple(f"{errors[one]:.4f}" for one in ids)
        made[kind] = reconstructions(model, device, store, ids, f"{name}: {_TITLES[kind]}", labels)
    made["errors"] = where_errors_are(model, device, store, errors, f"{name}: where the errors are")
    values = {metric: measured.rows[metric].numpy() for metric in OF_IMAGES if metric in measured.rows}
    made["histograms"] = histograms(values, f"{name}: metrics of single images")
    return made


def _of_encodings(job: Job, measured: Measured) -> dict[str, Chart]:
    """The map of the encodings, and of a variational model what each number costs."""
    split, made = job.trained.split, dict[str, Chart]()
    name, z_nd = f"{split.index.name} {split.index.split}", measured.rows["encodings"]
    found = latent_map(z_nd.numpy(), labels_of(job), split.index.classes, job.trained.config.run.seed, name)
    if found is not None:
        made["latents"] = found
    if "kl" in measured.rows:
        # of the images that the record counts
        kl_nd = measured.rows["kl"]
        is_finite_n = kl_nd.isfinite().all(1) & measured.rows["variance"].isfinite().all(1) & z_nd.isfinite().all(1)
        kl_nd, z_nd = kl_nd[is_finite_n], z_nd[is_finite_n]
        if len(z_nd):
            title = f"{name}: KL of each number to N(0, 1), mean over {len(z_nd):,} images"
            active_d = active_units(z_nd).numpy() if len(z_nd) > 1 else None
            made["kl"] = kl_bars(kl_nd.mean(0, dtype=torch.float64).numpy(), active_d, title)
    return made


def _samples(job: Job, name: str, density: Density) -> Image:
    trained = job.trained
    number = _SAMPLE_ROWS * columns(trained.split.index)
    images, _ = decode_draws(trained, density, (0, number), latent_shape(trained), trained.config.run.seed)
    words = describe(name, job.fit_split, job.num_fitted)
    name = f"{trained.split.index.name}, N = {number}, {trained.checkpoint.name}"
    return samples(images.cpu().numpy(), f"{name}: {words}")
