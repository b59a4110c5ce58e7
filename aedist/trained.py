"""A trained run, opened: its configuration, a checkpoint's model in evaluation mode, and a split to look at.

Whatever judges or uses a model begins here, so that all mean the same by a run, a checkpoint and its weights: where
training kept a moving average of the weights, the average is the model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from aedist.architecture import build_model
from aedist.asked import Asked
from aedist.checkpoint import checkpoints, load_checkpoint, name_of, newest_sound, step_of
from aedist.config import Config, is_placement, sections
from aedist.data.loader import Split
from aedist.data.quarantine import read_quarantine, without_lost
from aedist.data.remote import RemoteFolder
from aedist.data.source import check_split, open_split, shard_cache
from aedist.errors import UserError
from aedist.place import Place, take_place
from aedist.rundir import RunDir, check_data, find_run, load_run_config, read_environment
from aedist.tracking.console import say_nothing

_ALONE = Asked()


@dataclass(frozen=True)
class Trained:
    """A run's model as of one checkpoint, on this process's device, and a split of the run's data."""

    run: RunDir
    config: Config
    checkpoint: Path
    step: int
    is_averaged: bool
    """Whether the weights are the moving average that training kept."""
    model: nn.Module
    split: Split
    place: Place


def open_trained(
    folder: Path,
    which: str = "last",
    split_name: str | None = None,
    asked: Asked = _ALONE,
    say: Callable[[str], None] = say_nothing,
    words: Sequence[str] = (),
) -> Trained:
    """Open a run's model and take this process's place.

    Args:
        folder: the run's directory.
        which: ``last``, ``best`` or a step's number: the checkpoint.
        split_name: the split, or None for the one that the configuration evaluates.
        asked: what the launcher asked of this process.
        say: told of unsound checkpoints and of averaged weights, on rank zero.
        words: keys of the configuration to set for this time, as ``key=value``.

    Raises:
        UserError: if there is no such run, checkpoint or split, the checkpoint is another model's, or the split is
            other data than the run knows.
    """
    run = find_run(folder)
    config = load_run_config(run, _free_to_set(words))
    split = open_split(
        config.data.shards, split_name or config.evaluate.split, shard_cache(config.data, asked.cache), say
    )
    split = without_lost(split, read_quarantine(run.quarantine), run.quarantine)
    _check_shape(run, split)
    # one thread unless told otherwise: how many there are can touch the last bits of a sum
    place = take_place(asked, "fp32", config.train.threads or 1)
    if not place.is_zero:
        say = say_nothing
    checkpoint = place.from_rank_zero(lambda: _find_checkpoint(run, which, split, say))
    tensors, numbers = load_checkpoint(checkpoint)
    is_averaged = "ema" in tensors
    if is_averaged:
        say(f"{checkpoint.name}: taking the moving average of the weights")
    model = build_model(config.model, split.index.image_shape)
    if config.train.precision == "fp64":
        model = model.double()
    try:
        model.load_state_dict(tensors["ema" if is_averaged else "model"])
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint}: does not fit the model that {run.config} describes; put that file back as the run wrote "
            f"it, or use the version of aedist that trained it"
        ) from error
    model.to(place.device).eval()
    return Trained(run, config, checkpoint, numbers["progress"]["step"], is_averaged, model, split, place)


def open_another_split(trained: Trained, name: str) -> Split:
    """Another split of the run's data, checked as the first was.

    Raises:
        UserError: if it is not there, has images of another shape, or is other data than the run knows.
    """
    if name == trained.split.index.split:
        return trained.split
    folder = trained.split.folder
    split = open_split(trained.config.data.shards, name, folder.cache if isinstance(folder, RemoteFolder) else None)
    split = without_lost(split, read_quarantine(trained.run.quarantine), trained.run.quarantine)
    _check_shape(trained.run, split)
    check_split(split)
    check_data(trained.run, split.index)
    return split


def _free_to_set(words: Sequence[str]) -> Sequence[str]:
    """Refuse keys that made the model what it is: setting them now would describe another.

    Raises:
        UserError: naming the first.
    """
    for word in words:
        section, _, name = word.partition("=")[0].partition(".")
        known = section in sections() and name in {key for cls in sections()[section] for key in cls.model_fields}
        if known and section != "evaluate" and not is_placement(section, name) and name != "threads":
            raise UserError(
                f"{word}: is refused: {section}.{name} made the model what it is; of a trained run set keys of "
                f"evaluate, or where the work is done"
            )
    return words


def _check_shape(run: RunDir, split: Split) -> None:
    """Refuse images of another shape than the model was made for."""
    trained, given = read_environment(run)["data"]["image_shape"], list(split.index.image_shape)
    if trained != given:
        raise UserError(
            f"{split.folder}: its images are {given} (height, width, channels), but {run.path} was trained on "
            f"{trained}; name a split of that shape"
        )


def _find_checkpoint(run: RunDir, which: str, split: Split, say: Callable[[str], None]) -> Path:
    """Rank zero's part: the shards are there, and so is the checkpoint."""
    check_split(split)
    check_data(run, split.index)
    newest = newest_sound(run.checkpoints, say)
    if newest is None:
        raise UserError(f"{run.checkpoints}: there is no sound checkpoint; train the run first")
    if which == "last":
        return newest
    if which == "best":
        best_step = load_checkpoint(newest)[1]["progress"]["best_step"]
        if best_step is None:
            raise UserError(f"--checkpoint best: {run.path} was not evaluated in training; take last")
        return run.checkpoints / name_of(best_step)
    place = run.checkpoints / name_of(int(which)) if which.isdecimal() else None
    if place is None or not place.is_dir():
        there = ", ".join(str(step_of(found)) for found in checkpoints(run.checkpoints))
        raise UserError(f"--checkpoint {which}: there is no such checkpoint; take last, best or one of {there}")
    return place
