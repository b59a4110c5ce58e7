"""On what, with what and how undisturbed something was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("aedist", "torch", "torchvision", "numpy", "accelerate", "simplejpeg", "pillow", "webdataset")


def hardware() -> str:
    """Processor, cores, memory, GPU."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} cores, {memory / 2**20:.0f} GiB, {gpu}"


def versions() -> str:
    """Python and the packages that matter."""
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def load() -> float:
    """How many processes wanted to run, on average over the last minute."""
    return os.getloadavg()[0]


def circumstances(before: float, after: float, seconds: float) -> str:
    """The lines above a section. ``before`` and ``after``: the load; it was idle, or is said to have been busy."""
    cores = len(os.sched_getaffinity(0))
    busy = f" **Others used this machine: its {cores} cores were wanted by more.**" if before > cores / 4 else ""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{when}, {seconds:,.0f} s. {hardware()}. {versions()}. Load average {before:.1f} before, {after:.1f} "
        f"after.{busy}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
