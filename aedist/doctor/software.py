"""What is installed: Python, aedist and what it needs, and how torch was built.

Versions are held against what the installed package asks for, in its own metadata; and, where the checkout is there,
against ``launch/constraints.txt``, the versions that it was tested with.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

import torch
import torch.distributed as dist
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from torch.cuda import nccl

from aedist.doctor.finding import Finding

_GROUP = "software"
_SHOWN = ("torch", "accelerate", "numpy", "webdataset", "wandb")
"""The packages that have a row of their own also where nothing is wrong with them."""


@dataclass(frozen=True)
class Software:
    """What was read."""

    python: str
    python_asked: str
    bits: int
    aedist: str
    asked: Mapping[str, str]
    """By package, the versions that aedist may run with, such as ``>=2.11``."""
    installed: Mapping[str, str | None]
    """By package, its version; None where it is missing."""
    tested: Mapping[str, str]
    """By package, the version that was tested; empty where that is not known."""
    cuda: str | None
    """The CUDA that torch was built for."""
    nccl: str | None
    gloo: bool


def read_software(constraints: Path) -> Software:
    """Read what is installed. ``constraints``: the file of tested versions, which may be missing."""
    wanted = [Requirement(line) for line in requires("aedist") or ()]
    asked = {one.name: str(one.specifier) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})}
    return Software(
        python=platform.python_version(),
        python_asked=metadata("aedist")["Requires-Python"],
        bits=64 if platform.architecture()[0] == "64bit" else 32,
        aedist=version("aedist"),
        asked=asked,
        installed={name: _version(name) for name in asked},
        tested=_pins(constraints),
        cuda=torch.version.cuda,
        nccl=".".join(map(str, nccl.version())) if torch.version.cuda and dist.is_nccl_available() else None,
        gloo=dist.is_gloo_available(),
    )


def judge_software(read: Software) -> list[Finding]:
    """The verdicts."""
    python_fits = read.bits == 64 and SpecifierSet(read.python_asked).contains(read.python, prereleases=True)
    found = [
        Finding(_GROUP, "Python", f"{read.python}, {read.bits} bits")
        if python_fits
        else Finding(
            _GROUP,
            "Python",
            f"{read.python}, {read.bits} bits",
            "broken",
            f"make the environment anew with a Python {read.python_asked} of 64 bits",
        ),
        Finding(_GROUP, "aedist", read.aedist),
    ]
    judged = {name: _judge_package(read, name) for name in read.asked}
    found += [finding for name, finding in judged.items() if name in _SHOWN or finding.verdict != "good"]
    others = [name for name, finding in judged.items() if name not in _SHOWN and finding.verdict == "good"]
    found.append(Finding(_GROUP, "other packages", f"{len(others)} as asked for"))
    build = f"for CUDA {read.cuda}, NCCL {read.nccl or 'missing'}" if read.cuda else "for CPUs"
    if read.cuda and not read.nccl:
        fix = "install a torch with NCCL: pip install --force-reinstall torch"
        found.append(Finding(_GROUP, "torch's build", build, "broken", fix))
    else:
        found.append(Finding(_GROUP, "torch's build", build))
    if not read.gloo:
        fix = "install a torch with gloo: pip install --force-reinstall torch"
        found.append(Finding(_GROUP, "gloo", "torch was built without it", "broken", fix))
    return found


def _judge_package(read: Software, name: str) -> Finding:
    asked, installed, tested = read.asked[name], read.installed[name], read.tested.get(name)
    if installed is None:
        return Finding(_GROUP, name, "not installed", "broken", f"pip install '{name}{asked}'")
    if not SpecifierSet(asked).contains(installed, prereleases=True):
        return Finding(_GROUP, name, f"{installed}, but {asked} is needed", "broken", f"pip install '{name}{asked}'")
    if tested is None:
        return Finding(_GROUP, name, installed)
    if Version(installed).release[:1] > Version(tested).release[:1]:
        fix = f"if something fails, pip install {name}=={tested}"
        return Finding(_GROUP, name, f"{installed}; {tested} was tested", "look here", fix)
    is_tested = Version(installed).public == Version(tested).public
    return Finding(_GROUP, name, installed if is_tested else f"{installed} ({tested} was tested)")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pins(constraints: Path) -> dict[str, str]:
    """The versions in a file of lines ``name==version``."""
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pins = (line.split("#")[0].strip().partition("==") for line in lines)
    return {name: pinned for name, _, pinned in pins if pinned}
