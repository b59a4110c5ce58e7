"""The ledger against the plan: every micro-batch of every step once, with the very samples that the plan names.

The plan is computed anew from the configuration and the shards' index. Ledger files are mapped and compared a stretch
of steps at a time, so memory holds a few million ids and a byte for each sample of the split, however long the run.
Steps are counted from 1, as in the records: step s leads to the checkpoint of step s.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.data.plan import EpochOrder, Plan
from aedist.training.ledger import record_type
from aedist.verify.attempts import Attempt, standing_until
from aedist.verify.statement import Faults

_IDS_AT_ONCE = 2**21
_RECORDS_AT_ONCE = 2**18


@dataclass(frozen=True)
class LedgerFile:
    """What one process of one attempt noted, as far as it stands."""

    path: Path
    attempt: int
    records: NDArray[Any]
    until: int | None
    """Records of this step (counted from 0) and later ones were superseded."""
    order: NDArray[np.int64] | None
    """Where the records are not in the order of steps: the order to read them in."""

    def between(self, first: int, last: int) -> NDArray[Any]:
        """The records of steps ``first`` to ``last`` (not included), counted from 0."""
        last = last if self.until is None else min(last, self.until)
        start, stop = self._place(first), self._place(last)
        return self.records[start:stop] if self.order is None else self.records[self.order[start:stop]]

    def _place(self, step: int) -> int:
        """How many records are of earlier steps."""
        steps, order = self.records["step"], self.order
        return bisect_left(
            range(len(steps)), step, key=lambda place: int(steps[place if order is None else order[place]])
        )


@dataclass(frozen=True)
class Ledger:
    """All files of a run's ledger, and how far each attempt came."""

    files: list[LedgerFile]
    noted: dict[int, int]
    """By attempt: steps done, by its last record."""
    faults: Faults


def open_ledger(folder: Path, attempts: list[Attempt], micro: int) -> Ledger:
    """Map the ledger's files. Those of no known process, and records out of order, are faults."""
    kind, files, noted, faults = record_type(micro), list[LedgerFile](), dict[int, int](), Faults()
    known = {
        f"attempt-{attempt.number:04d}-rank-{rank:05d}.bin": attempt
        for attempt in attempts
        for rank in range(attempt.world)
    }
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        attempt = known.get(path.name)
        if attempt is None:
            faults.add(f"ledger/{path.name} is of no process that environment.json knows")
            continue
        length = path.stat().st_size // kind.itemsize  # a last record cut short by a kill is none
        if not length:
            continue
        records = np.memmap(path, dtype=kind, mode="r", shape=(length,))
        is_sorted, last_step = _look_through(records)
        if not is_sorted:
            faults.add(f"ledger/{path.name}: its steps are out of order")
        order = None if is_sorted else np.argsort(records["step"], kind="stable")
        files.append(LedgerFile(path, attempt.number, records, standing_until(attempts, attempt.number), order))
        noted[attempt.number] = max(noted.get(attempt.number, 0), last_step + 1)
    return Ledger(files, noted, faults)


def _look_through(records: NDArray[Any]) -> tuple[bool, int]:
    """(whether the steps never go back, the greatest step)."""
    is_sorted, last = True, -1
    for start in range(0, len(records), _RECORDS_AT_ONCE):
        steps = np.concatenate([[last], records["step"][start : start + _RECORDS_AT_ONCE]])
        is_sorted = is_sorted and bool((np.diff(steps) >= 0).all())
        last = int(steps.max())
    return is_sorted, last


@dataclass
class Compared:
    """What the comparison came to."""

    faults: Faults = field(default_factory=Faults)
    whole_epochs: int = 0
    """Epochs in which everything was right, from the first to the last step."""
    wrong_epochs: list[int] = field(default_factory=list[int])
    """The others, from 1, with the last one if it was begun only."""
    num_records: int = 0


