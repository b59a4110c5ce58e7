"""What a use of encodings leaves: a picture, and beside it the numbers and what they mean, as JSON.

Nothing in it depends on the time or the place, so that the same command leaves the same record.
"""

import json
import re
from pathlib import Path
from typing import Any

from PIL.Image import Image

from aedist.data.loader import Split
from aedist.errors import UserError
from aedist.pictures import save_picture
from aedist.rundir import read_environment
from aedist.trained import Trained
from aedist.whole import write_whole

_NAME = re.compile(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def facts(trained: Trained, verb: str) -> dict[str, Any]:
    """What every record begins with: the verb, the model, the split."""
    return {
        "verb": verb,
        "run_id": read_environment(trained.run)["run_id"],
        "checkpoint": trained.checkpoint.name,
        "step": trained.step,
        "weights": "moving average" if trained.is_averaged else "as trained",
        "data": about_split(trained.split),
    }


def about_split(split: Split) -> dict[str, str]:
    """Which images: the data set, its split, and the fingerprint of the bytes."""
    return {"name": split.index.name, "split": split.index.split, "fingerprint": split.index.fingerprint}


def title(trained: Trained, words: str) -> str:
    """The line above a picture."""
    return f"{trained.split.index.name}, {trained.checkpoint.name}: {words}"


def check_name(name: str) -> None:
    """Refuse what is no plain file name.

    Raises:
        UserError: with what a name may have.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--name: {name!r} is refused: it may have letters, digits, and . _ - alone; choose another")


def write_outcome(trained: Trained, name: str, picture: Image, numbers: dict[str, Any]) -> tuple[Path, Path]:
    """Write RUN/explore/NAME.png and NAME.json; returns both paths.

    Raises:
        UserError: if ``name`` is no plain file name, or the folder cannot be written.
    """
    check_name(name)
    folder = trained.run.path / "explore"
    try:
        png = save_picture(picture, folder / f"{name}.png")
        write_whole(folder / f"{name}.json", json.dumps(numbers, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); make room, or mend its rights") from error
    return png, folder / f"{name}.json"
