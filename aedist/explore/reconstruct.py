"""Reconstructions: originals above what comes back of them, chosen ones or the best, the median and the worst."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from aedist.data.loader import cut
from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.evaluation.gather import EvaluationPlan
from aedist.evaluation.measures.metrics import DEFINITIONS
from aedist.evaluation.measures.summary import summarise
from aedist.evaluation.pictures.showcase import classes_in_turn, columns, spread
from aedist.evaluation.run import evaluate, pixel_metrics, read_batches, telling
from aedist.explore.encodings import check_ids, decode_images, encode_ids, image_errors
from aedist.explore.limits import check_count, check_number
from aedist.explore.record import facts, title
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained

_MOST_IDS = 100


def reconstruct(
    trained: Trained,
    sample_ids: Sequence[int] = (),
    num_images: int | None = None,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """Originals above reconstructions, each with its mean squared error.

    Args:
        trained: the model and the split.
        sample_ids: the samples to show; if there are none, some of each class, and of all samples of the split those
            with the lowest, the middle and the highest errors.
        num_images: only the split's first so many samples are searched for those.
        say: told what happens.

    Raises:
        UserError: if a sample is not there, or both choices are made.
    """
    split = trained.split
    total = split.index.num_samples
    if num_images is not None:
        if sample_ids:
            raise UserError("--images: goes without --ids, which name the images themselves; leave it out")
        check_number("--images", num_images)
    check_count("--ids", len(sample_ids), _MOST_IDS)
    check_ids(split, sample_ids)
    store = ShardStore(split.folder, split.index)
    numbers = facts(trained, "reconstruct")
    if sample_ids:
        chosen = {"chosen": list(sample_ids)}
        say(f"reconstructing {len(sample_ids):,} images of {split.index.name}/{split.index.split}")
    else:
        plan = EvaluationPlan(min(num_images or total, total), trained.config.evaluate.batch)
        say(f"reconstructing {plan.num_images:,} of {total:,} images of {split.index.name}/{split.index.split}")
        batches = telling(read_batches(split, plan, trained.place, trained.config.data.workers), plan, say)
        errors = evaluate(trained.model, batches, plan, trained.place, [pixel_metrics])["mse"].numpy()
        lowest, middle, highest = spread(errors, columns(split.index))
        chosen = {"each class in turn": classes_in_turn(store), "best": lowest, "median": middle}
        chosen["worst"] = highest[::-1]
        numbers |= {"num_images": plan.num_images, "mse": summarise(errors, trained.config.run.seed)}
    rows, row_labels, cell_labels = list[NDArray[np.uint8]](), list[str](), list[list[str]]()
    numbers["shown"] = {}
    for name, ids in chosen.items():
        originals = store.read_images(ids).numpy()
        found = decode_images(trained, encode_ids(trained, store, ids).z_nd)
        shown_errors = image_errors(originals, found).tolist()
        width = columns(split.index)
        for first, last in cut(0, len(ids), width):
            rows += [originals[first:last], found[first:last]]
            row_labels += [f"{name}\noriginals" if not first else "originals", "reconstructions"]
            cell_labels += [
                [f"sample {one}" for one in ids[first:last]],
                [f"{error:.4f}" for error in shown_errors[first:last]],
            ]
        numbers["shown"][name] = {"sample_ids": ids, "mse": shown_errors}
    numbers["definitions"] = {"mse": DEFINITIONS["mse"]}
    return grid(rows, row_labels, (), title(trained, "reconstructions, mean squared errors"), cell_labels), numbers
