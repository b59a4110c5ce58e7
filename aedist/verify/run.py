"""What a run proves, put together: its files, its order, its records, its interruptions, and a verdict.

Everything is judged up to the newest sound checkpoint: that vouches for the ledger and the records before it. What
lies beyond was trained, but a run that goes on does it again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aedist.cadence import Cadence, make_cadence
from aedist.config import Config
from aedist.data.loader import Split
from aedist.data.plan import Plan, make_plan
from aedist.errors import UserError
from aedist.rundir import RunDir, find_run, load_run_config, read_environment
from aedist.verify.attempts import Attempt, interruptions, parse_attempts
from aedist.verify.files import Checkpoints, check_checkpoints, check_shards
from aedist.verify.order import Ledger, compare, open_ledger
from aedist.verify.records import check_records
from aedist.verify.statement import Statement, Verdict


@dataclass(frozen=True)
class Verified:
    """All statements on a run."""

    folder: Path
    last_step: int
    """Up to which step it was judged."""
    statements: tuple[Statement, ...]

    @property
    def verdict(self) -> Verdict:
        """``wrong`` if anything is, ``proven`` if everything is, else ``open``."""
        verdicts = {statement.verdict for statement in self.statements}
        return "wrong" if "wrong" in verdicts else "open" if "open" in verdicts else "proven"

    @property
    def lines(self) -> list[str]:
        """The statements and the verdict, a line each."""
        what = {
            "proven": f"all of it is proven up to step {self.last_step:,}",
            "wrong": "something is wrong",
            "open": "nothing is wrong, but not all is proven",
        }[self.verdict]
        told = [f"{one.verdict:7} {one.about}: {one.text}" for one in self.statements]
        return [*told, f"{self.folder}: {what}"]

    @property
    def record(self) -> dict[str, Any]:
        """The same as plain values."""
        statements = [asdict(statement) for statement in self.statements]
        return {"run": str(self.folder), "verdict": self.verdict, "step": self.last_step, "statements": statements}


def verify_run(
    folder: Path, words: Sequence[str] = (), *, hash_shards: bool = False, cache: Path | None = None
) -> Verified:
    """Verify the run in ``folder``.

    Args:
        folder: the run's directory.
        words: ``data.shards=FOLDER`` where the shards lie elsewhere now.
        hash_shards: whether to read every byte of the shards.
        cache: where shards from an address are kept, unless the configuration says.

    Raises:
        UserError: if it is no run, or its configuration cannot be read.
    """
    for word in words:
        if not word.startswith("data.shards="):
            raise UserError(f"{word}: is refused: a run is verified as it was; set data.shards alone, if they moved")
    run = find_run(folder)
    config = load_run_config(run, words)
    checkpoints = check_checkpoints(run.checkpoints)
    last_step = checkpoints.last_step
    try:
        environment = read_environment(run)
        attempts = parse_attempts(environment)
        num_samples = environment["data"]["num_samples"]
        fingerprints = dict(environment["fingerprints"])
        if type(num_samples) is not int:
            raise TypeError("data.num_samples is not a number")
    except (UserError, KeyError, TypeError, ValueError) as error:
        why = str(error).partition(";")[0]
        damage = Statement("environment", "wrong", f"{why}: nothing can be said of order, records and interruptions")
        return Verified(folder, last_step, (damage, checkpoints.statement))
    split, shards = check_shards(config, fingerprints, run.quarantine, cache, hash_bytes=hash_shards)
    plan = _plan(config, split, num_samples)
    cadence = make_cadence(config.train, plan)
    ledger = open_ledger(run.ledger, attempts, plan.micro)
    statements = [
        _order(ledger, plan, last_step, is_plan_known=split is not None),
        _records(run, attempts, plan, cadence, checkpoints),
        checkpoints.statement,
        *shards,
        interruptions(attempts, ledger.noted, plan.images_per_step),
    ]
    return Verified(folder, last_step, tuple(statements))


def _plan(config: Config, split: Split | None, num_samples: int) -> Plan:
    """The run's plan; without its index, one that has its numbers of steps and images, but not its order."""
    if split is not None:
        return make_plan(config, split.index)
    return Plan((num_samples,), config.run.seed, config.batch.micro, config.batch.num_micro, 1)


def _order(ledger: Ledger, plan: Plan, last_step: int, *, is_plan_known: bool) -> Statement:
    compared = compare(ledger, plan, last_step, is_plan_known=is_plan_known)
    facts = {
        "steps": last_step,
        "images": last_step * plan.images_per_step,
        "whole_epochs": compared.whole_epochs,
        "wrong_epochs": compared.wrong_epochs,
        "samples_an_epoch": plan.steps_per_epoch * plan.images_per_step,
        "left_over": plan.left_over,
        "is_plan_known": is_plan_known,
    }
    count = ledger.faults.count + compared.faults.count
    if count:
        words = "; ".join(faults.words for faults in (ledger.faults, compared.faults) if faults.count)
        return Statement("order", "wrong", words, facts)
    begun = last_step - compared.whole_epochs * plan.steps_per_epoch
    text = (
        f"{compared.whole_epochs:,} whole epochs{f' and {begun:,} steps of another' if begun else ''}, {last_step:,} "
        f"steps, {last_step * plan.images_per_step:,} images: no gap, no sample twice in an epoch"
    )
    if not last_step:
        return Statement("order", "open", "no step is vouched for", facts)
    if not is_plan_known:
        where = "that it is the plan's order cannot be said without the shards' index; data.shards=FOLDER names them"
        return Statement("order", "open", f"{text}; {where}", facts)
    over = f" (of {plan.num_samples:,}, {plan.left_over:,} are left over)" if plan.left_over else ""
    return Statement("order", "proven", f"{text}{over}, each in its place of the plan", facts)


def _records(run: RunDir, attempts: list[Attempt], plan: Plan, cadence: Cadence, checkpoints: Checkpoints) -> Statement:
    last_step = checkpoints.last_step
    if not run.metrics.is_file():
        return Statement("records", "wrong" if last_step else "open", f"{run.metrics.name} is missing")
    recorded = check_records(
        run.metrics, attempts, plan, cadence, last_step, owes_evaluation=checkpoints.owes_evaluation
    )
    facts = {"counts": recorded.counts, "superseded": recorded.num_superseded, "is_cut": recorded.is_cut}
    if recorded.faults.count:
        return Statement("records", "wrong", f"{run.metrics.name}: {recorded.faults.words}", facts)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(recorded.counts.items()))
    old = f"; {recorded.num_superseded:,} more of steps trained again" if recorded.num_superseded else ""
    cut = "; the last line was cut short by a kill" if recorded.is_cut else ""
    return Statement("records", "proven", f"every step is told of once, in order ({counts or 'none'}){old}{cut}", facts)
