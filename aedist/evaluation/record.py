"""The record of an evaluation: what was measured, of what, by which definitions, and what that means.

It is a pure function of what was measured, in float64 and in the order of sample ids, and holds nothing of the machine,
the time or the number of processes: two evaluations of one checkpoint can be compared byte by byte.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aedist.data.store import ShardStore
from aedist.evaluation import generation
from aedist.evaluation.job import Job, Measured
from aedist.evaluation.labels import labels_of_first
from aedist.evaluation.measures import baselines, distances, latents, metrics, probe, summary
from aedist.evaluation.networks import lpips_definition
from aedist.evaluation.verdicts import scales, verdict
from aedist.inception import EXTRACTOR
from aedist.models import count_parameters
from aedist.rundir import read_environment

FORMAT = 2
OF_IMAGES = (*metrics.METRICS, "lpips", "rate")
"""The metrics of single images, in the order of the record."""


def make_record(job: Job, measured: Measured) -> dict[str, Any]:
    """The whole record, ready for JSON. On rank zero."""
    trained, index, plan = job.trained, job.trained.split.index, job.plan
    config, seed = trained.config, trained.config.run.seed
    warnings = [*_trained_on(job), *measured.without]
    record: dict[str, Any] = {
        "format": FORMAT,
        "run_id": read_environment(trained.run)["run_id"],
        "checkpoint": trained.checkpoint.name,
        "step": trained.step,
        "images_seen": trained.step * config.images_per_step,
        "data": {
            "name": index.name,
            "split": index.split,
            "fingerprint": index.fingerprint,
            "num_images": plan.num_images,
            **({"left_out": index.num_lost} if index.num_lost else {}),
            "image_shape": list(index.image_shape),
        },
        "model": {
            **config.model.model_dump(mode="json"),
            "parameters": count_parameters(trained.model),
            "latent_numbers": generation.latent_numbers(trained),
        },
    }
    values = {name: measured.rows[name].numpy() for name in OF_IMAGES if name in measured.rows}
    if not plan.num_images:
        values = {name: np.empty(0) for name in metrics.METRICS}
    with job.costs.of("summaries"):
        record["metrics"] = {name: summary.summarise(of, seed) for name, of in values.items()}
    warnings += [_not_a_number(name, of, index.image_shape) for name, of in values.items() if not np.isfinite(of).all()]
    record["distributions"] = _distributions(job, measured)
    record["latents"], told = _latents(job, measured)
    warnings += told
    record["baselines"], told = _baselines(job, measured)
    warnings += told
    record["missing"] = dict(job.networks.missing)
    record["warnings"] = warnings
    record["verdicts"] = verdict.judge(record)
    record["bottom_line"] = verdict.bottom_line(record, record["verdicts"])
    record["definitions"] = _definitions(job)
    record["higher_is_better"] = metrics.HIGHER_IS_BETTER | {"lpips": False} | distances.HIGHER_IS_BETTER
    return record


def _trained_on(job: Job) -> list[str]:
    """A sentence where the evaluated images are those of the training."""
    index, fitted = job.trained.split.index, job.fit_split.index
    if index.fingerprint != fitted.fingerprint or not job.plan.num_images:
        return []
    return [
        f"The model was trained on these images of {index.name}/{index.split}, and baselines, densities and the probe "
        f"are fitted to the first {job.num_fitted:,} of them: nothing here tells how any of them does on new images."
    ]


def _not_a_number(name: str, values_n: NDArray[np.float64], image_shape: tuple[int, int, int]) -> str:
    """Why a metric has no mean."""
    height, width, _ = image_shape
    if name == "ssim" and min(height, width) < metrics.SSIM_WINDOW:
        window = f"{metrics.SSIM_WINDOW} x {metrics.SSIM_WINDOW}"
        return f"ssim: images of {height} x {width} are smaller than its window of {window}, so there is none."
    (wrong,) = np.nonzero(~np.isfinite(values_n))
    return (
        f"{name}: of {len(wrong):,} of {len(values_n):,} images it is not a number, so there is no mean; the first is "
        f"image {int(wrong[0])}."
    )


def _distributions(job: Job, measured: Measured) -> dict[str, Any]:
    """Each set of images against the originals."""
    if "originals" not in measured.features:
        return {}
    index, seed = job.trained.split.index, job.trained.config.run.seed
    reference = f"the first {job.compared.num_images:,} originals of {index.name}/{index.split}"
    device = job.trained.place.device
    originals = distances.Reference(measured.features["originals"].to(device))
    blocks: dict[str, Any] = {}
    for name, seen in measured.features.items():
        if name != "originals":
            words = (
                "reconstructions of the same images"
                if name == "reconstructions"
                else generation.describe(name, job.fit_split, job.num_fitted)
            )
            with job.costs.of("distances of sets"):
                block = distances.compare(originals, seen.to(device), seed)
            blocks[name] = {"words": words, "reference": reference, **block}
    return blocks


def _latents(job: Job, measured: Measured) -> tuple[dict[str, Any] | None, list[str]]:
    """What the encodings of the evaluated images tell, and what to warn of."""
    rows = measured.rows
    if "encodings" not in rows:
        return None, []
    with job.costs.of("latents"):
        found = latents.analyse(rows["encodings"], rows.get("kl"), rows.get("variance"))
        warnings = found.pop("warnings", [])
        found["probe"] = _probe(job, measured)
    return found, warnings


def _probe(job: Job, measured: Measured) -> dict[str, Any]:
    trained, fit_split = job.trained, job.fit_split
    fitted = measured.fitted.get("encodings")
    if fitted is None:
        return {"accuracy": None, "reason": "nothing was fitted"}
    classes, known = trained.split.index.classes, fit_split.index.classes
    # a split may lack the last classes, but number k must be the same class in both
    if any(here != there for here, there in zip(classes, known, strict=False)):
        return {"accuracy": None, "reason": f"its classes are not those of {fit_split.index.split}"}
    labels = labels_of_first(ShardStore(fit_split.folder, fit_split.index), job.num_fitted)
    tested = labels_of(job)
    return probe.accuracy(
        fitted.numpy(), labels, measured.rows["encodings"].numpy(), tested, classes, trained.config.run.seed
    )


def labels_of(job: Job) -> NDArray[np.int64]:
    """The classes of the evaluated images."""
    return labels_of_first(job.store, job.plan.num_images)


def _baselines(job: Job, measured: Measured) -> tuple[dict[str, Any], list[str]]:
    if measured.baselines is None:
        return {}, []
    index = job.fit_split.index
    fitted_to = f"the first {job.num_fitted:,} images of {index.name}/{index.split}"
    rows: Mapping[str, Tensor] = measured.rows
    return baselines.describe(measured.baselines, rows, fitted_to, job.trained.config.run.seed)


def _definitions(job: Job) -> dict[str, str]:
    """What each number is: of everything that could be in the record, so that what is missing is defined too."""
    config, height_width = job.trained.config.evaluate, job.trained.split.index.image_shape
    found = {
        "values": "Images are uint8 as decoded; a reconstruction is clamped to [0, 1] and rounded to 256 levels before "
        "anything looks at it, as a saved picture would be. Metrics of single images take values in [0, 1] "
        "(data range 1), in float64.",
        "evaluation_batch": f"Images go through the model {config.batch} at a time, for features no more than 50, "
        "whatever the number of processes.",
        "image_shape": f"{height_width[0]} x {height_width[1]} x {height_width[2]} (height, width, channels).",
        "extractor": " ".join(f"{name}: {value}." for name, value in EXTRACTOR.items()),
        **metrics.DEFINITIONS,
        "lpips": lpips_definition(config.lpips_net),
    }
    for part in (distances, generation, latents, probe, baselines, summary, scales):
        found |= part.DEFINITIONS
    return found
