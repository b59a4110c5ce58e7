"""The plan of a run in a few lines: what is read, how it is dealt to the processes, how long it goes."""

from collections.abc import Iterator

import torch

from aedist.architecture import sketch_model
from aedist.config import Config
from aedist.data.loader import Split
from aedist.data.plan import Plan, assigned, rounds
from aedist.data.source import is_resident
from aedist.models import count_parameters


def plan_lines(
    config: Config, split: Split, plan: Plan, world: int, last_step: int, first_step: int = 0
) -> Iterator[str]:
    """What will run, said to a person.

    Raises:
        UserError: if it cannot work on ``world`` processes.
    """
    index, most = split.index, rounds(plan.num_micro, world)
    fewest = len(assigned(plan.num_micro, world - 1, world))
    tier = "kept in memory" if is_resident(config.data, split) else "streamed"
    yield (
        f"data      {index.name}/{index.split}: {index.num_samples:,} images of "
        f"{' x '.join(str(size) for size in index.image_shape)} in {len(index.shards)} shards, {tier}, "
        f"fingerprint {index.fingerprint[:12]}"
    )
    share = f"{most}" if most == fewest else f"{fewest} or {most}"
    yield (
        f"step      {plan.images_per_step} images = {plan.num_micro} micro-batches of {plan.micro}, "
        f"on {world} process{'es' if world > 1 else ''}: {share} each in turn (gradient accumulation {most})"
    )
    yield (
        f"epoch     {plan.steps_per_epoch:,} steps; {plan.left_over} images are left over, others each time; "
        f"{plan.shuffle_shards} shards are shuffled together"
    )
    yield f"model     {_describe_model(config, index.image_shape)}"
    yield (
        f"train     {last_step:,} steps = {last_step / plan.steps_per_epoch:.4g} epochs, {config.optim.name}, "
        f"learning rate {config.optim.lr:g} {config.optim.schedule}, {config.train.precision}, "
        f"reduction {config.train.reduce}"
    )
    where = f", going on after step {first_step:,}" if first_step else ""
    yield f"run       {config.run.dir}, seed {config.run.seed}{where}"


def _describe_model(config: Config, image_shape: tuple[int, int, int]) -> str:
    """The model's kind, its size, and what an image becomes in it, found out without memory for its weights."""
    model = sketch_model(config.model, image_shape)
    height, width, channels = image_shape
    with torch.device("meta"):
        latent = model(torch.empty(2, channels, height, width)).latent
    shape = " x ".join(str(size) for size in latent.shape[1:])
    return f"{config.model.kind}, {count_parameters(model):,} parameters; an image becomes {shape} numbers"
