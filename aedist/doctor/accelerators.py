"""The GPUs: which there are, what torch can do with them, what ails them, and how they are connected.

``nvidia-smi`` is asked, so that no memory of a GPU is taken; torch only for what it sees and was compiled for.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from aedist.doctor.finding import Finding, judged, spell_bytes

_GROUP = "GPUs"
_SECONDS = 20.0
_FIELDS = ("uuid", "name", "memory.total", "memory.used", "compute_cap", "driver_version", "compute_mode")
_AILMENTS = {
    "ecc.errors.uncorrected.volatile.total": "uncorrected memory errors",
    "clocks_throttle_reasons.hw_thermal_slowdown": "slowed down by heat",
    "clocks_throttle_reasons.sw_thermal_slowdown": "slowed down by heat",
    "clocks_throttle_reasons.hw_power_brake_slowdown": "slowed down by the power supply",
    "mig.mode.current": "cut into parts (MIG)",
}
_FIXES = {
    "uncorrected memory errors": "leave this GPU out (CUDA_VISIBLE_DEVICES), and have it reset or replaced",
    "slowed down by heat": "see to its cooling: nvidia-smi -q -d TEMPERATURE,PERFORMANCE",
    "slowed down by the power supply": "see to its power: nvidia-smi -q -d POWER,PERFORMANCE",
    "cut into parts (MIG)": "a process gets one part: name one by its UUID in CUDA_VISIBLE_DEVICES",
}


@dataclass(frozen=True)
class GPU:
    """One GPU, as nvidia-smi tells of it."""

    uuid: str
    name: str
    memory: int
    """Bytes."""
    used: int
    """Bytes that somebody uses now."""
    capability: str
    """Such as ``9.0``."""
    driver: str
    mode: str = "Default"
    ails: tuple[str, ...] = ()
    """What is wrong with it, in words."""


@dataclass(frozen=True)
class GPUs:
    """What was read."""

    found: tuple[GPU, ...]
    links: tuple[str, ...]
    """Between each two, as ``nvidia-smi topo -m`` names it: NV18, PIX, SYS."""
    seen: int
    """How many torch sees."""
    built_for: str | None
    """The CUDA that torch was built for."""
    compiled_for: tuple[str, ...]
    """What torch's kernels were compiled for, such as ``sm_90``."""
    visible: str | None
    """CUDA_VISIBLE_DEVICES."""


def read_gpus(visible: str | None) -> GPUs:
    """Read it; takes some seconds where there are GPUs."""
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return GPUs(
        found=_found(),
        links=parse_links(_smi("topo", "-m")),
        seen=seen,
        built_for=torch.version.cuda,
        compiled_for=tuple(torch.cuda.get_arch_list()),
        visible=visible,
    )


def judge_gpus(read: GPUs) -> list[Finding]:
    """The verdicts."""
    if not read.found:
        value = "none that nvidia-smi tells of; training runs on the CPU"
        return [Finding(_GROUP, "GPUs", value if not read.seen else f"{read.seen}, but there is no nvidia-smi")]
    found = [_judge_seen(read), Finding(_GROUP, "driver", ", ".join(sorted({gpu.driver for gpu in read.found})))]
    models = sorted({f"{gpu.name}, {spell_bytes(gpu.memory)}, capability {gpu.capability}" for gpu in read.found})
    fix = "the slowest sets the pace: choose like ones with CUDA_VISIBLE_DEVICES"
    found.append(judged(_GROUP, "model", "; ".join(models), "look here" if len(models) > 1 else "good", fix))
    if read.links:
        found.append(Finding(_GROUP, "interconnect", spell_links(read.links)))
    for number, gpu in enumerate(read.found):
        found += _judge_one(read, number, gpu)
    return found


def _judge_seen(read: GPUs) -> Finding:
    there, value = len(read.found), f"{len(read.found)}, torch sees {read.seen}"
    if read.visible is not None:
        value += f" (CUDA_VISIBLE_DEVICES={read.visible})"
    if read.seen >= there:
        return Finding(_GROUP, "GPUs", value)
    if read.built_for is None:
        fix = "torch was built for CPUs; pip install --force-reinstall torch, from the usual index"
        return Finding(_GROUP, "GPUs", value, "broken", fix)
    if read.visible is not None and read.visible.strip() in ("", "-1"):
        return Finding(_GROUP, "GPUs", value, "look here", "CUDA_VISIBLE_DEVICES hides all; unset it to train on GPUs")
    if read.seen == 0:
        fix = f"the driver must suit CUDA {read.built_for}: update it, or install a torch for an older CUDA"
        return Finding(_GROUP, "GPUs", value, "broken", fix)
    if read.visible is None:
        return Finding(_GROUP, "GPUs", value, "look here", "see what nvidia-smi and dmesg say of the others")
    return Finding(_GROUP, "GPUs", value)


