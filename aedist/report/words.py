"""Numbers and what they mean, in words a reader takes in at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aedist.report.read import Run, number

NOTHING = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"
_TIMES = f"{SPACE}\N{MULTIPLICATION SIGN}{SPACE}"


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its label, its unit, the decimals that mean something, and which way is better."""

    label: str
    unit: str
    decimals: int
    better: str


_METRICS = {
    "mse": Metric("MSE", "squared intensity, 0 to 1", 5, "lower is better"),
    "psnr": Metric("PSNR", "dB", 2, "higher is better"),
    "ssim": Metric("SSIM", "no unit, at most 1", 4, "higher is better"),
    "rate": Metric("Rate", "nats an image", 2, "the information in an encoding"),
}


def metric(name: str) -> Metric:
    """How to write the metric ``name``; one that is not known keeps its name."""
    return _METRICS.get(name, Metric(name, "", 4, ""))


def count(value: float) -> str:
    """A whole number with separated thousands."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def decimal(value: float, decimals: int) -> str:
    """A number with fixed decimals, so that a column lines up."""
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NOTHING


def percent(share: float) -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:.1f}{SPACE}%" if math.isfinite(share) else NOTHING


def data_name(data: Mapping[str, Any], num_images: float) -> str:
    """A split of a data set: ``mnist (test), N = 10,000 images``."""
    return f"{data.get('name')} ({data.get('split')}), N{SPACE}={SPACE}{count(num_images)} images"


def plural(value: float, noun: str, nouns: str | None = None) -> str:
    """``1 epoch``, ``10 epochs``."""
    return f"{count(value)} {noun if value == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in its two greatest units."""
    if not math.isfinite(seconds):
        return NOTHING
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def images_per_step(run: Run) -> float:
    """B, from the configuration."""
    return number(run.config, "batch", "micro") * number(run.config, "batch", "num_micro")


def planned_steps(run: Run) -> float:
    """The step at which the run is finished, NaN where its files do not tell."""
    steps = number(run.config, "train", "steps")
    if math.isfinite(steps):
        return steps
    num_samples = number(run.environment, "data", "num_samples")
    whole = num_samples // images_per_step(run)
    return number(run.config, "train", "epochs") * whole


def training_seconds(run: Run) -> float:
    """Seconds of the epochs that are finished, NaN if none is."""
    return sum(number(record, "seconds") for record in run.epochs) if run.epochs else math.nan


def skipped(run: Run) -> str:
    """What was not finite, where it first was, and that it was skipped; empty if all was finite."""
    if not run.skipped:
        return ""
    first, steps = run.skipped[0], {record["step"] for record in run.skipped}
    where = (
        f"step {count(first['step'])}, {first.get('term')} was {first.get('value')} in micro-batch {first.get('slot')}"
    )
    return f"{plural(len(steps), 'step')} skipped, as a loss was not finite; the first: {where}."


def median(values: list[float]) -> float:
    """The median of the finite values, NaN if there is none."""
    finite = sorted(value for value in values if math.isfinite(value))
    middle = len(finite) // 2
    if not finite:
        return math.nan
    return finite[middle] if len(finite) % 2 else (finite[middle - 1] + finite[middle]) / 2


