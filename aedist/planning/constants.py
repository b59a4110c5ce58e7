"""The constants of a prediction: each with its unit and where it comes from, printed with it, and open to change.

None was measured on the machine that is planned for. What is called assumed is a round number of the right size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any

from aedist.errors import UserError

_GROUPS = {
    "gpus": "between GPUs",
    "cpus": "between CPUs",
    "speed": "speed of a GPU",
    "memory": "memory",
    "data": "data",
}


def _constant(value: float, group: str, unit: str, source: str) -> Any:
    return field(default=value, metadata={"group": group, "unit": unit, "source": source})


@dataclass(frozen=True)
class Constants:
    """What the predictions reckon with; ``changed`` gives others."""

    nvlink_start_us: float = _constant(18, "gpus", "us", "start of an all-reduce within a node; assumed, of 8 H100")
    nvlink_gbytes: float = _constant(370, "gpus", "GB/s", "bus bandwidth within a node; assumed, a ring of 8 H100")
    nvlink_half_mbytes: float = _constant(
        12, "gpus", "MB", "size from which that bandwidth is reached; the first bytes go at half of it; assumed"
    )
    nics: float = _constant(8, "gpus", "", "network cards of a node that are used, at most one a GPU")
    nic_gbits: float = _constant(400, "gpus", "Gbit/s", "rate of one, as sold: NDR InfiniBand")
    nic_share: float = _constant(
        0.92, "gpus", "", "of which this share arrives; NVIDIA/nccl-tests issue 290: 46 of 50 GB/s"
    )
    net_start_us: float = _constant(10, "gpus", "us", "start of an all-reduce between nodes; assumed")
    net_hop_us: float = _constant(
        8.5, "gpus", "us", "each of 2 log2(nodes) hops; NCCL's tuning.cc, tree over the network with LL128"
    )
    level_unhidden: float = _constant(
        0.25, "gpus", "", "share of the faster level's time that the slower one does not hide; assumed"
    )
    overlap: float = _constant(
        1.0,
        "gpus",
        "",
        "share of the backward pass, from when a bucket is full, that hides its sum; 1 is the best case",
    )
    backward_share: float = _constant(
        0.67, "gpus", "", "the backward pass of a forward and backward one: twice the work"
    )

    gloo_start_us: float = _constant(
        50, "cpus", "us", "each of 2 (n - 1) sends of a ring; measured, gloo on one machine"
    )
    gloo_gbytes: float = _constant(1.0, "cpus", "GB/s", "of a ring; measured, gloo of two processes on one machine")

    tflops_fp32: float = _constant(60, "speed", "TFLOP/s", "an H100 without TF32, 90 % of what NVIDIA names")
    tflops_half: float = _constant(780, "speed", "TFLOP/s", "bf16 and fp16; measured, an H200's large products")
    tflops_fp64: float = _constant(
        30, "speed", "TFLOP/s", "an H100 outside its tensor cores, 90 % of what NVIDIA names"
    )
    memory_gbytes: float = _constant(3000, "speed", "GB/s", "memory traffic, 90 % of what NVIDIA names for an H100")
    launch_us: float = _constant(7, "speed", "us", "host's work for one operation that PyTorch starts; assumed")
    loop_us: float = _constant(
        300, "speed", "us", "host's work in a step that the GPU waits for: batch, update, records; assumed"
    )
    decode_mpixels: float = _constant(
        100, "speed", "M/s", "pixels that a loader process decodes: 50 at 64 x 64 to 130 at 256 x 256; measured, JPEG"
    )

    gpu_base_gib: float = _constant(2.0, "memory", "GiB", "of a GPU for CUDA, cuDNN's scratch and NCCL; assumed")
    slack: float = _constant(0.1, "memory", "", "more that the allocator takes for a pass than the pass needs; assumed")
    process_gib: float = _constant(3.0, "memory", "GiB", "of the host for a process with CUDA; assumed")
    cpu_process_gib: float = _constant(0.5, "memory", "GiB", "of the host for a process without; assumed")
    worker_gib: float = _constant(0.1, "memory", "GiB", "of the host for a loader process, forked; assumed")

    jpg_byte_a_pixel: float = _constant(0.5, "data", "B", "of a JPEG at quality 90 and a pixel of 3 colours; measured")
    png_share: float = _constant(0.3, "data", "", "of a PNG to its pixels' bytes; measured on digits")
    hours_most: float = _constant(24, "data", "h", "longest --time that is suggested: a job goes on by itself after it")
    time_margin: float = _constant(0.25, "data", "", "by which --time is longer than predicted; and 15 minutes")

    def changed(self, words: Sequence[str]) -> "Constants":
        """The same with ``name=value`` words laid over it.

        Raises:
            UserError: naming the word.
        """
        known = {one.name for one in fields(self)}
        values = dict[str, float]()
        for word in words:
            name, _, text = word.partition("=")
            if name not in known:
                raise UserError(f"--set {word}: there is no constant {name!r}; there are {', '.join(sorted(known))}")
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if not isfinite(value) or value < 0 or (value == 0 and not _may_be_zero(name)):
                raise UserError(f"--set {word}: {name} must be a number above zero; give one such as {name}=2.5")
            if name in _SHARES and value > 1:
                raise UserError(f"--set {word}: {name} is a share, and must be at most 1; give one such as {name}=0.5")
            values[name] = value
        return replace(self, **values)

    def lines(self, groups: Sequence[str]) -> Iterator[str]:
        """Each constant of some groups: name=value, unit, source."""
        for group in groups:
            yield f"  {_GROUPS[group]}"
            for one in fields(self):
                if one.metadata["group"] == group:
                    value = getattr(self, one.name)
                    source = one.metadata["source"] if value == one.default else "as given"
                    yield f"    {f'{one.name}={value:g}':24} {one.metadata['unit']:8} {source}"


_SHARES = {"nic_share", "level_unhidden", "overlap", "backward_share"}


def _may_be_zero(name: str) -> bool:
    return name in {"level_unhidden", "overlap", "slack", "time_margin"} or name.endswith(("_us", "_gib"))