def _judge_one(read: GPUs, number: int, gpu: GPU) -> list[Finding]:
    name, found = f"GPU {number}", list[Finding]()
    if read.compiled_for and not runs_on(gpu.capability, read.compiled_for):
        kernels = ", ".join(read.compiled_for)
        fix = "install a torch that is compiled for it"
        found.append(
            Finding(_GROUP, name, f"capability {gpu.capability}; torch has kernels for {kernels}", "broken", fix)
        )
    if gpu.mode == "Prohibited":
        fix = "nvidia-smi --compute-mode=DEFAULT, as root"
        found.append(Finding(_GROUP, name, "no process may use it (compute mode Prohibited)", "broken", fix))
    if gpu.used > 0.1 * gpu.memory:
        fix = "see with nvidia-smi who uses it, and wait or choose others with CUDA_VISIBLE_DEVICES"
        value = f"{spell_bytes(gpu.used)} of {spell_bytes(gpu.memory)} are in use"
        found.append(Finding(_GROUP, name, value, "look here", fix, same=False))
    found += [Finding(_GROUP, name, ail, "look here", _FIXES[ail], same=False) for ail in gpu.ails]
    return found


def runs_on(capability: str, compiled_for: Sequence[str]) -> bool:
    """Whether code that was compiled so runs on a GPU: ``sm_`` of the same major number, or ``compute_`` of none later.

    Both are as the CUDA guide says: binaries run on the same major capability with no lower minor, PTX on any later.
    """
    own = _capability(capability.replace(".", ""))
    for kind, text in (word.split("_", 1) for word in compiled_for if "_" in word):
        other = _capability(text)
        if other <= own and (kind == "compute" or other[0] == own[0]):
            return True
    return False


def _capability(digits: str) -> tuple[int, int]:
    """``90`` or ``90a`` to (9, 0)."""
    plain = re.sub(r"\D.*", "", digits) or "0"
    return int(plain[:-1] or 0), int(plain[-1])


def parse_links(table: str) -> tuple[str, ...]:
    """Of the table of ``nvidia-smi topo -m``, the words between each two GPUs."""
    rows = [line.split() for line in re.sub(r"\x1b\[\d*m", "", table).splitlines() if re.match(r"\s*GPU\d+\s+\S", line)]
    rows = [row for row in rows if "X" in row]  # the first line has names alone
    return tuple(row[1 + other] for number, row in enumerate(rows) for other in range(number + 1, len(rows)))


def spell_links(links: Sequence[str]) -> str:
    """How GPUs are connected, in words."""
    kinds = sorted(set(links))
    words = {
        "PIX": "one PCIe switch",
        "PXB": "PCIe switches",
        "PHB": "PCIe through the CPU",
        "NODE": "PCIe, one socket",
    }
    told = [
        f"NVLink ({kind})" if kind.startswith("NV") else words.get(kind, f"between sockets ({kind})") for kind in kinds
    ]
    return ", ".join(told)


def _found() -> tuple[GPU, ...]:
    rows = _query(_FIELDS)
    gpus = [row for row in rows if len(row) == len(_FIELDS)]
    ails: list[list[str]] = [[] for _ in gpus]
    for field, words in _AILMENTS.items():  # one by one: a driver that does not know one refuses them all
        for number, row in enumerate(_query((field,))[: len(gpus)]):
            if row and (row[0] in ("Active", "Enabled") or (row[0].isdecimal() and row[0] != "0")):
                ails[number].append(words)
    return tuple(
        GPU(uuid, name, _mib(total), _mib(used), capability, driver, mode, tuple(dict.fromkeys(ail)))
        for (uuid, name, total, used, capability, driver, mode), ail in zip(gpus, ails, strict=True)
    )


def _mib(text: str) -> int:
    return int(text) * 2**20 if text.isdecimal() else 0


def _query(fields: Sequence[str]) -> list[list[str]]:
    """A row a GPU."""
    told = _smi(f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    return [[cell.strip() for cell in line.split(",")] for line in told.splitlines() if line.strip()]


def _smi(*words: str) -> str:
    """What nvidia-smi says; nothing where it is missing, fails or does not answer."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
