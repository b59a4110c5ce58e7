"""A few steps of a small model on made images, through the parts that a run is made of.

The step is the training loop's, with what the loop has besides left out: the same DDP wrapping, reductions, optimiser
and batch normalisation. Here the gradient is looked at before it is used.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from aedist.architecture import build_model
from aedist.config import Objective, Optim
from aedist.data.pixels import to_unit_range
from aedist.data.plan import assigned
from aedist.keys import torch_seed
from aedist.modelconfig import ConvModel, MLPModel, Model
from aedist.models.norm import BatchNorm, move_running_statistics
from aedist.noise import keyed_normal
from aedist.objective import make_objective
from aedist.place import Place
from aedist.training.optimiser import make_optimizer
from aedist.training.reduction import make_reduction

STEPS = 3
_IMAGES = 8
"""Images in a micro-batch."""


@dataclass(frozen=True)
class Exercise:
    """What is trained."""

    name: str
    model: Model
    image_shape: tuple[int, int, int]
    """(height, width, channels)."""


EXERCISES = (
    Exercise("MLP", MLPModel(kind="mlp", hidden_dim=64, latent_dim=8), (16, 16, 1)),
    Exercise("conv net", ConvModel(kind="conv", latent_dim=32, width=8, depth=2), (16, 16, 3)),
)
"""One without and one with batch normalisation."""


@dataclass(frozen=True)
class Trained:
    """What came of it on one process."""

    sha256: str
    """Of all parameters and running statistics."""
    gradient: Tensor
    """All gradients of the first step, one behind another, float64 on the CPU."""
    troubles: tuple[str, ...]
    """What was wrong with a gradient; training stops there."""


def train_small(exercise: Exercise, place: Place, reduce: str, num_micro: int) -> Trained:
    """Train ``STEPS`` steps of ``num_micro`` micro-batches, ``reduce`` being fast or exact.

    All processes stop behind the first step if any of them finds something wrong with a gradient.
    """
    torch.manual_seed(torch_seed(1, 0))
    model = build_model(exercise.model, exercise.image_shape).to(place.device).train()
    optimizer = make_optimizer(Optim(), model)
    objective = make_objective(Objective(), variational=False)
    reduction = make_reduction(reduce, place, model, num_micro, None)
    slots, gradient, troubles = assigned(num_micro, place.rank, place.world), torch.empty(0), list[str]()
    for step in range(STEPS):
        for slot in slots:
            with reduction.round(last=slot == slots[-1]):
                images_bhwc = made_images(exercise.image_shape, step, slot).to(place.device)
                x_bchw = to_unit_range(images_bhwc, torch.float32)
                loss, _ = objective(x_bchw, reduction.module(x_bchw, None))
                reduction.backward(loss, 1)
        reduction.finish()
        if step == 0:
            gradient, troubles = all_gradients(model), gradient_troubles(model)
            wrong = torch.tensor(len(troubles))
            place.add_on_hosts(wrong)
            if wrong:
                break
        optimizer.step()
        move_running_statistics(model)
        optimizer.zero_grad()
    return Trained(state_sha256(model), gradient, tuple(troubles))


def made_images(image_shape: tuple[int, int, int], step: int, slot: int) -> Tensor:
    """The images of a micro-batch, named by its step and slot: uint8 (B, H, W, C)."""
    noise_bhwc = keyed_normal((_IMAGES, *image_shape), 3, step, slot)
    return noise_bhwc.mul(50).add(128).round().clamp(0, 255).to(torch.uint8)


def all_gradients(model: nn.Module) -> Tensor:
    """The gradients of all parameters, one behind another; zeros for those that have none."""
    parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    return torch.cat([part.detach().flatten() for part in parts]).to("cpu", torch.float64)


def gradient_troubles(model: nn.Module) -> list[str]:
    """What is wrong with the gradients: missing, not finite, or zero where they should not be."""
    may_vanish, troubles = set(cancelled_biases(model)), list[str]()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            troubles.append(f"{name} has no gradient")
        elif not parameter.grad.isfinite().all():
            troubles.append(f"the gradient of {name} is not finite")
        elif name not in may_vanish and not parameter.grad.any():
            troubles.append(f"the gradient of {name} is zero")
    return troubles


def cancelled_biases(model: nn.Module) -> list[str]:
    """The biases whose gradient is rightly zero: batch normalisation, coming next, takes the mean out again."""
    found = list[str]()
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            children = list(module.named_children())
            found += [
                f"{name}.{layer}.bias" for (layer, _), (_, after) in pairwise(children) if isinstance(after, BatchNorm)
            ]
    return found


def state_sha256(model: nn.Module) -> str:
    """The sha256 of a model's parameters and running statistics, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
