"""The curves of runs: which records make which panel, and what each axis is.

Curves are over images seen, so that runs of other batch sizes lie side by side. A run alone has the colours of a single
thing, several have one each.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aedist.config import TERM_NAMES
from aedist.plotstyle import DOT, LINE, SERIES
from aedist.report import words
from aedist.report.panels import Figure, Panel, Series
from aedist.report.read import Record, Run, number

_MOST_RANKS = 6
_OF_A_PROCESS = (
    ("images_per_second", "images a second", 1),
    ("data_wait", "waiting for data (%)", 100),
    ("memory_bytes", "memory (GiB)", 2**-30),
)
_Pick: TypeAlias = Callable[[list[float]], float]
_SPREAD: dict[str, _Pick] = {"least": min, "middle": words.median, "greatest": max}
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Traced:
    """A run and how its curves look; one that is alone needs no name."""

    run: Run
    name: str = ""
    colour: str = LINE
    dashed: bool = False


def traced(runs: Sequence[Run], names: Sequence[str] = ()) -> list[Traced]:
    """Each run with a look of its own: a colour, and from the seventh on dashes."""
    if len(runs) == 1:
        return [Traced(runs[0])]
    return [
        Traced(run, name, SERIES[place % len(SERIES)], dashed=place // len(SERIES) % 2 == 1)
        for place, (run, name) in enumerate(zip(runs, names, strict=True))
    ]


def all_figures(runs: Sequence[Traced]) -> dict[str, Figure]:
    """The figures that there are records for, by name: ``loss``, ``terms``, ``evaluations``, ``speed``, ``ranks``."""
    made = [_loss(runs), _terms(runs), _evaluations(runs), _speed(runs), _ranks(runs)]
    return {figure.name: figure for figure in made if figure is not None}


def _loss(runs: Sequence[Traced]) -> Figure | None:
    """The loss at each record; of a run alone also the mean over each finished epoch.

    A term's weight is the configuration's, so that the mean of an epoch in which the KL warms up is what the loss
    would be at full weight.
    """
    if not any(one.run.train for one in runs):
        return None
    series = _lines(runs, lambda record: number(record, "loss"))
    alone = runs[0].run if len(runs) == 1 else None
    if alone and alone.epochs:
        series = (*series, Series(_epoch_means(alone), DOT, "mean of the epoch", line=False, dots=True))
    labels = {_loss_label(one.run) for one in runs if one.run.train}
    label = labels.pop() if len(labels) == 1 else "loss of an image, of several objectives"
    where = f"on {data_name(alone)}" if alone else f"of {len(runs)} runs"
    alt = f"Training loss {where}: {_from_to(series[0])}"
    return Figure("loss", alt, (Panel(label, series, _marks(runs)),))


def _epoch_means(run: Run) -> list[tuple[float, float]]:
    """The loss of each whole epoch, at the images seen in its middle."""
    epoch_images = images_per_epoch(run)
    return [
        (
            number(record, "images") - epoch_images / 2,
            sum(weight * number(record, "sums", name) for name, weight in weights(run).items()) / epoch_images,
        )
        for record in run.epochs
    ]


def _terms(runs: Sequence[Traced]) -> Figure | None:
    """A panel for each term, where there are several; the learning rate; the norm of the gradient."""
    panels = list[Panel]()
    names = _names(runs, "terms")
    for name in names if len(names) > 1 else ():
        role = f" ({_role(runs[0].run, name)})" if len(runs) == 1 else ""
        series = _lines(runs, lambda record, name=name: number(record, "terms", name))
        panels.append(Panel(f"{name.replace('_', ' ')}{role}", series, _marks(runs)))
    for key, label in (("learning_rate", "learning rate"), ("gradient_norm", "norm of the gradient")):
        if any(key in record for one in runs for record in one.run.train):
            series = _lines(runs, lambda record, key=key: number(record, key))
            panels.append(Panel(label, series, _marks(runs), from_zero=key == "learning_rate"))
    if not panels:
        return None
    alt = "; ".join(f"{panel.label} {_from_to(panel.series[0])}" for panel in panels)
    return Figure("terms", f"What training went by: {alt}", tuple(panels), columns=2)


def _role(run: Run, name: str) -> str:
    weight = weights(run).get(name)
    return f"weight {weight:g}" if weight else "watched"


def _evaluations(runs: Sequence[Traced]) -> Figure | None:
    """Each metric at each evaluation of the training; of a run alone the best one is ringed."""
    panels = list[Panel]()
    alone = runs[0].run if len(runs) == 1 else None
    best = [record for record in alone.evaluations if record.get("best")] if alone else []
    for name in _names(runs, "metrics"):
        series = tuple(
            Series(
                [(number(record, "images"), number(record, "metrics", name)) for record in one.run.evaluations],
                DOT if alone else one.colour,
                one.name,
                dots=True,
                dashed=one.dashed,
            )
            for one in runs
            if any(name in record.get("metrics", {}) for record in one.run.evaluations)
        )
        ringed = (number(best[-1], "images"), number(best[-1], "metrics", name)) if best else None
        label, unit = words.metric(name).label, words.metric(name).unit
        title = f"{label} ({unit})" if unit and " " not in unit else label
        panels.append(Panel(title, series, _marks(runs), ringed=ringed))
    if not panels:
        return None
    told = "; ".join(f"{panel.label} {_from_to(panel.series[0])}" for panel in panels)
    where = evaluated_name(alone) if alone else f"{len(runs)} runs"
    return Figure("evaluations", f"Evaluation on {where}: {told}", tuple(panels), columns=2 if len(panels) < 3 else 3)


def _speed(runs: Sequence[Traced]) -> Figure | None:
    """Images a second and the share of time spent waiting for data."""
    if not any(one.run.train for one in runs):
        return None
    speed = _lines(runs, lambda record: number(record, "images_per_second"))
    wait = _lines(runs, lambda record: 100 * number(record, "data_wait"))
    panels = [
        Panel("images a second", speed, _marks(runs), from_zero=True),
        Panel("time spent waiting for data (%)", wait, _marks(runs), from_zero=True),
    ]
    return Figure("speed", f"Images a second {_from_to(speed[0])}", tuple(panels), columns=2)


def _ranks(runs: Sequence[Traced]) -> Figure | None:
    """Speed, wait and memory of each process of a run that is alone; of many processes, the least and the greatest."""
    records = [record for record in runs[0].run.train if record.get("ranks")] if len(runs) == 1 else []
    panels = list[Panel]()
    for name, label, factor in _OF_A_PROCESS:
        values = [(number(r, "images"), [factor * v for v in r["ranks"].get(name) or []]) for r in records]
        most = max((len(of_ranks) for _, of_ranks in values), default=0)
        named = _SPREAD if most > _MOST_RANKS else {f"process {rank}": _of_rank(rank) for rank in range(most)}
        series = tuple(
            Series([(x, pick(of_ranks)) for x, of_ranks in values if of_ranks], SERIES[place % len(SERIES)], who)
            for place, (who, pick) in enumerate(named.items())
        )
        if most > 1:
            panels.append(Panel(label, series, _marks(runs), from_zero=True))
    return Figure("ranks", "Speed, wait and memory by process", tuple(panels), columns=3) if panels else None


def _of_rank(rank: int) -> _Pick:
    """The number of one process; it has none where an earlier start had fewer processes."""
    return lambda of_ranks: of_ranks[rank] if rank < len(of_ranks) else math.nan


def _lines(runs: Sequence[Traced], value: Callable[[Record], float]) -> tuple[Series, ...]:
    """A line for each run that has training records."""
    return tuple(
        Series([(number(r, "images"), value(r)) for r in one.run.train], one.colour, one.name, dashed=one.dashed)
        for one in runs
        if one.run.train
    )


def _names(runs: Sequence[Traced], group: str) -> list[str]:
    """The names in a group of numbers of any record, in the order met."""
    records = [record for one in runs for record in (*one.run.train[-1:], *one.run.evaluations)]
    return list(dict.fromkeys(name for record in records for name in record.get(group, {})))


def _marks(runs: Sequence[Traced]) -> tuple[float, ...]:
    """The images seen at which a run that is alone was continued after its start."""
    if len(runs) > 1:
        return ()
    run = runs[0].run
    starts = (number(attempt, "step") for attempt in run.attempts)
    last = number(run.last, "step")
    return tuple(sorted({start * words.images_per_step(run) for start in starts if 0 < start < last}))


def weights(run: Run) -> dict[str, float]:
    """The terms that were minimised, and their weights."""
    objective = run.config.get("objective", {})
    return {name: number(objective, name) for name in TERM_NAMES if number(objective, name) > 0}


def _loss_label(run: Run) -> str:
    found = weights(run)
    if found == {"squared_error": 1}:
        return "squared error of an image (sum over its pixels)"
    return "loss of an image (" + " + ".join(f"{weight:g} {_TIMES} {name}" for name, weight in found.items()) + ")"


def _from_to(series: Series) -> str:
    values = [y for _, y in series.points]
    return f"from {values[0]:.4g} to {values[-1]:.4g}" if values else "without values"


def images_per_epoch(run: Run) -> float:
    """Images that one epoch trains on. The run has finished at least one."""
    return number(run.epochs[-1], "images") / number(run.epochs[-1], "epoch")


def data_name(run: Run) -> str:
    """The training data in words: name, split and N."""
    data = run.environment.get("data", {})
    return words.data_name(data, number(data, "num_samples")) if data else "data that is not recorded"


def evaluated_name(run: Run) -> str:
    """The data of the evaluations during training in words: name, split and N."""
    last = run.evaluations[-1] if run.evaluations else {}
    name = run.environment.get("data", {}).get("name", "data that is not recorded")
    return words.data_name({"name": name, "split": last.get("split")}, number(last, "num_images"))
