"""Processes of the proof, started and waited for: whatever becomes of them, there is an answer within a bounded time.

They are processes of their own, not threads or forks of this one, so that a crash in a library, a hang, or a GPU's
context is theirs. What they have to say on purpose is rank zero's last line of output.
"""

import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.finding import Finding
from aedist.doctor.peer import Proof
from aedist.link import free_port

_OF_A_LAUNCHER = re.compile(
    r"(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|GROUP_.*|ROLE_.*|TORCHELASTIC_.*|ACCELERATE_.*"
    r"|SLURM_.*|OMP_NUM_THREADS)"
)
_POLL_SECONDS = 0.05
_AFTER_ONE_FAILED = 20.0
"""How long the others then have to say what they saw."""
_LONGEST_LINE = 600


@dataclass(frozen=True)
class Peer:
    """A process that was started, and where its output goes."""

    rank: int
    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    def trouble(self) -> str | None:
        """Why it failed, in a line; None if it did not."""
        code = self.process.returncode
        if code == 0:
            return None
        lines = [line for line in _read(self.errors).splitlines() if line.strip()]
        own = [line for line in lines if line.startswith("aedist: ")]
        said = (own or lines or [""])[-1].removeprefix("aedist: ").removeprefix(f"process {self.rank}: ")
        said = said.strip()[:_LONGEST_LINE]
        if code < 0:
            return f"process {self.rank} was ended by {_signal(-code)}{f' ({said})' if said else ''}"
        said = said or f"exit code {code}"
        return said if said.startswith("process ") else f"process {self.rank}: {said}"


def environments(world: int, base: Mapping[str, str], *, gpus: bool) -> list[dict[str, str]]:
    """What to tell each of ``world`` processes of this machine, as any launcher tells it."""
    plain = {name: value for name, value in base.items() if not _OF_A_LAUNCHER.fullmatch(name)}
    if not gpus:
        plain["CUDA_VISIBLE_DEVICES"] = ""
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        {**plain, **meet, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        | {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        for rank in range(world)
    ]


def run_peers(
    command: Sequence[str], tell: Sequence[Mapping[str, str]], first_rank: int, limit_seconds: float, group: str
) -> tuple[Proof | None, list[Finding]]:
    """Start a process for each environment, and wait until all have ended.

    Args:
        command: what to run.
        tell: each one's environment.
        first_rank: the rank of the first.
        limit_seconds: after which they are killed.
        group: what findings are to stand under.

    Returns:
        What rank zero learned, if it is among them and got so far; and what became of those that failed.
    """
    with tempfile.TemporaryDirectory(prefix="aedist-doctor-") as scratch:
        peers = [
            _start(command, environment, first_rank + number, Path(scratch)) for number, environment in enumerate(tell)
        ]
        try:
            _wait(peers, limit_seconds)
        finally:
            late = [peer for peer in peers if peer.process.poll() is None]
            for peer in late:
                peer.process.kill()
                peer.process.wait()
        troubles = [f"process {peer.rank} did not end in time and was killed" for peer in late]
        told = [line for peer in peers if peer not in late and (line := peer.trouble()) is not None]
        told.sort(key=lambda line: "was ended by" not in line)  # causes before what they led to
        findings = [_judge(group, line) for line in dict.fromkeys(troubles + told)]
        proof = _proof(peers[0])
        if first_rank == 0 and proof is None and not findings:
            fix = "see that sitecustomize or the like prints nothing at the end of Python"
            findings.append(Finding(group, "what became of them", "process 0 said nothing", "broken", fix))
        return proof, findings


def advice(trouble: str) -> str:
    """What to try for a failed process, from what it said."""
    for pattern, words in (
        (
            r"not come|heard nothing|find rank zero|found rank zero|cannot open",
            "see that all were started, and that their machines reach each other",
        ),
        (
            r"ended by|gone without",
            "see the system's log of its machine (dmesg) for whether memory ran out; then try again",
        ),
        (r"nothing moved|did not end", "look at the process that is named: py-spy dump --pid, or its machine's state"),
        (r"Duplicate GPU", "start at most as many processes a machine as it has GPUs"),
        (
            r"connection|gloo|NCCL",
            "name the network interface: GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME; see 'ip addr'",
        ),
    ):
        if re.search(pattern, trouble):
            return words
    return "mend what the line says, and run aedist doctor again"


def _judge(group: str, trouble: str) -> Finding:
    """A failed process as a finding; what its line says to do is the fix."""
    value, see, fix = trouble.partition("; see ")
    return Finding(group, "what became of them", value, "broken", f"see {fix}" if see else advice(trouble))


def _start(command: Sequence[str], environment: Mapping[str, str], rank: int, folder: Path) -> Peer:
    paths = folder / f"output-{rank}", folder / f"errors-{rank}"
    with paths[0].open("wb") as output, paths[1].open("wb") as errors:
        process = subprocess.Popen(list(command), env=dict(environment), stdout=output, stderr=errors)  # noqa: S603 (our own words)
    return Peer(rank, process, *paths)


def _wait(peers: Sequence[Peer], limit_seconds: float) -> None:
    """Return when all have ended, or it has taken too long."""
    end = time.monotonic() + limit_seconds
    has_failed = False
    while time.monotonic() < end:
        codes = [peer.process.poll() for peer in peers]
        if None not in codes:
            return
        if any(codes) and not has_failed:
            has_failed, end = True, min(end, time.monotonic() + _AFTER_ONE_FAILED)
        time.sleep(_POLL_SECONDS)


def _proof(peer: Peer) -> Proof | None:
    lines = _read(peer.output).splitlines()
    try:
        return Proof.of_record(json.loads(lines[-1])) if lines else None
    except (ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