def compare(ledger: Ledger, plan: Plan, last_step: int, *, is_plan_known: bool) -> Compared:
    """Compare the records of the first ``last_step`` steps with the plan.

    Args:
        ledger: the run's.
        plan: the run's.
        last_step: how far.
        is_plan_known: whether the shards' index is at hand; if not, only that everything occurs once is looked at.
    """
    compared = Compared()
    at_once = max(1, _IDS_AT_ONCE // plan.images_per_step)
    for epoch in range(-(-last_step // plan.steps_per_epoch)):
        first, before = epoch * plan.steps_per_epoch, compared.faults.count
        last = min(first + plan.steps_per_epoch, last_step)
        seen, num_ids = np.zeros(plan.num_samples, dtype=np.bool_), 0
        order = EpochOrder(plan.samples_per_shard, plan.seed, epoch, plan.shuffle_shards, 2 * plan.num_micro)
        for start in range(first, last, at_once):
            stop = min(start + at_once, last)
            found = np.concatenate(
                [np.empty(0, record_type(plan.micro)), *(file.between(start, stop) for file in ledger.files)]
            )
            expected = _expected(order, plan, start - first, stop - first) if is_plan_known else None
            found = _compare_stretch(found, expected, plan, start, stop, compared.faults)
            ids = found["sample_ids"].ravel()
            in_range = ids[(ids >= 0) & (ids < plan.num_samples)]
            if len(in_range) < len(ids):
                compared.faults.add(f"epoch {epoch + 1}: {len(ids) - len(in_range):,} ids are of no sample")
            seen[in_range] = True
            num_ids += len(ids)
        num_repeated = num_ids - int(np.count_nonzero(seen))
        if num_repeated and compared.faults.count == before:
            compared.faults.add(f"epoch {epoch + 1}: {num_repeated:,} samples were seen more than once")
        compared.num_records += num_ids // plan.micro
        if compared.faults.count > before:
            compared.wrong_epochs.append(epoch + 1)
        elif last - first == plan.steps_per_epoch:
            compared.whole_epochs += 1
    return compared


def _expected(order: EpochOrder, plan: Plan, first: int, last: int) -> NDArray[np.int64]:
    """The plan's ids in steps ``first`` to ``last`` (not included) of an epoch, shape ((last - first) M, b)."""
    slots = [
        order.ids(
            (slot * plan.steps_per_epoch + first) * plan.micro, (slot * plan.steps_per_epoch + last) * plan.micro
        ).reshape(last - first, plan.micro)
        for slot in range(plan.num_micro)
    ]
    return np.stack(slots, axis=1).reshape(-1, plan.micro)


def _compare_stretch(
    found: NDArray[Any], expected: NDArray[np.int64] | None, plan: Plan, start: int, stop: int, faults: Faults
) -> NDArray[Any]:
    """Compare some steps' records with what there should be. Returns those with a place in the plan."""
    is_slot = (found["slot"] >= 0) & (found["slot"] < plan.num_micro)
    for record in found[~is_slot][:1]:
        count = int(np.count_nonzero(~is_slot))
        faults.add(f"step {record['step'] + 1}: slot {record['slot']}, but there are {plan.num_micro} slots", count)
    found = found[is_slot]
    places = (found["step"] - start) * plan.num_micro + found["slot"]
    counts = np.bincount(places, minlength=(stop - start) * plan.num_micro)
    for kind, where in (("is missing", counts == 0), ("is there more than once", counts > 1)):
        _add_places(np.flatnonzero(where), kind, plan, start, faults)
    if expected is not None:
        wrong = np.flatnonzero((found["sample_ids"] != expected[places]).any(axis=1))
        for number, record in enumerate(wrong.tolist()):
            if faults.is_full:
                faults.add("", len(wrong) - number)
                break
            place = int(places[record])
            differs = np.flatnonzero(found["sample_ids"][record] != expected[place])[0]
            here, planned = found["sample_ids"][record][differs], expected[place][differs]
            faults.add(f"{_name(place, plan, start)} held sample {here} where the plan has {planned}")
    return found


def _add_places(places: NDArray[np.int64], kind: str, plan: Plan, start: int, faults: Faults) -> None:
    for number, place in enumerate(places.tolist()):
        if faults.is_full:
            faults.add("", len(places) - number)
            return
        faults.add(f"{_name(place, plan, start)} {kind}")


def _name(place: int, plan: Plan, start: int) -> str:
    step, slot = divmod(place, plan.num_micro)
    return f"step {start + step + 1}, slot {slot}"
