"""Reconstructions: originals above what comes back of them, chosen ones or the best, the median and the worst."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from aedist.data.loader import Stretch
from aedist.errors import UserError
from aedist.evaluation.metrics import DEFINITIONS
from aedist.evaluation.run import Batches, EvaluationPlan, evaluate, read_batches, summarise
from aedist.evaluation.showcase import one_of_each_class, spread
from aedist.explore.encodings import check_ids, decode_images, encode_ids, image_errors, read_originals
from aedist.explore.progress import now_and_then
from aedist.explore.record import facts, title
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained


def reconstruct(
    trained: Trained,
    sample_ids: Sequence[int] = (),
    num_images: int | None = None,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """Originals above reconstructions, each with its mean squared error.

    Args:
        trained: the model and the split.
        sample_ids: the samples to show; if there are none, one of each class, and of all samples of the split those
            with the lowest, the middle and the highest errors.
        num_images: only the split's first so many samples are searched for those.
        say: told what happens.

    Raises:
        UserError: if a sample is not there, or both choices are made.
    """
    split = trained.split
    total = split.index.num_samples
    if num_images is not None and (num_images < 1 or sample_ids):
        rule = "goes without --ids, which name the images themselves" if sample_ids else "must be 1 or more"
        raise UserError(f"--images: {num_images} is refused: it {rule}; leave it out")
    check_ids(split, sample_ids)
    numbers = facts(trained, "reconstruct")
    if sample_ids:
        chosen = {"chosen": list(sample_ids)}
    else:
        plan = EvaluationPlan(min(num_images or total, total), trained.config.evaluate.batch)
        say(f"reconstructing {plan.num_images:,} of {total:,} images of {split.index.name}/{split.index.split}")
        batches = _told(read_batches(split, plan, trained.place, trained.config.data.workers), plan, say)
        errors = evaluate(trained.model, batches, plan, trained.place)["mse"]
        lowest, middle, highest = spread(errors)
        chosen = {"first of each class": one_of_each_class(split), "best": lowest, "median": middle}
        chosen["worst"] = highest[::-1]
        numbers |= {"num_images": plan.num_images, "mse": summarise(errors)}
    rows, row_labels, cell_labels = list[NDArray[np.uint8]](), list[str](), list[list[str]]()
    numbers["shown"] = {}
    for name, ids in chosen.items():
        originals = read_originals(split, ids)
        found = decode_images(trained, encode_ids(trained, split, ids).z_nd)
        shown_errors = image_errors(originals, found).tolist()
        rows += [originals, found]
        row_labels += [f"{name}\noriginals", "reconstructions"]
        cell_labels += [[], [f"{error:.4f}" for error in shown_errors]]
        numbers["shown"][name] = {"sample_ids": ids, "mse": shown_errors}
    numbers["definitions"] = {"mse": DEFINITIONS["mse"]}
    return grid(rows, row_labels, (), title(trained, "reconstructions, mean squared errors"), cell_labels), numbers


def _told(batches: Batches, plan: EvaluationPlan, say: Callable[[str], None]) -> Iterator[tuple[Stretch, Tensor]]:
    """The batches as they are, with a line now and then."""
    progress = now_and_then(say)
    for (first, last), images in batches:
        yield (first, last), images
        progress(f"measured {last:,} of {plan.num_images:,}")
