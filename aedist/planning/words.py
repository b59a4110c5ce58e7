"""A forecast said to a person: the plan, what each node reads and needs, and what is predicted of its speed."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from aedist.planning.forecast import Forecast
from aedist.planning.memory import ASSUMED_GPU_BYTES, GIB
from aedist.planning.network import all_reduce_seconds, exposed_seconds
from aedist.planning.reading import Reading
from aedist.summary import plan_lines

_QUARTER_HOUR = 900


def lines_of(found: Forecast, config_path: str, words: Sequence[str]) -> Iterator[str]:
    """All of it.

    Args:
        found: the forecast.
        config_path: the configuration, as it was named.
        words: the key=value words that were given.
    """
    question = found.question
    config, machines = question.config, question.machines
    split, described = found.described.split, found.described
    for line in plan_lines(config, split, found.plan, machines.world, found.cadence.last_step):
        if line.startswith("data ") and described.is_estimate:
            said = line.rpartition(", ")[0]  # without a fingerprint
            yield f"{said}; by its recipe, as {config.data.shards} is not built here: bytes are estimates"
        else:
            yield line
    if config.data.on_error == "quarantine":
        yield "lost      unknown before the run begins: with data.on_error=quarantine all counts are of undamaged data"
    yield f"read      {_read(found)}"
    if machines.has_gpus:
        given = question.gpu_bytes
        of = f"of {(given or ASSUMED_GPU_BYTES) / GIB:,.0f} GiB{'' if given else ', assumed'}"
        yield f"a GPU     {_memory(found.memory.gpu)}, {of}"
    of = f", of {question.host_bytes / GIB:,.0f} GiB" if question.host_bytes else ""
    yield f"a host    {_memory(found.memory.host)}{of}"
    yield f"sums      {_sums(found)}"
    yield f"compute   {_compute(found)}"
    if found.step_seconds is not None:
        yield f"speed     {_speed(found)}"
        yield from _sensitivity(found)
    yield f"submit    {submit_line(found, config_path, words)}"
    yield "predicted with these constants, each of which --set NAME=VALUE changes:"
    groups = [
        *(["gpus" if machines.has_gpus else "cpus"] if machines.world > 1 else []),
        *(["speed"] if machines.has_gpus and question.speed is None else []),
        "memory",
        "data",
    ]
    yield from question.constants.lines(groups)


def _read(found: Forecast) -> str:
    index, reading, config = found.described.split.index, found.reading, found.question.config
    each = "once, into memory" if found.is_resident else "an epoch"
    few = len(reading.nodes) < found.question.machines.nodes
    looked_at = f", of {len(reading.nodes)} nodes looked at" if few else ""
    about = "about " if found.described.is_estimate else ""
    budget = config.data.cache_bytes
    largest = max(reading.num_bytes)
    if found.is_resident:
        fits = ""
    elif largest <= budget:
        fits = f"; data.cache_bytes ({budget / GIB:,.1f} GiB) holds an epoch's"
    else:
        fits = f"; more than data.cache_bytes ({budget / GIB:,.1f} GiB): from an address, fetched anew every epoch"
    return (
        f"a node reads {_span(reading.shards)} of {len(index.shards)} shards, {about}{_span_bytes(reading)}, {each}"
        f"{looked_at}{fits}"
    )


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _span_bytes(reading: Reading) -> str:
    least, most = (bytes_said(number) for number in (min(reading.num_bytes), max(reading.num_bytes)))
    return least if least == most else f"{least} to {most}"


def bytes_said(number: float) -> str:
    """A number of bytes as a person reads it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f} B"


def _memory(parts: Mapping[str, int]) -> str:
    told = "; ".join(f"{name} {bytes_said(size)}" for name, size in parts.items())
    return f"{sum(parts.values()) / GIB:,.2f} GiB ({told})"


def _sums(found: Forecast) -> str:
    if not found.buckets:
        return "none: one process"
    total = sum(bucket.num_bytes for bucket in found.buckets)
    sizes = ", ".join(f"{bucket.num_bytes / 1e6:,.2f}" for bucket in found.buckets)
    what = "64-bit integers in one message" if found.question.config.train.reduce == "exact" else "of gradients"
    kept = f"DDP's buckets: {sizes} MB" if what == "of gradients" else "after the backward pass"
    rest = f"; and {bytes_said(found.statistics_bytes)} of batch statistics" if found.statistics_bytes else ""
    time = time_said(found.all_reduce_seconds)
    return f"{bytes_said(total)} {what} a step ({kept}){rest}; predicted {time} for all in one"


