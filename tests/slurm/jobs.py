"""Jobs on the tests' cluster: submitted as a user submits them, watched as a user watches them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

CLUSTER = Path(__file__).parent / "cluster"
SLOWLY = Path(__file__).parent / "slowly"
PATIENCE_SECONDS = 300.0
"""For anything to happen at all: everything shares few cores."""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL"}


@dataclass(eq=False)
class Site:
    """The cluster, and a checkout on it from which jobs are submitted."""

    folder: Path
    """The cluster's settings and logs."""
    checkout: Path
    """What a job needs of the repository, as links, so that what jobs write lies here."""
    config: Path
    """Of a short run whose result is bit-identical for any number of processes."""
    undisturbed: Path
    """That run, made on one process without SLURM and without any event."""
    _records: tuple[float, dict[str, dict[str, str]]] = (0.0, {})
    _lock: Lock = field(default_factory=Lock)

    def cluster(self, *words: object) -> str:
        """What the cluster's command answers."""
        environment = {**os.environ, "AEDIST_CLUSTER": str(self.folder)}
        return _answer([str(CLUSTER), *map(str, words)], self.checkout, environment)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """The cluster's command while it runs; the program that it runs must end with its standard input."""
        environment = {**os.environ, "AEDIST_CLUSTER": str(self.folder)}
        return subprocess.Popen(
            [str(CLUSTER), *map(str, words)],
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def train(self, run: Path, *words: object, **how: Any) -> "Job":
        """Train the short run in a directory; ``how`` as for ``submit``."""
        return self.submit("train.sbatch", self.config, f"run.dir={run}", *words, **how)

    def login(self, *command: object) -> str:
        """What a command answers on the login node."""
        return self.cluster("run", *command)

    def numbers(self, nodes: str) -> list[int]:
        """Which of the cluster's nodes SLURM names in short, in order."""
        return [int(name.rsplit("n", 1)[1]) for name in self.login("scontrol", "show", "hostnames", nodes).split()]

    def name(self, node: int) -> str:
        return (self.folder / "etc" / "tag").read_text().strip() + str(node)

    def submit(
        self,
        template: str,
        *words: object,
        options: tuple[str, ...] = (),
        tasks: int | None = 1,
        slowed: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> "Job":
        """``sbatch OPTIONS slurm/TEMPLATE WORDS``, with ``tasks`` processes a node, as the nodes' GPUs are none.

        ``slowed``: training takes its time until the job is told to ``hurry``.
        """
        go_on = self.folder / f"go-on-{time.monotonic_ns()}"
        variables = {**os.environ, "AEDIST_CLUSTER": str(self.folder), **(environment or {})}
        if tasks is not None:
            variables["AEDIST_TASKS_PER_NODE"] = str(tasks)
        if slowed:
            path = os.pathsep.join(filter(None, (str(SLOWLY), os.environ.get("PYTHONPATH"))))
            variables |= {"PYTHONPATH": path, "SLOWED_UNTIL": str(go_on)}
        command = [str(CLUSTER), "run", "sbatch", "--parsable", *options, f"slurm/{template}", *map(str, words)]
        return Job(self, _answer(command, self.checkout, variables).strip(), go_on)

    def record(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job. All jobs are asked for at once, once a second at most."""
        with self._lock:
            asked, records = self._records
            if time.monotonic() - asked > 1.0 or job not in records:
                records = dict[str, dict[str, str]]()
                for line in self.login("scontrol", "--oneliner", "show", "job").splitlines():
                    found = dict(word.partition("=")[::2] for word in line.split(" ") if "=" in word)
                    if "JobId" in found:
                        records[found["JobId"]] = found
                        if "ArrayTaskId" in found:
                            records[f"{found['ArrayJobId']}_{found['ArrayTaskId']}"] = found
                self._records = (time.monotonic(), records)
            return records.get(job) or records[job.partition("_")[0]]  # tasks that wait are told of together


def _answer(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Job:
    """A job, or one task of an array."""

    site: Site
    id: str
    go_on: Path

    @property
    def record(self) -> dict[str, str]:
        return self.site.record(self.id)

    @property
    def state(self) -> str:
        return self.record["JobState"]

    @property
    def restarts(self) -> int:
        return int(self.record["Restarts"])

    @property
    def exit_code(self) -> int:
        code, signal = map(int, self.record["ExitCode"].split(":"))
        return code or -signal

    @property
    def nodes(self) -> list[int]:
        """On which it runs, the first one, with rank zero and the script, first."""
        return self.site.numbers(self.record["NodeList"])

    @property
    def log(self) -> str:
        path = Path(self.record["StdOut"])
        return path.read_text() if path.exists() else ""

    def tasks(self, *numbers: int) -> list["Job"]:
        """The tasks of an array."""
        return [Job(self.site, f"{self.id}_{number}", self.go_on) for number in numbers]

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Return when it is so; fail, with all that is known, if it never is."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < end, f"job {self.id}: not {what}; {self.record}\n{self.log}"
            time.sleep(0.4)

    def wait_for_step(self, run: Path, step: int) -> None:
        """Return when the run has recorded the step; fail if the job ends before."""
        metrics = run / "metrics.jsonl"

        def is_there() -> bool:
            lines = metrics.read_text().splitlines() if metrics.exists() else []
            if any(json.loads(line)["step"] >= step for line in lines if line.endswith("}")):
                return True
            assert self.state not in ENDED, f"job {self.id} is {self.state} before step {step}\n{self.log}"
            return False

        self.wait_until(is_there, f"in step {step}")

    def wait_for_restart(self, number: int = 1) -> None:
        """Return when SLURM has taken the job back to start it again."""
        self.wait_until(lambda: self.restarts >= number or self.state in ENDED, f"started again {number} times")
        assert self.restarts >= number, f"job {self.id} is {self.state}\n{self.log}"

    def hurry(self) -> None:
        """Let training go on at its own speed."""
        self.go_on.touch()

    def end(self) -> str:
        """The state that the job ends in, once it has."""
        self.wait_until(lambda: self.state in ENDED, "ended")
        return self.state

    def complete(self) -> None:
        """Return when the job is done; fail if it ends otherwise."""
        assert self.end() == "COMPLETED", f"job {self.id}: {self.record}\n{self.log}"
