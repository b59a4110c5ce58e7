"""The job of SLURM that this process is part of, if it is: nodes, tasks, CPUs, GPUs, time left."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from aedist.doctor.finding import Finding, judged

_GROUP = "SLURM"


@dataclass(frozen=True)
class Job:
    """What was read."""

    id: str
    nodes: int
    tasks: int
    """Of the step that this process is in; of the job, outside of one."""
    in_step: bool
    """Whether srun started this process."""
    cpus_a_task: int | None
    seconds_left: float | None
    gpus_on_node: int
    """How many the job has on this node."""
    tasks_on_node: int
    visible: str | None
    """CUDA_VISIBLE_DEVICES."""


def read_job(environment: Mapping[str, str], now: float | None = None) -> Job | None:
    """What SLURM put into the environment; None outside of a job. ``now``: seconds since 1970."""
    if "SLURM_JOB_ID" not in environment:
        return None
    end = environment.get("SLURM_JOB_END_TIME", "")
    in_step = environment.get("SLURM_STEP_ID", "").isdecimal() and "SLURM_PROCID" in environment
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS" if in_step else "SLURM_NTASKS") or 1
    here = environment.get("SLURM_GTIDS", "")
    return Job(
        id=environment["SLURM_JOB_ID"],
        nodes=_number(environment, "SLURM_STEP_NUM_NODES" if in_step else "SLURM_JOB_NUM_NODES") or 1,
        tasks=tasks,
        in_step=in_step,
        cpus_a_task=_number(environment, "SLURM_CPUS_PER_TASK"),
        seconds_left=float(end) - (time.time() if now is None else now) if end.isdecimal() else None,
        gpus_on_node=_number(environment, "SLURM_GPUS_ON_NODE") or 0,
        tasks_on_node=len(here.split(",")) if here else 1,
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def judge_job(job: Job) -> list[Finding]:
    """The verdicts."""
    value = f"{job.id}: {job.nodes} nodes, {job.tasks} tasks"
    found = [
        Finding(_GROUP, "job", value)
        if job.in_step
        else Finding(
            _GROUP, "job", value, "look here", "this is one process; srun aedist doctor looks at all of the job"
        )
    ]
    if job.cpus_a_task is None and job.in_step:
        fix = "srun takes one CPU a task unless it is told: srun --cpus-per-task=N, or export SRUN_CPUS_PER_TASK"
        found.append(Finding(_GROUP, "CPUs a task", "not asked for", "look here", fix))
    elif job.cpus_a_task is not None:
        found.append(Finding(_GROUP, "CPUs a task", str(job.cpus_a_task)))
    if job.seconds_left is not None:
        minutes = job.seconds_left / 60
        verdict, fix = "look here" if minutes < 10 else "good", "submit again with more --time"
        found.append(judged(_GROUP, "time left", f"{minutes:,.0f} minutes", verdict, fix, same=False))
    if job.gpus_on_node:
        sees = 0 if job.visible in (None, "") else len(job.visible.split(","))
        value = f"{job.gpus_on_node} on this node for {job.tasks_on_node} tasks, a task sees {sees}"
        if job.in_step and job.tasks_on_node > job.gpus_on_node:
            fix = "as many tasks as GPUs: srun --ntasks-per-node, or more --gpus-per-node"
            found.append(Finding(_GROUP, "GPUs", value, "broken", fix))
        elif job.in_step and job.tasks_on_node > 1 and sees == 1:
            fix = "a task that sees its own GPU alone takes slower ways between them: leave out --gpus-per-task"
            found.append(Finding(_GROUP, "GPUs", value, "look here", fix))
        else:
            found.append(Finding(_GROUP, "GPUs", value))
    return found


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None
