"""A trained model on disk: ``model/`` with its weights in safetensors and what it takes to use them in config.json.

config.json names the architecture and its options, and knows the sha256 of the weights, so that files that do not
belong together, or were damaged, are refused. Nothing is ever unpickled. Numbers that are not finite are null there,
since JSON has none.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from aedist.errors import UserError
from aedist.models import get_model
from aedist.whole import write_whole

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_SHA256 = "weights_sha256"


@dataclass(frozen=True)
class Exported:
    """A model in evaluation mode, and config.json: ``kind``, ``options`` and what else a user should know."""

    model: nn.Module
    record: dict[str, Any]


def export(folder: Path, model: nn.Module, record: dict[str, Any]) -> None:
    """Write the model's folder, durable when this returns.

    Args:
        folder: made if it is not there; replaced file by file.
        model: the model.
        record: ``kind`` and ``options`` for ``get_model``, and whatever else a user of the weights should know.

    Raises:
        ValueError: if two of the model's tensors share memory, so that one would change with the other.
        UserError: if the disk does not take it.
    """
    state = model.state_dict()
    _refuse_shared(state)
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    known = {**record, "aedist": version("aedist"), _SHA256: hashlib.sha256(weights).hexdigest()}
    text = json.dumps(_plain(known), indent=1, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / WEIGHTS, weights, durable=True)
        write_whole(folder / CONFIG, text, durable=True)  # last: it vouches for the weights
    except OSError as error:
        raise UserError(
            f"{folder}: the model cannot be written ({error.strerror}); make room and start again"
        ) from error


def read_export(folder: Path, name: str | None = None) -> Exported:
    """The model in a folder, on the CPU, in the arithmetic it was exported in.

    Args:
        folder: as ``export`` leaves it.
        name: what a mistake is told of, if not the folder.

    Raises:
        UserError: if there is no exported model, or its files do not belong together.
    """
    told = name or folder
    try:
        record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(f"{told}: holds no exported model ({error.strerror}); a run writes it when it ends") from error
    except (ValueError, RecursionError) as error:
        raise _refusal(told, f"{CONFIG}: {error}") from error
    try:
        options = {key: _tupled(value) for key, value in record["options"].items()}
        with torch.device("meta"):  # its size, before memory is taken for it
            count = sum(tensor.numel() for tensor in get_model(record["kind"], **options).state_dict().values())
        if count > len(content):
            raise ValueError(f"{CONFIG} describes {count:,} numbers, but {WEIGHTS} has {len(content):,} bytes")
        model = get_model(record["kind"], **options)
        found = hashlib.sha256(content).hexdigest()
        if found != record[_SHA256]:
            raise ValueError(f"{WEIGHTS} has sha256 {found}, not {record[_SHA256]}: damaged, or another model's")
        weights = load(content)
        of_numbers = _check_types(weights, model.state_dict())
        model.load_state_dict(weights, assign=True)  # as they are, fp64 too
        model.to(of_numbers)  # what is not saved as well, such as what batch normalisation keeps of a pass
    except KeyError as error:
        raise _refusal(told, f"{CONFIG} has no {error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError, RuntimeError, SafetensorError) as error:
        raise _refusal(told, str(error)) from error
    return Exported(model.eval(), record)


def _refusal(told: object, reason: str) -> UserError:
    return UserError(
        f"{told}: is not an exported model of this version ({' '.join(reason.split())}); export or fetch it again"
    )


def _refuse_shared(state: dict[str, Tensor]) -> None:
    """Two names for one tensor are refused: after loading they would be two tensors."""
    owners: dict[tuple[str, int], str] = {}
    for name, tensor in state.items():
        place = str(tensor.device), tensor.untyped_storage().data_ptr()
        if tensor.numel() and owners.setdefault(place, name) != name:
            raise ValueError(f"{owners[place]} and {name} share memory; a model cannot be exported so")


def _check_types(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> torch.dtype:
    """Counters stay whole numbers, and all else is in one arithmetic, which is returned."""
    of_numbers: dict[torch.dtype, str] = {}
    for name, tensor in weights.items():
        if name not in expected:
            continue  # load_state_dict tells all strangers at once
        if tensor.is_floating_point():
            of_numbers.setdefault(tensor.dtype, name)
        elif tensor.dtype != expected[name].dtype:
            raise ValueError(f"{name} is {tensor.dtype}, not {expected[name].dtype}")
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype}, not {expected[name].dtype}")
    if len(of_numbers) > 1:
        raise ValueError(" but ".join(f"{name} is {dtype}" for dtype, name in of_numbers.items()))
    return next(iter(of_numbers), torch.float32)


def _tupled(value: Any) -> Any:
    """JSON's lists as the tuples that constructors take."""
    return tuple(_tupled(item) for item in cast(list[Any], value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A record with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast(list[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
