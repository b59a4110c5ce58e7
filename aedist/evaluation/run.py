"""The evaluation pass: a model and the images of a split, each image exactly once, measured by the parts passed in.

A measure takes a batch as the model gave it back and returns a row an image; the pass deals the batches to the
processes (``gather``) and knows nothing else of what is measured.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aedist.data.loader import Split, Stretch, read_stretches
from aedist.data.pixels import to_bytes, to_unit_range
from aedist.evaluation.costs import Costs
from aedist.evaluation.gather import EvaluationPlan, Rows, gather
from aedist.evaluation.measures.metrics import METRICS, measure
from aedist.models.output import Output
from aedist.objective import rate
from aedist.place import Place
from aedist.progress import now_and_then

Batches = Iterable[tuple[Stretch, Tensor]]
"""Evaluation batches: (first id, last id not included) and uint8 (n, H, W, C)."""


@dataclass(frozen=True)
class Seen:
    """A batch as the model gave it back."""

    images_bhwc: Tensor
    """The originals, uint8, on the model's device."""
    x_bchw: Tensor
    """The same in [0, 1]."""
    output: Output
    costs: Costs

    @property
    def reconstruction_bhwc(self) -> Tensor:
        """The reconstructions as saved pictures would have them, uint8."""
        return to_bytes(self.output.reconstruction)


Measure = Callable[[Seen], Rows]
"""What is measured of a batch: by name, a row an image, on the CPU."""


def read_batches(split: Split, plan: EvaluationPlan, place: Place, workers: int) -> Iterator[tuple[Stretch, Tensor]]:
    """This process's evaluation batches, read from the shards."""
    own = plan.batches(place.rank, place.world)

    def what(number: int) -> str:
        first, last = own[min(number, len(own) - 1)] if own else (0, 0)
        return f"waits for images {first:,} to {last:,} of {split.folder}"

    return place.watch.each(read_stretches(split, own, workers), what)


def telling(batches: Batches, plan: EvaluationPlan, say: Callable[[str], None]) -> Iterator[tuple[Stretch, Tensor]]:
    """The batches as they are, with a line now and then."""
    progress = now_and_then(say)
    for (first, last), images in batches:
        yield (first, last), images
        progress(f"measured {last:,} of {plan.num_images:,}")


def evaluate(
    model: nn.Module,
    batches: Batches,
    plan: EvaluationPlan,
    place: Place,
    measures: Sequence[Measure],
    costs: Costs | None = None,
) -> dict[str, Tensor]:
    """What the measures say of every image, by sample id, on rank zero; empty on the other processes.

    A variational model reconstructs from the posterior's mode.

    Args:
        model: called unwrapped, in evaluation mode, in its own precision; its mode is put back.
        batches: this process's batches of ``plan``.
        plan: which images.
        place: this process.
        measures: what is measured.
        costs: told how long each part takes.

    Raises:
        UserError: on every process, if a shard or an image is damaged.
        RuntimeError: if an image was missed or measured twice.
    """
    costs = costs or Costs(place.device)
    was_training = model.training
    model.eval()
    pieces = (
        (stretch, _measured(model, images, place.device, measures, costs))
        for stretch, images in costs.of_each("reading", batches)
    )
    try:
        with torch.no_grad():
            return gather(pieces, plan.num_images, place)
    finally:
        model.train(was_training)


def _measured(
    model: nn.Module, images: Tensor, device: torch.device, measures: Sequence[Measure], costs: Costs
) -> dict[str, Tensor]:
    with costs.of("model"):
        on_device = images.to(device)
        x_bchw = to_unit_range(on_device, next(model.parameters()).dtype)
        seen = Seen(on_device, x_bchw, model(x_bchw), costs)
    rows: dict[str, Tensor] = {}
    for measure_batch in measures:
        rows.update(measure_batch(seen))
    return rows


def pixel_metrics(seen: Seen) -> Rows:
    """Every metric of single images, float64 (B,) each, by name."""
    with seen.costs.of("pixel metrics"):
        values_bk = measure(seen.images_bhwc, seen.output.reconstruction).cpu()
    return dict(zip(METRICS, values_bk.unbind(1), strict=True))


def rates(seen: Seen) -> Rows:
    """The KL of each image's posterior to the prior, in nats; nothing of a model without posterior."""
    if seen.output.posterior is None:
        return {}
    return {"rate": rate(seen.x_bchw, seen.output).double().cpu()}


def encodings(seen: Seen) -> Rows:
    """Each image's encoding as a vector, float64 (B, d); of a posterior also the KL and the variance of each number."""
    found = {"encodings": seen.output.latent.flatten(1).double().cpu()}
    if seen.output.posterior is not None:
        found["kl"] = seen.output.posterior.kl().flatten(1).float().cpu()
        found["variance"] = (2 * seen.output.posterior.log_std).exp().flatten(1).float().cpu()
    return found