def moment(text: str) -> str:
    """An ISO 8601 time as ``2026-01-02 03:04 UTC``; anything else as it is."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return str(text)
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time.tzinfo else text


def summary(run: Run) -> str:
    """A paragraph: what was trained on what, for how long, and how well it does."""
    return " ".join([_trained(run), _length(run), _quality(run)])


def _trained(run: Run) -> str:
    model, data = run.config.get("model", {}), run.environment.get("data", {})
    kind = str(model.get("kind", "model"))
    spelled = kind.upper() if kind in ("mlp", "vae") else kind
    name = f"{'An' if kind[0] in 'aeiou' or kind == 'mlp' else 'A'} {spelled}"
    if "vae" not in kind:
        name += " autoencoder"
    parameters = number(run.environment, "model", "parameters")
    if math.isfinite(parameters):
        name += f" of {count(parameters)} parameters"
    if not data:
        return f"{name}, for {run.config.get('data', {}).get('shards', 'data that is not named')}."
    height, width, channels = data["image_shape"]
    colours = {1: "in grey", 3: "in colour"}.get(channels, f"of {channels} channels")
    images = f"the {count(number(data, 'num_samples'))} images of {data['name']} ({data['split']})"
    told = f"{name}, trained on {images}, {height}{_TIMES}{width} pixels {colours}."
    latent, whole = number(model, "latent_dim"), height * width * channels
    if math.isfinite(latent):
        times = decimal(whole / latent, 0 if whole >= 10 * latent else 1)
        told += f" It encodes the {count(whole)} numbers of an image as {count(latent)}, {times} times fewer."
    return told


def _length(run: Run) -> str:
    step, planned = number(run.last, "step"), planned_steps(run)
    if not math.isfinite(step):
        return "It has no recorded step yet."
    epoch = number(run.last, "epoch")
    passes = plural(epoch, "epoch") if epoch.is_integer() else f"{decimal(epoch, 2)} epochs"
    images = count(number(run.last, "images"))
    seen = f"{passes}: {images} images in {plural(step, 'step')} of {count(images_per_step(run))}"
    finished = not math.isfinite(planned) or step >= planned
    if run.epochs and finished:
        seen += f", in {duration(training_seconds(run))}"
    if run.train:
        speed = count(median([number(record, "images_per_second") for record in run.train]))
        seen += f", at {speed} images a second"
    if not finished:
        return f"It is not finished: {percent(step / planned)} of the way, it has seen {seen}."
    return f"It saw {seen}."


def _quality(run: Run) -> str:
    measured = measurements(run)
    if not measured:
        return "How well it reconstructs has not been measured yet."
    where, num_images, spreads = measured["where"], measured["num_images"], measured["spreads"]
    means = {name: spread["mean"] for name, spread in spreads.items() if math.isfinite(spread["mean"])}
    if not means:
        return "None of its metrics is a finite number."
    parts = [f"{metric(name).label} {with_unit(name, mean)}" for name, mean in means.items()]
    told = (
        f"On the {count(num_images)} images of {where} its reconstructions reach {_listed(parts)} (means over images)"
    )
    if "mse" in means:
        root = percent(math.sqrt(means["mse"]))
        told += f"; a pixel is off by {root} of the range from black to white (root mean square)"
    return told + "."


def with_unit(name: str, value: float) -> str:
    """A metric's value as running text has it: with its unit where that is short."""
    unit = metric(name).unit
    text = decimal(value, metric(name).decimals)
    return f"{text}{SPACE}{unit}" if unit and " " not in unit else text


def measurements(run: Run) -> dict[str, Any]:
    """What is known of the quality: the full evaluation, else the last one of the training, else empty.

    Returns:
        ``where`` (data and split), ``num_images``, ``spreads`` ({metric: {mean, std, min, median, max}}, of which
        only the mean is sure to be there), ``definitions``, ``step``, ``full``.
    """
    if run.evaluation.get("metrics"):
        data = run.evaluation.get("data", {})
        spreads = {
            name: value if isinstance(value, dict) else {"mean": value}
            for name, value in run.evaluation["metrics"].items()
        }
        source, num_images = run.evaluation, number(data, "num_images")
        where = f"{data.get('name')} ({data.get('split')})"
    elif run.evaluations:
        source = run.evaluations[-1]
        spreads = {name: {"mean": value} for name, value in source.get("metrics", {}).items()}
        name = run.environment.get("data", {}).get("name")
        where, num_images = (
            f"{name} ({source.get('split')})" if name else source.get("split"),
            number(source, "num_images"),
        )
    else:
        return {}
    return {
        "where": where,
        "num_images": num_images,
        "spreads": {
            name: {part: number(spread, part) for part in ("mean", "std", "min", "median", "max")}
            for name, spread in spreads.items()
        },
        "definitions": source.get("definitions", {}),
        "step": number(source, "step"),
        "full": source is run.evaluation,
    }


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
