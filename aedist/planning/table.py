"""Forecasts as rows of a Markdown table."""

from aedist.planning.forecast import Forecast
from aedist.planning.memory import GIB
from aedist.planning.network import Machines
from aedist.planning.words import bytes_said, time_said


def table_head() -> str:
    """The head of a table of forecasts, in Markdown."""
    columns = (
        "configuration",
        "GPUs",
        "images a step",
        "steps an epoch",
        "a node reads",
        "a GPU needs",
        "all-reduce",
        "step",
        "efficiency",
        "images/s",
        "all epochs",
    )
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def table_row(name: str, found: Forecast) -> str:
    """One forecast as a row of the table."""
    plan, machines = found.plan, found.question.machines
    about = "~" if found.described.is_estimate else ""
    cells = (
        name,
        _gpus(machines),
        f"{plan.images_per_step:,} = {plan.num_micro} x {plan.micro}",
        f"{plan.steps_per_epoch:,}",
        f"{about}{bytes_said(max(found.reading.num_bytes))}{' once' if found.is_resident else ''}",
        f"{sum(found.memory.gpu.values()) / GIB:,.1f} GiB",
        time_said(found.all_reduce_seconds) if found.buckets else "",
        (time_said(found.step_seconds) if found.step_seconds else "") + (", for data" if found.waits_for_data else ""),
        f"{found.efficiency:.0%}" if found.efficiency else "",
        f"{found.images_per_second:,.0f}" if found.images_per_second else "",
        time_said(found.run_seconds) if found.run_seconds else "",
    )
    return f"| {' | '.join(cells)} |"


def _gpus(machines: Machines) -> str:
    return f"{machines.world}" if machines.nodes == 1 else f"{machines.nodes} x {machines.per_node}"
