"""How fast the processes add numbers up, and how fast each machine sends to rank zero's."""

import time
from collections.abc import Mapping, Sequence

import torch

from aedist.doctor.finding import Finding, judged, spell_bytes
from aedist.place import Place

_SIZES = (2**12, 2**18, 2**22, 2**24)
"""Bytes."""
_ON_GPUS = (*_SIZES, 2**28)
_TIMES = 5
_PATIENCE_SECONDS = 1.0
"""Larger sizes are left out where one sum took longer."""
_SENT = 2**23
_SLOW = 0.3


def time_sums(place: Place) -> dict[int, float]:
    """Seconds of an all-reduce by its bytes, the median of some, as the slowest process sees it."""
    found = dict[int, float]()
    for size in _ON_GPUS if place.device.type == "cuda" else _SIZES:
        tensor, seconds = torch.ones(size // 4, device=place.device), list[float]()
        for _ in range(_TIMES + 1):  # the first opens connections
            tensor.fill_(1)
            _finish(place)
            start = time.monotonic()
            place.add(tensor)
            _finish(place)
            seconds.append(time.monotonic() - start)
        found[size] = max(place.share(sorted(seconds[1:])[_TIMES // 2]))
        if found[size] > _PATIENCE_SECONDS:
            break
    return found


def judge_sums(group: str, seconds: Mapping[int, float], world: int) -> list[Finding]:
    """The times of sums in words. Bandwidth is 2 (W - 1) / W bytes a second, what each process's link carries.

    That is the measure of NVIDIA's nccl-tests ("bus bandwidth"), which does not fall with the number of processes.
    """
    if world == 1 or not seconds:
        return []
    sums = ", ".join(f"{spell_bytes(size)} {_spell(took)}" for size, took in seconds.items())
    size = max(seconds)
    rate = 2 * (world - 1) / world * size / seconds[size]
    slow = rate < 50e6 or min(seconds.values()) > 0.05
    fix = "slow: name the fast network with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME; see that no core is shared"
    return [
        Finding(group, "sums over all", sums, same=False),
        judged(
            group, "bandwidth of a process", f"{rate / 1e9:.2f} GB/s", "look here" if slow else "good", fix, same=False
        ),
    ]


def time_machines(place: Place, first_ranks: Mapping[str, int]) -> dict[str, float]:
    """On rank zero, the bytes a second at which each other machine's first process sends to it, over the hosts' CPUs.

    Args:
        place: this process.
        first_ranks: by machine, the first process on it.
    """
    found = dict[str, float]()
    for name, rank in first_ranks.items():
        word, body = torch.zeros(1), torch.zeros(_SENT // 4)
        if place.is_zero and rank:
            place.take_from(rank, word)
            start = time.monotonic()
            place.take_from(rank, body)
            found[name] = _SENT / (time.monotonic() - start)
        elif rank and place.rank == rank:
            place.hand_to_zero(word)
            place.hand_to_zero(body)
    place.wait_for_all()
    return found


def judge_machines(group: str, rates: Mapping[str, float]) -> list[Finding]:
    """The slowest and the fastest way to rank zero; the slow ones by name."""
    if not rates:
        return []
    ordered: Sequence[str] = sorted(rates, key=lambda name: rates[name])
    median = rates[ordered[len(ordered) // 2]]
    value = f"{rates[ordered[0]] / 1e9:.2f} ({ordered[0]}) to {rates[ordered[-1]] / 1e9:.2f} GB/s"
    slow = [name for name in ordered if rates[name] < _SLOW * median]
    if not slow:
        return [Finding(group, "machines to rank zero's", value, same=False)]
    fix = f"leave out {', '.join(slow[:3])} (sbatch --exclude), or see to its cable and network interface"
    return [Finding(group, "machines to rank zero's", value, "look here", fix, same=False)]


def _finish(place: Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)


def _spell(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
