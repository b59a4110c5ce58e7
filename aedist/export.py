"""A trained model on disk: ``model/`` with its weights in safetensors and what it takes to use them in config.json.

``load`` gives the model back, from a run's directory or from such a folder.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aedist.errors import UserError
from aedist.models import get_model

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


def export(folder: Path, model: nn.Module, record: dict[str, Any]) -> None:
    """Write the model's folder.

    Args:
        folder: made if it is not there; replaced file by file.
        model: the model.
        record: ``kind`` and ``options`` for ``get_model``, and whatever else a user of the weights should know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    beside = folder / f"{_WEIGHTS}.part"
    save_file(weights, beside)
    beside.replace(folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load(path: str | Path) -> nn.Module:
    """The trained model of a run, or of a ``model/`` folder, in evaluation mode on the CPU.

    Raises:
        UserError: if there is no exported model, or its files do not belong together.
    """
    folder = Path(path)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    try:
        record = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        options = {**record["options"], "image_shape": tuple(record["options"]["image_shape"])}
        model = get_model(record["kind"], **options)
        model.load_state_dict(load_file(folder / _WEIGHTS), assign=True)  # as they are, fp64 too
    except OSError as error:
        raise UserError(
            f"{folder}: holds no exported model ({error.strerror}); a run writes it when it ends"
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: is not an exported model of this version ({reason})") from error
    return model.eval()