def _compute(found: Forecast) -> str:
    if found.compute is None:
        return "not known; give --images-per-second of one process, or --from RUN, and times are predicted"
    rate = found.rounds * found.plan.micro / found.compute.seconds
    told = f"{time_said(found.compute.seconds)} a step of a process, {rate:,.0f} images/s ({found.compute.source})"
    if found.question.speed is None:
        told += "; measure it: --images-per-second N, or --from RUN"
    return told


def _speed(found: Forecast) -> str:
    step, rate, run = found.step_seconds or 0.0, found.images_per_second or 0.0, found.run_seconds or 0.0
    waits = ""
    if found.waits_for_data:
        waits = ", as long as its images take to decode"
    elif found.buckets:
        waits = f", of which {time_said(found.exposed_seconds or 0.0)} waiting for sums"
    return (
        f"predicted {time_said(step)} a step{waits}; {rate:,.0f} images/s in all, weak-scaling efficiency "
        f"{found.efficiency:.0%}; {time_said(run)} for all {found.cadence.last_step:,} steps, evaluations apart"
        + (_more_workers(found) if found.waits_for_data else "")
    )


def _more_workers(found: Forecast) -> str:
    config, compute = found.question.config, found.compute
    if compute is None:
        return ""
    workers = ceil(max(1, config.data.workers) * compute.decode_seconds / compute.seconds)
    decoded = found.described.split.index.decoded_bytes
    return (
        f"; data.workers={workers} instead of {config.data.workers} would keep up, or images in memory: "
        f"data.memory={ceil(decoded / GIB)}GiB"
    )


def _sensitivity(found: Forecast) -> Iterator[str]:
    """What the efficiency would be with one constant worse."""
    question = found.question
    if not found.buckets or found.compute is None:
        return
    machines, constants = question.machines, question.constants
    others = {
        "a network of half the rate": replace(
            constants, nic_gbits=constants.nic_gbits / 2, gloo_gbytes=constants.gloo_gbytes / 2
        ),
        "half of the backward pass hiding sums": replace(constants, overlap=constants.overlap / 2),
        "twice the time of a start": replace(
            constants,
            nvlink_start_us=2 * constants.nvlink_start_us,
            net_start_us=2 * constants.net_start_us,
            net_hop_us=2 * constants.net_hop_us,
            gloo_start_us=2 * constants.gloo_start_us,
        ),
    }
    if machines.has_gpus and machines.nodes == 1:
        others["NVLink of half the bandwidth"] = replace(constants, nvlink_gbytes=constants.nvlink_gbytes / 2)
        del others["a network of half the rate"]
    told = list[str]()
    for name, other in others.items():
        exposed = exposed_seconds(found.buckets, found.compute.backward_seconds, machines, other)
        exposed += all_reduce_seconds(found.statistics_bytes, machines, other) if found.statistics_bytes else 0
        changed = replace(found, exposed_seconds=exposed)
        told.append(f"{changed.efficiency:.0%} with {name}")
    yield f"          predicted {', '.join(told)}"


def time_said(seconds: float) -> str:
    """A time as a person reads it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:,.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:,.2f} ms"
    if seconds < 120:
        return f"{seconds:,.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60:02} min"


def submit_line(found: Forecast, config_path: str, words: Sequence[str]) -> str:
    """The command that gives the job to SLURM."""
    machines, constants = found.question.machines, found.question.constants
    command = [
        "sbatch",
        f"--nodes={machines.nodes}",
        f"--gpus-per-node={machines.per_node if machines.has_gpus else 0}",
    ]
    if found.run_seconds is not None:
        command.append(f"--time={time_limit(found.run_seconds, constants.time_margin, constants.hours_most)}")
    before = "" if machines.has_gpus else f"AEDIST_TASKS_PER_NODE={machines.per_node} "
    return before + shlex.join([*command, "slurm/train.sbatch", config_path, *words])


def time_limit(seconds: float, margin: float, hours_most: float) -> str:
    """SLURM's --time for a run that is predicted to take so long: a margin more, in quarters of an hour."""
    quarters = ceil(seconds * (1 + margin) / _QUARTER_HOUR) + 1
    minutes = min(15 * quarters, max(15, int(60 * hours_most)))
    return f"{minutes // 60:02}:{minutes % 60:02}:00"
