"""What this process may compute with: cores, threads, memory, shared memory, open files, and the locale.

What the machine has and what a process may use differ: a scheduler binds a task to cores, and a container's cgroup
limits CPU time and memory, of which most libraries know nothing.
"""

import contextlib
import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.finding import Finding, Verdict, judged, spell_bytes

_GROUP = "machine"
_MIB, _GIB = 2**20, 2**30
_SHM = "shared memory"


@dataclass(frozen=True)
class Processor:
    """What was read."""

    model: str
    cores: int
    """Of the machine."""
    allowed: tuple[int, ...]
    """The numbers of the cores that this process is bound to."""
    quota: float | None
    """How many cores' time the cgroup gives; None for all."""
    threads: int | None
    """OMP_NUM_THREADS."""
    local_world: int
    """How many processes of the job share the machine."""
    memory: int
    """Bytes of the machine."""
    free_memory: int
    """Bytes that are to be had now."""
    memory_limit: int | None
    """Bytes that the cgroup allows; None for all."""
    shm: int | None
    """Bytes of /dev/shm; None where there is none."""
    free_shm: int
    open_files: int
    """How many files a process may have open; -1 for any number."""
    encoding: str
    """Of file names."""


def read_processor(threads: int | None, local_world: int, root: Path = Path("/")) -> Processor:
    """Read it; ``root`` is where /proc, /sys and /dev begin."""
    memory = _meminfo(root)
    shm = root / "dev/shm"
    size = os.statvfs(shm) if shm.is_dir() else None
    return Processor(
        model=_cpu_model(root),
        cores=os.cpu_count() or 1,
        allowed=tuple(sorted(os.sched_getaffinity(0))),
        quota=_cpu_quota(root),
        threads=threads,
        local_world=local_world,
        memory=memory.get("MemTotal", 0),
        free_memory=memory.get("MemAvailable", 0),
        memory_limit=_memory_limit(root),
        shm=size.f_blocks * size.f_frsize if size else None,
        free_shm=size.f_bavail * size.f_frsize if size else 0,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        encoding=sys.getfilesystemencoding(),
    )


def judge_processor(read: Processor) -> list[Finding]:
    """The verdicts."""
    return [
        Finding(_GROUP, "CPU", read.model),
        _judge_cores(read),
        _judge_memory(read),
        _judge_shm(read),
        _judge_open_files(read.open_files),
        _judge_encoding(read.encoding),
    ]


def judge_sharing(group: str, cores_by_process: Sequence[tuple[int, ...]]) -> Finding:
    """Whether the processes of one machine have enough cores among them.

    Args:
        group: what the finding is to stand under.
        cores_by_process: of each process, the numbers of the cores that it is bound to.
    """
    together = {core for cores in cores_by_process for core in cores}
    value = f"{len(cores_by_process)} processes on {len(together)} cores"
    if len(together) >= len(cores_by_process):
        return Finding(group, "cores", value)
    fix = "give each process cores of its own: --cpus-per-task (srun -c), or fewer processes a machine"
    return Finding(group, "cores", value, "look here", fix)


def _judge_cores(read: Processor) -> Finding:
    usable = min(len(read.allowed), read.quota or len(read.allowed))
    value = f"{usable:g} of {read.cores} to use"
    if read.threads is not None:
        value += f", OMP_NUM_THREADS {read.threads}"
    if read.quota is not None and read.quota < len(read.allowed) and read.threads is None:
        fix = f"export OMP_NUM_THREADS={max(1, int(read.quota / read.local_world))}: the container stops more threads"
        return Finding(_GROUP, "cores", value, "look here", fix)
    if read.threads is not None and read.threads * read.local_world > max(usable, len(read.allowed)):
        threads = max(1, int(usable / read.local_world))
        fix = f"{read.local_world} processes with {read.threads} threads each; export OMP_NUM_THREADS={threads}"
        return Finding(_GROUP, "cores", value, "look here", fix)
    if len(read.allowed) == 1 and read.cores > 2:
        fix = "if that is the scheduler's default, ask for more: --cpus-per-task, to srun too"
        return Finding(_GROUP, "cores", value, "look here", fix)
    return Finding(_GROUP, "cores", value)


def _judge_memory(read: Processor) -> Finding:
    most = min(read.memory, read.memory_limit or read.memory)
    free = min(most, read.free_memory)
    value = f"{spell_bytes(most)}, {spell_bytes(free)} free"
    if most < read.memory:
        value += f" (the machine has {spell_bytes(read.memory)})"
    fix = "end other programs, or ask for more: --mem of SLURM, --memory of a container"
    verdict: Verdict = "broken" if free < _GIB // 2 else "look here" if free < 2 * _GIB else "good"
    return judged(_GROUP, "memory", value, verdict, fix, same=False)


def _judge_shm(read: Processor) -> Finding:
    if read.shm is None:
        fix = "mount /dev/shm, or train with data.workers=0: loader workers hand over images through it"
        return Finding(_GROUP, _SHM, "missing", "look here", fix)
    value = f"{spell_bytes(read.shm)}, {spell_bytes(read.free_shm)} free"
    if read.free_shm < 256 * _MIB:
        fix = "loader workers hand over images through it: docker run --shm-size=2g, or data.workers=0"
        return Finding(_GROUP, _SHM, value, "look here", fix, same=False)
    return Finding(_GROUP, _SHM, value, same=False)


def _judge_open_files(most: int) -> Finding:
    value = f"{most:,} at a time" if most >= 0 else "any number at a time"
    if 0 <= most < 1024:
        verdict: Verdict = "broken" if most < 128 else "look here"
        return Finding(
            _GROUP, "open files", value, verdict, "ulimit -n 4096: shards, workers and links hold files open"
        )
    return Finding(_GROUP, "open files", value)


def _judge_encoding(encoding: str) -> Finding:
    if encoding.lower() in ("utf-8", "utf8"):
        return Finding(_GROUP, "names of files", encoding)
    return Finding(_GROUP, "names of files", encoding, "look here", "export LC_ALL=C.UTF-8")


def _cpu_model(root: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    with contextlib.suppress(OSError, ValueError):
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return {}


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's cgroup and those above it, of version 2 and of version 1's ``controller``."""
    found = list[Path]()
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, inner = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            base = root / "sys/fs/cgroup" / (controller if controllers else "")
            parts = [part for part in inner.split("/") if part not in ("", "..")]
            found += [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found


def _number(path: Path) -> list[int]:
    """The whole numbers in a file; ``max`` and what is not there give none."""
    with contextlib.suppress(OSError):
        return [int(word) for word in path.read_text(encoding="ascii").split() if word.lstrip("-").isdecimal()]
    return []


def _cpu_quota(root: Path) -> float | None:
    quotas = list[float]()
    for folder in _cgroups(root, "cpu"):
        both = _number(folder / "cpu.max")
        old = _number(folder / "cpu.cfs_quota_us") + _number(folder / "cpu.cfs_period_us")
        for numbers in (both, old):
            if len(numbers) == 2 and min(numbers) > 0:
                quotas.append(numbers[0] / numbers[1])
    return min(quotas, default=None)


def _memory_limit(root: Path) -> int | None:
    limits = list[int]()
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [limit for limit in _number(folder / name) if 0 < limit < 2**60]
    return min(limits, default=None)
