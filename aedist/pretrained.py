"""Trained models by name: a run's, a folder's, or one on the Hugging Face hub.

What travels is ``model/`` as it is, its two files, and a page about them; so a model comes back from the hub bit for
bit, and with no more power than a file of numbers has.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from huggingface_hub import HfApi, ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import nn

from aedist.errors import UserError
from aedist.export import CONFIG, WEIGHTS, Exported, export, read_export
from aedist.modelcard import model_card

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
_CLIENT_ERRORS: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
"""Errors of whichever client the hub's library talks through: they differ from version to version of it."""
_NOT_THERE = "correct it, or log in with 'hf auth login' if it is private"


def load(path: str | Path) -> nn.Module:
    """A trained model, in evaluation mode on the CPU.

    Args:
        path: a run's directory, a ``model/`` folder, or, as text, ``owner/name`` or ``owner/name@revision`` of the
            hub. Where a folder ``owner`` is here, it is a path.

    Raises:
        UserError: if there is no exported model, or its files do not belong together.
    """
    folder = Path(path)
    hub_id = _HUB_ID.fullmatch(path) if isinstance(path, str) else None
    if hub_id and not folder.exists() and not Path(folder.parts[0]).exists():
        return Pretrained.from_pretrained(hub_id["repository"], revision=hub_id["revision"]).model
    return read_export(model_folder(folder)).model


def model_folder(path: Path) -> Path:
    """The ``model/`` folder of a run, or the folder itself."""
    return path / "model" if (path / "model").is_dir() else path


def push_to_hub(path: Path, repository: str, *, private: bool | None = None, token: str | None = None) -> Exported:
    """Put the model of a run, or of a ``model/`` folder, on the hub; returns what was pushed.

    Args:
        path: the run's directory or the folder.
        repository: ``owner/name``; made if it is not there.
        private: whether a repository that is made is hidden from others; the owner's default if left out.
        token: the hub's; the one of ``hf auth login`` if left out.

    Raises:
        UserError: if there is no model, or the hub does not take it.
    """
    match = _HUB_ID.fullmatch(repository)
    if match is None or match["revision"]:
        raise UserError(f"{repository}: is not the name of a place on the hub; write owner/name")
    exported = read_export(model_folder(path))
    with _told(repository):
        if private:
            _refuse_public(repository, token)
        Pretrained(exported.model, exported.record).push_to_hub(
            repository,
            commit_message=f"Model of step {exported.record.get('step', 'unknown')}",
            private=private,
            token=token,
            model_card_kwargs={"repository": repository},
        )
    return exported


def _refuse_public(repository: str, token: str | None) -> None:
    """A place that is there already stays as visible as it is, whatever is asked for."""
    try:
        is_private = HfApi(token=token).model_info(repository).private
    except RepositoryNotFoundError:
        return
    if not is_private:
        raise UserError(f"{repository}: is on the hub already, and public; make it private there, or push it as public")


class Pretrained(ModelHubMixin):
    """A model and its record, with huggingface_hub's ``save_pretrained``, ``push_to_hub`` and ``from_pretrained``."""

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        """``record`` is config.json's content."""
        self.model, self.record = model, record

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """From a folder, or ``owner/name`` with ``revision``, ``token`` and the mixin's other options.

        Unlike the mixin's own it makes nothing of config.json before the whole model was judged.

        Raises:
            UserError: if there is no such model, or its files do not belong together.
        """
        revision = options.get("revision")
        name = f"{pretrained_model_name_or_path}@{revision}" if revision else str(pretrained_model_name_or_path)
        with _told(name):
            return cls._from_pretrained(model_id=str(pretrained_model_name_or_path), **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        if Path(model_id).is_dir():
            exported = read_export(Path(model_id))
        else:
            # one commit for both files, whatever is pushed in between
            first = Path(hf_hub_download(model_id, CONFIG, **options))
            options["revision"] = first.parent.name
            weights = Path(hf_hub_download(model_id, WEIGHTS, **options))
            exported = read_export(weights.parent, name=model_id)
        return cls(exported.model, exported.record)

    def _save_pretrained(self, save_directory: Path) -> None:
        export(save_directory, self.model, self.record)

    def generate_model_card(self, *, repository: str | None = None) -> ModelCard:
        """The page about the model."""
        return ModelCard(model_card(self.record, repository))


@contextmanager
def _told(name: str) -> Generator[None]:
    """What goes wrong with the hub, in one line."""
    try:
        yield
    except RevisionNotFoundError as error:
        raise UserError(f"{name}: there is no such revision on the hub; name a branch, a tag or a commit") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{name}: is neither a folder here nor a model on the hub; {_NOT_THERE}") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{name}: is no folder here, and the hub cannot be reached; give a folder, or go online once"
        ) from error
    except EntryNotFoundError as error:
        raise UserError(
            f"{name}: this place on the hub holds no exported model of aedist (no {CONFIG} or {WEIGHTS}); name another"
        ) from error
    except HFValidationError as error:
        raise UserError(
            f"{name}: is not the name of a place on the hub ({_first_line(error)}); write owner/name"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"{name}: the hub refuses it ({status}); log in with 'hf auth login' as somebody who may write there"
            ) from error
        raise UserError(f"{name}: the hub does not take it ({_first_line(error)}); try again later") from error
    except _CLIENT_ERRORS as error:
        raise UserError(f"{name}: the hub cannot be reached ({_first_line(error)}); try again later") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
