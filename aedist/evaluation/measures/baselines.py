"""What an encoding must beat: the mean image, PCA with as many numbers, JPEG and WebP in as many bytes.

All are measured on the same images by the same metrics as the model. A linear code needs no training; a model that
loses to it has not learnt what a network is for.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from aedist import bootstrap
from aedist.data.pixels import to_bytes, to_unit_range
from aedist.evaluation.measures import codecs, pca
from aedist.evaluation.measures.metrics import METRICS
from aedist.evaluation.measures.pca import PCA, fit_pca
from aedist.evaluation.measures.summary import RESAMPLES, summarise

BYTES_A_NUMBER = 4
"""An encoding is stored in single precision."""
_MOST_OF_PCA = 2**28  # numbers of its components: every process holds them
_NAMES = {"jpeg": "JPEG", "webp": "WebP"}

DEFINITIONS = {
    "mean_image": "The mean of training images, the same reconstruction for every image.",
    "pca": pca.DEFINITION,
    **codecs.DEFINITIONS,
    "model_minus_pca": "Mean over images of the model's MSE less PCA's on the same image. "
    + bootstrap.definition("images", RESAMPLES),
}


@dataclass(frozen=True)
class Baselines:
    """Fitted to training images; with it any process can measure any evaluation batch."""

    pca: PCA
    latent_numbers: int

    @property
    def bytes_allowed(self) -> int:
        """What one encoding takes in float32."""
        return BYTES_A_NUMBER * self.latent_numbers


def fit(images: Iterable[Tensor], num_images: int, image_shape: tuple[int, int, int], latent_numbers: int) -> Baselines:
    """Baselines of a model whose encodings have ``latent_numbers`` numbers.

    Args:
        images: training images, uint8 (any number, H, W, C) each, ``num_images`` in all.
        num_images: how many; one or more.
        image_shape: (H, W, C).
        latent_numbers: what the baselines may use too.

    Raises:
        ValueError: as ``fit_pca``.
    """
    components = max(1, min(latent_numbers, _MOST_OF_PCA // prod(image_shape)))
    return Baselines(fit_pca(images, num_images, image_shape, components), latent_numbers)


def measure(
    baselines: Baselines,
    images_bhwc: Tensor,
    metrics: Callable[[Tensor, Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Each metric of each baseline's reconstruction of each image, by ``NAME/METRIC``: float64 (B,) on the CPU.

    Codecs also have ``NAME/bytes``.

    Args:
        baselines: as fitted.
        images_bhwc: uint8, on any device.
        metrics: ``metrics.measure``: (images uint8 (B, H, W, C), reconstructions (B, C, H, W)) to (B, len(METRICS)).
        distance: LPIPS where there is one: (images, reconstructions), both uint8 (B, H, W, C), to (B,).
    """
    mean_bchw = baselines.pca.mean_image(len(images_bhwc)).to(images_bhwc.device)
    found = {"mean_image": mean_bchw, "pca": baselines.pca.reconstruct(images_bhwc)}
    rows: dict[str, Tensor] = {}
    for codec in _NAMES:
        decoded_bhwc, rows[f"{codec}/bytes"] = codecs.encode(images_bhwc, codec, baselines.bytes_allowed)
        found[codec] = to_unit_range(decoded_bhwc, torch.float64)
    for name, reconstruction_bchw in found.items():
        values_bk = metrics(images_bhwc, reconstruction_bchw).cpu()
        rows |= {f"{name}/{metric}": values_bk[:, column] for column, metric in enumerate(METRICS)}
        if distance is not None:
            rows[f"{name}/lpips"] = distance(images_bhwc, to_bytes(reconstruction_bchw)).double().cpu()
    return {name: values.double() for name, values in rows.items()}


def describe(
    baselines: Baselines, rows: Mapping[str, Tensor], fitted_to: str, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """The baselines as they stand in the record, and what to warn of.

    Args:
        baselines: as fitted.
        rows: of all images in order: what ``measure`` gave, and the model's own ``mse``.
        fitted_to: such as ``the first 10,000 images of mnist/train``.
        seed: names the bootstrap resamples.

    Returns:
        By name ``words``, facts, ``metrics`` as summaries (None without images) and ``note``.
    """
    difference = _model_minus_pca(rows, seed)
    blocks: dict[str, Any] = {
        "mean_image": {"words": f"the mean of {fitted_to}", "fitted_to": fitted_to, "note": None},
        "pca": _describe_pca(baselines, fitted_to) | {"model_minus_pca": difference},
        **{codec: _describe_codec(codec, baselines, rows) for codec in _NAMES},
    }
    for name, block in blocks.items():
        of_name = {key.removeprefix(f"{name}/"): values for key, values in rows.items() if key.startswith(f"{name}/")}
        of_name.pop("bytes", None)
        block["metrics"] = {metric: summarise(values.numpy(), seed) for metric, values in of_name.items()} or None
    return blocks, _warnings(difference, blocks["pca"])


def _describe_pca(baselines: Baselines, fitted_to: str) -> dict[str, Any]:
    components = len(baselines.pca.components_kd)
    note = None
    if components < baselines.latent_numbers:
        note = (
            f"{baselines.latent_numbers:,} numbers are allowed, but the images that it was fitted to span no more "
            f"directions, or more would not fit into the memory of every process"
        )
    words = f"PCA with {components:,} component{'s' * (components != 1)}, fitted to {fitted_to}"
    return {"words": words, "components": components, "fitted_to": fitted_to, "note": note}


def _describe_codec(codec: str, baselines: Baselines, rows: Mapping[str, Tensor]) -> dict[str, Any]:
    name, allowed = _NAMES[codec], baselines.bytes_allowed
    bytes_n = rows.get(f"{codec}/bytes", torch.zeros(0))
    mean = float(bytes_n.double().mean()) if len(bytes_n) else None
    over = int((bytes_n > allowed).sum())
    note = None
    if mean is not None and over:
        needs = float(bytes_n[bytes_n > allowed].double().mean()) / allowed
        whose = "every image" if over == len(bytes_n) else f"{over:,} of {len(bytes_n):,} images"
        note = f"{name} needs {needs:.1f} times the bytes at its lowest quality for {whose}"
    words = f"{name} at the highest quality that fits into the {allowed:,} bytes of an encoding in float32"
    return {"words": words, "bytes_allowed": allowed, "mean_bytes": mean, "images_over": over, "note": note}


def _model_minus_pca(rows: Mapping[str, Tensor], seed: int) -> dict[str, Any] | None:
    """The mean difference in MSE on the same images, and its interval; None where there is none."""
    if not {"mse", "pca/mse"} <= rows.keys():
        return None
    differences_n = (rows["mse"] - rows["pca/mse"]).numpy()
    found = summarise(differences_n, seed)
    return None if found["mean"] is None else {name: found[name] for name in ("mean", "interval")}


def _warnings(difference: Mapping[str, Any] | None, described: Mapping[str, Any]) -> list[str]:
    """A sentence if the model is not better than PCA beyond doubt."""
    if difference is None:
        return []
    low, high = difference["interval"] or (-math.inf, math.inf)  # of one image anything could be
    more = f"its mean squared error is {abs(difference['mean']):.5f} {'higher' if difference['mean'] > 0 else 'lower'}"
    if difference["interval"]:
        more += f" (95 % interval of the difference {low:.5f} to {high:.5f})"
    if low > 0:
        return [
            f"The model loses to {described['words']}: {more}, so a linear code of that size keeps more of an image."
        ]
    if high >= 0:
        return [f"The model is not shown to be better than {described['words']}: {more}."]
    return []
