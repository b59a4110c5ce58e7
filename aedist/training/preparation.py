"""What a process finds out by itself before it meets the others: its data, its share of a step, and every mistake that
it needs nobody for.

A process that left with a mistake while others already gathered would leave them without a word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from aedist.architecture import check_micro_batch, sketch_model
from aedist.asked import Asked
from aedist.cadence import make_cadence
from aedist.config import Config
from aedist.configfile import result_keys
from aedist.data.loader import Split
from aedist.data.plan import Plan, assigned, make_plan
from aedist.data.source import check_budget, is_resident, open_split, shard_cache
from aedist.errors import UserError
from aedist.models.norm import batch_norms
from aedist.perceptual import check_shape


@dataclass(frozen=True)
class Ready:
    """What one process goes to the others with."""

    split: Split
    evaluated: Split
    slots: Sequence[int]
    """The micro-batch slots of a step that are this process's."""
    slots_of_node: Sequence[int]
    """Those of all processes of this machine."""
    sees_batch: bool
    """Whether the model looks at a micro-batch as a whole, as batch normalisation does."""
    perceptual: nn.Module | None
    """The network of the LPIPS term, on the CPU."""
    threads: int | None
    """CPU threads to compute with; None leaves it to the launcher."""
    dtype: torch.dtype
    """Of weights and activations."""


def prepare(config: Config, asked: Asked, cache: Path, say: Callable[[str], None]) -> Ready:
    """Look at what a run needs, on this machine.

    Args:
        config: the run.
        asked: what the launcher asked of this process.
        cache: where fetched weights of networks lie, and fetched shards unless the configuration says.
        say: is told what happens.

    Raises:
        UserError: for what the user can mend.
    """
    split, evaluated = (
        open_split(config.data.shards, name, shard_cache(config.data, cache), say)
        for name in (config.data.split, config.evaluate.split)
    )
    image_shape, plan = split.index.image_shape, make_plan(config, split.index)
    if evaluated.index.image_shape != image_shape:
        raise UserError(
            f"evaluate.split: the images of {config.evaluate.split} have shape {evaluated.index.image_shape}, those of "
            f"{config.data.split} {image_shape}; name a split of the same shape"
        )
    if config.objective.lpips:
        check_shape(config.objective.lpips_net, image_shape)
    sketch = sketch_model(config.model, image_shape)
    check_micro_batch(sketch, image_shape, plan.micro)
    slots = assigned(plan.num_micro, asked.rank, asked.world)
    make_cadence(config.train, plan)
    is_resident(config.data, split)
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    return Ready(
        split,
        evaluated,
        slots,
        _check_node(config, asked, split, evaluated, plan),
        bool(batch_norms(sketch)),
        _perceptual(config, cache, dtype),
        config.train.threads or (1 if config.train.reduce == "exact" else None),
        dtype,
    )


def _check_node(config: Config, asked: Asked, split: Split, evaluated: Split, plan: Plan) -> list[int]:
    """The micro-batch slots of all processes of this machine, whose ranks follow one another.

    Raises:
        UserError: if the machine's cache of shards is too small for them.
    """
    first = asked.rank - asked.local_rank
    ranks = range(first, min(first + asked.local_world, asked.world))
    slots = [slot for rank in ranks for slot in assigned(plan.num_micro, rank, asked.world)]
    readers = asked.local_world * max(1, config.data.workers)
    check_budget(config.data, split, readers, plan, len(slots))
    check_budget(config.data, evaluated, readers)
    return slots


def facts_of_run(config: Config, ready: Ready) -> dict[str, str]:
    """What must be the same on every process, or they would train something that no configuration describes."""
    facts = {name: str(value) for name, value in result_keys(config).items()}
    facts |= {
        f"fingerprint of {split.folder.name}": split.index.fingerprint for split in (ready.split, ready.evaluated)
    }
    return facts | {f"version of {name}": version(name) for name in ("aedist", "torch")}


def _perceptual(config: Config, cache: Path, dtype: torch.dtype) -> nn.Module | None:
    """The network of the LPIPS term, where it has a weight, on the CPU. Only then is its library imported.

    Raises:
        UserError: if its weights were not fetched.
    """
    if not config.objective.lpips:
        return None
    from aedist.perceptual import load_perceptual  # noqa: PLC0415 (a second, and few runs need it)

    return load_perceptual(config.objective.lpips_net, cache, torch.device("cpu"), dtype)
