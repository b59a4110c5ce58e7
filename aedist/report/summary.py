"""The paragraph at the head of the page: what was trained on what, for how long, and how well it does."""

import math

from aedist.report import measured, words
from aedist.report.read import Run, number

_TIMES = f"{words.SPACE}\N{MULTIPLICATION SIGN}{words.SPACE}"


def summary(run: Run) -> str:
    """The paragraph; how well it does is left to the bottom line of the full evaluation, where there is one."""
    parts = [_trained(run), _length(run)]
    return " ".join(parts if run.evaluation.get("bottom_line") else [*parts, _quality(run)])


def _trained(run: Run) -> str:
    model, data = run.config.get("model", {}), run.environment.get("data", {})
    kind = str(model.get("kind", "model"))
    spelled = kind.upper() if kind in ("mlp", "vae") else kind
    name = f"{'An' if kind[0] in 'aeiou' or kind == 'mlp' else 'A'} {spelled}"
    if "vae" not in kind:
        name += " variational autoencoder" if model.get("posterior") == "gaussian" else " autoencoder"
    parameters = number(run.environment, "model", "parameters")
    if math.isfinite(parameters):
        name += f" of {words.count(parameters)} parameters"
    if not data:
        return f"{name}, for {run.config.get('data', {}).get('shards', 'data that is not named')}."
    height, width, channels = data["image_shape"]
    colours = {1: "in grey", 3: "in colour"}.get(channels, f"of {channels} channels")
    images = f"the {words.count(number(data, 'num_samples'))} images of {data['name']} ({data['split']})"
    told = f"{name}, trained on {images}, {height}{_TIMES}{width} pixels {colours}."
    latent, whole = _numbers_of_encoding(run), height * width * channels
    if math.isfinite(latent):
        times = words.decimal(whole / latent, 0 if whole >= 10 * latent else 1)
        told += (
            f" It encodes the {words.count(whole)} numbers of an image as {words.count(latent)}, {times} times fewer."
        )
    return told


def _numbers_of_encoding(run: Run) -> float:
    """How many numbers encode an image, NaN where the files do not tell: a spatial latent names its channels alone."""
    model = run.config.get("model", {})
    told = number(run.evaluation, "model", "latent_numbers")
    return told if math.isfinite(told) or model.get("latent") == "spatial" else number(model, "latent_dim")


def _length(run: Run) -> str:
    step, planned = number(run.last, "step"), words.planned_steps(run)
    if not math.isfinite(step):
        return "It has no recorded step yet."
    epoch = number(run.last, "epoch")
    passes = words.plural(epoch, "epoch") if epoch.is_integer() else f"{words.decimal(epoch, 2)} epochs"
    images = words.count(number(run.last, "images"))
    seen = f"{passes}: {images} images in {words.plural(step, 'step')} of {words.count(words.images_per_step(run))}"
    finished = not math.isfinite(planned) or step >= planned
    if run.epochs and finished:
        seen += f", in {words.duration(words.training_seconds(run))}"
    if run.train:
        speed = words.count(words.median([number(record, "images_per_second") for record in run.train]))
        seen += f", at {speed} images a second"
    if not finished:
        return f"It is not finished: {words.percent(step / planned)} of the way, it has seen {seen}."
    return f"It saw {seen}."


def _quality(run: Run) -> str:
    found = measured.measurements(run)
    if not found:
        return "How well it reconstructs has not been measured yet."
    where, num_images, spreads = found["where"], found["num_images"], found["spreads"]
    means = {name: spread["mean"] for name, spread in spreads.items() if math.isfinite(spread["mean"])}
    if not means:
        return "None of its metrics is a finite number."
    parts = [f"{words.metric(name).label} {words.with_unit(name, mean)}" for name, mean in means.items()]
    told = f"On the {words.count(num_images)} images of {where} its reconstructions reach {words.listed(parts)}"
    told += " (means over images)"
    if "mse" in means:
        root = words.percent(math.sqrt(means["mse"]))
        told += f"; a pixel is off by {root} of the range from black to white (root mean square)"
    return told + "."
