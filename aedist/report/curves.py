"""The curves of a run: which records make which figure, and what each axis is.

Curves are over epochs, that is over images seen, so that runs of other batch sizes lie side by side.
"""

from markupsafe import Markup

from aedist.config import TERM_NAMES
from aedist.report import words
from aedist.report.figures import Panel, draw
from aedist.report.read import Run, number

_TIMES = "\N{MULTIPLICATION SIGN}"


def loss_curve(run: Run) -> Markup | None:
    """The loss at each record and its mean over each finished epoch; below it each of several terms; or None.

    A term's weight is the configuration's, so that the mean of an epoch in which the KL warms up is what the loss
    would be at full weight.
    """
    if not run.train:
        return None
    weights = _weights(run)
    means: list[tuple[float, float]] = []
    for record in run.epochs:
        total = sum(weight * number(record, "sums", name) for name, weight in weights.items())
        means.append((number(record, "epoch") - 0.5, total / images_per_epoch(run)))
    line = [(number(record, "epoch"), number(record, "loss")) for record in run.train]
    alt = f"Training loss on {data_name(run)}: {_from_to([y for _, y in line])}"
    return draw("loss", alt, [Panel(_loss_label(run), line, means, _marks(run)), *_term_panels(run)])


def _term_panels(run: Run) -> list[Panel]:
    """A panel for each term, where there are several."""
    names = list(run.train[-1].get("terms", {}))
    if len(names) < 2:
        return []
    panels: list[Panel] = []
    for name in names:
        line = [(number(record, "epoch"), number(record, "terms", name)) for record in run.train]
        weight = _weights(run).get(name)
        role = f"weight {weight:g}" if weight else "watched"
        panels.append(Panel(f"{name.replace('_', ' ')} ({role})", line, marks=_marks(run)))
    return panels


def _weights(run: Run) -> dict[str, float]:
    """The terms that were minimised, and their weights."""
    objective = run.config.get("objective", {})
    return {name: number(objective, name) for name in TERM_NAMES if number(objective, name) > 0}


def evaluation_curves(run: Run) -> Markup | None:
    """Each metric at each evaluation of the training, the best one ringed; None without evaluations."""
    names = list(dict.fromkeys(name for record in run.evaluations for name in record.get("metrics", {})))
    if not names:
        return None
    best = [record for record in run.evaluations if record.get("best")]
    panels: list[Panel] = []
    alts: list[str] = []
    for name in names:
        dots = [(number(record, "epoch"), number(record, "metrics", name)) for record in run.evaluations]
        ringed = (number(best[-1], "epoch"), number(best[-1], "metrics", name)) if best else None
        label, unit = words.metric(name).label, words.metric(name).unit
        title = f"{label} ({unit})" if unit and " " not in unit else label
        panels.append(Panel(title, dots=dots, marks=_marks(run), joined=True, ringed=ringed))
        alts.append(f"{label} {_from_to([y for _, y in dots])}")
    return draw("evaluations", f"Evaluation on {evaluated_name(run)}: {'; '.join(alts)}", panels)


def speed_curves(run: Run) -> Markup | None:
    """Images a second and the share of time spent waiting for data; None without records."""
    if not run.train:
        return None
    speed = [(number(record, "epoch"), number(record, "images_per_second")) for record in run.train]
    wait = [(number(record, "epoch"), 100 * number(record, "data_wait")) for record in run.train]
    panels = [
        Panel("images a second", speed, marks=_marks(run), from_zero=True),
        Panel("time spent waiting for data (%)", wait, marks=_marks(run), from_zero=True),
    ]
    return draw("speed", f"Images a second {_from_to([y for _, y in speed])}", panels)


def _marks(run: Run) -> tuple[float, ...]:
    """The epochs at which the run was continued after its start."""
    starts = (number(attempt, "step") for attempt in run.attempts)
    step, epoch = number(run.last, "step"), number(run.last, "epoch")
    return tuple(sorted({start * epoch / step for start in starts if 0 < start < step}))


def _loss_label(run: Run) -> str:
    weights = _weights(run)
    if weights == {"squared_error": 1}:
        return "squared error of an image (sum over its pixels)"
    if len(run.train[-1].get("terms", {})) > 1:  # whose weights stand above the panels beside it
        return "loss of an image"
    return "loss of an image (" + " + ".join(f"{weight:g} {_TIMES} {name}" for name, weight in weights.items()) + ")"


def _from_to(values: list[float]) -> str:
    return f"from {values[0]:.4g} to {values[-1]:.4g}"


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
