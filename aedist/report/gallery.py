"""Which pictures of a run the page shows where, and what stands below each."""

from pathlib import Path
from typing import Any

from PIL.Image import Image

from aedist.report import pictures, words
from aedist.report.read import Record, Run, number

_MOST_STRIPS = 12
_FINAL = {
    "reconstructions": "Images above their reconstructions.",
    "best": "The images with the smallest error, above their reconstructions.",
    "median": "Images with a middling error, above their reconstructions: what to expect.",
    "worst": "The images with the largest error, above their reconstructions.",
    "errors": "Where the errors are, of some of the best, the median and the worst images; dark is no error.",
}
_ELSEWHERE = {
    "histograms": "How each metric is spread over the images: its median is the line, 5 % to 95 % the band.",
    "kl": "What the KL is spent on: the nats of each number of an encoding, the largest first.",
    "latents": "The encodings in two dimensions, each image a dot in the colour of its class.",
    "samples_prior": "Decoded draws from the prior.",
    "samples_gaussian": "Decoded draws from a Gaussian that was fitted to encodings.",
    "samples_mixture": "Decoded draws from a mixture of Gaussians that was fitted to encodings.",
}
"""Pictures of the full evaluation that stand beside their numbers."""


def final_pictures(run: Run) -> list[dict[str, Any]]:
    """The pictures of the full evaluation, the known ones first; without any, those of the last evaluation."""
    known = list(_FINAL)
    paths = sorted(
        (path for path in (run.folder / "evaluation").glob("*.png") if path.stem not in _ELSEWHERE),
        key=lambda path: (known.index(path.stem) if path.stem in known else len(known), path.name),
    )
    captions = [_FINAL.get(path.stem, path.stem.replace("_", " ").capitalize() + ".") for path in paths]
    if not paths:
        paths = _strip_paths(run)[-1:]
        captions = [f"Images above their reconstructions at {_when(run, path)}." for path in paths]
    return [shown(path, caption) for path, caption in zip(paths, captions, strict=True)]


def beside_numbers(run: Run) -> dict[str, dict[str, Any]]:
    """The other pictures of the full evaluation by name, those that are there."""
    paths = {name: run.folder / "evaluation" / f"{name}.png" for name in _ELSEWHERE}
    return {name: shown(path, _ELSEWHERE[name]) for name, path in paths.items() if path.is_file()}


def shown(path: Path, caption: str) -> dict[str, Any]:
    """A picture and its caption, which says so where the file is damaged."""
    image = pictures.load(path)
    if image is None:
        return {"caption": f"{path.name} is damaged and cannot be shown.", "picture": None}
    return {"caption": caption, "picture": pictures.picture(image)}


def samples(run: Run) -> list[dict[str, Any]]:
    """What the same noise was decoded to at some evaluations, evenly spaced; rows as ``strips`` has them."""
    paths = pictures.spread(_strip_paths(run, "samples"), _MOST_STRIPS)
    return [_row(run, path, pictures.load(path), "Samples", is_narrow=False) for path in paths]


def _row(run: Run, path: Path, image: Image | None, what: str, *, is_narrow: bool, metric: str = "") -> dict[str, Any]:
    """A row of a series: its label, its picture or None, what that is, a number beside it, and whether it is low."""
    when = _when(run, path)
    return {
        "label": when,
        "picture": pictures.picture(image) if image else None,
        "alt": f"{what} at {when}" if image else f"{path.name} is damaged and cannot be shown.",
        "metric": metric,
        "narrow": is_narrow,
    }


def _strip_paths(run: Run, kind: str = "reconstructions") -> list[Path]:
    """The pictures of the evaluations that count, by step."""
    last = number(run.last, "step")
    paths = {_step(path): path for path in sorted((run.folder / "images" / kind).glob("step-*.png"))}
    return [paths[step] for step in sorted(paths) if not step > last]


def _step(path: Path) -> int:
    digits = path.stem.removeprefix("step-")
    return int(digits) if digits.isdecimal() else 0


def _evaluation_at(run: Run, path: Path) -> Record:
    return next((record for record in run.evaluations if record["step"] == _step(path)), {})


def _when(run: Run, path: Path) -> str:
    epoch = _evaluation_at(run, path).get("epoch")
    return f"epoch {epoch:g}" if isinstance(epoch, int | float) else f"step {_step(path):,}"


def strips(run: Run) -> dict[str, Any]:
    """The same images at each evaluation: the images once where the strips share them, then a row an evaluation."""
    paths = _strip_paths(run)
    loaded = [(path, image) for path in pictures.spread(paths, _MOST_STRIPS) if (image := pictures.load(path))]
    halves = pictures.halve([image for _, image in loaded])
    rows = halves[1] if halves else [image for _, image in loaded]
    return {
        "originals": pictures.picture(halves[0]) if halves else None,
        "rows": [
            _row(run, path, row, "Reconstructions", is_narrow=halves is not None, metric=headline(_at(run, path)))
            for (path, _), row in zip(loaded, rows, strict=True)
        ],
        "total": len(paths),
    }


def last_strip(run: Run) -> Image | None:
    """The picture of the last evaluation during training, or None."""
    paths = _strip_paths(run)
    return pictures.load(paths[-1]) if paths else None


def _at(run: Run, path: Path) -> Record:
    return _evaluation_at(run, path).get("metrics", {})


def headline(metrics: Record) -> str:
    """One metric of an evaluation as text: PSNR where there is one, else the first."""
    name = "psnr" if "psnr" in metrics else next(iter(metrics), "")
    return words.with_unit(name, number(metrics, name)) if name else ""
