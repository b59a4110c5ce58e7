"""The best, the median and the worst reconstructions one by one: each image a file, and a table of what was measured.

``evaluation/examples/examples.json`` has a row an image, for whoever shows them in a table of its own.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aedist.evaluation.job import Job, Measured
from aedist.evaluation.pictures.showcase import extremes, reconstruct
from aedist.evaluation.record import OF_IMAGES, labels_of
from aedist.pictures import save_picture
from aedist.whole import write_whole

_COUNT = 12


def write_examples(job: Job, measured: Measured) -> Path | None:
    """Write the table and its images, in place of an earlier evaluation's. Returns the table; None of no images."""
    trained = job.trained
    folder = trained.run.evaluation / "examples"
    shutil.rmtree(folder, ignore_errors=True)
    if not job.plan.num_images:
        return None
    folder.mkdir()
    chosen = extremes(measured.rows["mse"].numpy(), _COUNT)
    ids = [one for found in chosen.values() for one in found]
    originals, reconstructed = reconstruct(trained.model, trained.place.device, job.store, ids)
    labels, classes = labels_of(job), trained.split.index.classes
    rows = list[dict[str, str | int | float | None]]()
    for place, (which, sample_id) in enumerate((name, one) for name, found in chosen.items() for one in found):
        label = int(labels[sample_id])
        row: dict[str, str | int | float | None] = {
            "which": which,
            "image": sample_id,
            "class": classes[label] if 0 <= label < len(classes) else None,
        }
        for name, images in (("original", originals), ("reconstruction", reconstructed)):
            row[name] = save_picture(_picture(images[place]), folder / f"{sample_id:09d}-{name}.png").name
        for metric in OF_IMAGES:
            if metric in measured.rows:
                value = float(measured.rows[metric][sample_id])
                row[metric] = value if np.isfinite(value) else None
        rows.append(row)
    write_whole(folder / "examples.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
    return folder / "examples.json"


def _picture(image_hwc: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image_hwc[:, :, 0] if image_hwc.shape[2] == 1 else image_hwc)
