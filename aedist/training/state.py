"""The one thing that is checkpointed: all that a run cannot work out again from its configuration and its step.

The learning rate, the order of the data and all randomness follow from the step, so they are not in here.
Tensors are kept by name (a file each for ``model``, ``ema`` and ``optimizer``), the rest as plain numbers: a
checkpoint can be read with any tool, on any number of processes, and nothing in it is ever unpickled.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from aedist.training.averaging import decay_at, follow


@dataclass
class Progress:
    """The plain numbers of a run's state."""

    step: int = 0
    """Steps done."""
    skipped_steps: int = 0
    """Steps whose update was left out for a non-finite loss or gradient."""
    bad_in_a_row: int = 0
    """How many of the last steps were skipped without a break."""
    epoch_sums: dict[str, float] = field(default_factory=dict[str, float])
    """Each term summed over the images of the epoch so far."""
    epoch_seconds: float = 0.0
    """Time spent on the steps of the epoch so far, over all attempts."""
    best_step: int | None = None
    """The step of the best evaluation."""
    best_value: float | None = None
    """Its mean squared error."""
    metrics: dict[str, float | None] = field(default_factory=dict[str, float | None])
    """The means of the last evaluation."""
    owes_evaluation: bool = False
    """Whether the step's evaluation was left out, for a stop; it comes first when the run goes on."""


@dataclass
class TrainState:
    """Model, optimiser, scaler (fp16 only), progress, and the weights' moving average where there is one."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: GradScaler | None
    progress: Progress
    average: nn.Module | None = None
    ema_decay: float = 0.0

    @property
    def usable(self) -> nn.Module:
        """The model that is evaluated and exported: the average where there is one."""
        return self.model if self.average is None else self.average

    def follow_average(self) -> None:
        """Let the average, if any, follow the model after an update."""
        if self.average is not None:
            follow(self.average, self.model, decay_at(self.ema_decay, self.progress.step + 1))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """A copy of the state's tensors on the CPU, which training does not touch: a group a file, each by name."""
        moments = self.optimizer.state_dict()["state"]
        optimizer = {
            f"{name}.{entry}": _copied(torch.as_tensor(value))
            for number, name in enumerate(self._parameter_names())
            if number in moments
            for entry, value in moments[number].items()
        }
        groups = {"model": _on_cpu(self.model), "optimizer": optimizer}
        return groups if self.average is None else {**groups, "ema": _on_cpu(self.average)}

    def numbers(self) -> dict[str, Any]:
        """The rest of the state, for JSON."""
        return {"progress": asdict(self.progress), "scaler": self.scaler.state_dict() if self.scaler else None}

    def restore(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Take over what ``tensors`` and ``numbers`` gave.

        Raises:
            KeyError, TypeError, RuntimeError: if they belong to another model, optimiser or version.
        """
        progress = _progress_of(numbers["progress"])
        self.model.load_state_dict(tensors["model"])
        if self.average is not None:
            self.average.load_state_dict(tensors["ema"])
        fresh = self.optimizer.state_dict()
        fresh["state"] = self._moments_by_number(tensors["optimizer"])
        self.optimizer.load_state_dict(fresh)
        if self.scaler and numbers["scaler"]:
            self.scaler.load_state_dict(numbers["scaler"])
        self.progress = progress

    def _moments_by_number(self, optimizer: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
        numbers = {name: number for number, name in enumerate(self._parameter_names())}
        shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in optimizer.items():
            parameter, _, entry = name.rpartition(".")
            moments.setdefault(numbers[parameter], {})[entry] = tensor
            if tensor.dim() and tensor.shape != shapes[parameter]:
                raise RuntimeError(f"{name} has shape {list(tensor.shape)}, not {list(shapes[parameter])}")
        return moments

    def _parameter_names(self) -> list[str]:
        """The parameters in the optimiser's order."""
        return [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]


def _progress_of(numbers: dict[str, Any]) -> Progress:
    """The progress that plain numbers spell.

    Raises:
        TypeError: if they do not.
    """
    for name in ("epoch_sums", "metrics"):
        if not isinstance(numbers[name], dict):
            raise TypeError(f"its {name} have no names")
    progress = Progress(**numbers)
    counts = [progress.step, progress.skipped_steps, progress.bad_in_a_row, progress.best_step or 0]
    sums = [*progress.epoch_sums.values(), progress.epoch_seconds, progress.best_value or 0.0]
    measured = [value for value in progress.metrics.values() if value is not None]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise TypeError("its steps are not whole numbers")
    if type(progress.owes_evaluation) is not bool:
        raise TypeError("what it owes is neither true nor false")
    if not all(type(value) in (int, float) for value in [*sums, *measured]):
        raise TypeError("its sums are not numbers")
    return progress


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    return {name: _copied(tensor) for name, tensor in model.state_dict().items()}


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
