"""The page about a run: what each part shows, and ``report.html`` written whole or not at all.

The page is a pure function of the run directory: equal files give equal bytes, and nothing is read but
them. It is one file that asks for nothing else, so it can be opened offline, mailed, or kept.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from aedist.report import curves, pictures, uses, words
from aedist.report.read import Record, Run, number, read_run
from aedist.report.settings import settings
from aedist.whole import write_whole

REPORT_NAME = "report.html"
_MOST_STRIPS = 12
_MOST_SAMPLES = 4
_CAPTIONS = {
    "reconstructions": "Images above their reconstructions.",
    "best": "The images with the smallest error, above their reconstructions.",
    "median": "Images with a middling error, above their reconstructions: what to expect.",
    "worst": "The images with the largest error, above their reconstructions.",
}


def write_report(run_dir: Path) -> Path:
    """Write ``run_dir/report.html`` and return its path.

    Raises:
        UserError: if ``run_dir`` is no run directory, or its config.yaml cannot be read.
    """
    page = render(read_run(run_dir))
    path = run_dir / REPORT_NAME
    write_whole(path, page)
    return path


def render(run: Run) -> str:
    """The page about a run, as HTML."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    return template.render(
        run=run,
        words=words,
        number=number,
        summary=words.summary(run),
        measured=words.measurements(run),
        data=curves.data_name(run),
        evaluated=curves.evaluated_name(run),
        finals=_final_pictures(run),
        loss=curves.loss_curve(run),
        evaluations=curves.evaluation_curves(run),
        has_best=any(record.get("best") for record in run.evaluations),
        strips=_strips(run),
        samples=_samples(run),
        explored=[_shown(path, caption) for path, caption in uses.captions(run.folder)],
        epochs=_epoch_rows(run),
        speed=_speed(run),
        speed_figure=curves.speed_curves(run),
        configuration=settings(run.config),
        provenance=_provenance(run),
    )


def _final_pictures(run: Run) -> list[dict[str, Any]]:
    """The pictures of the full evaluation, the known ones first; without any, those of the last evaluation."""
    known = list(_CAPTIONS)
    paths = sorted(
        (run.folder / "evaluation").glob("*.png"),
        key=lambda path: (known.index(path.stem) if path.stem in known else len(known), path.name),
    )
    captions = [_CAPTIONS.get(path.stem, path.stem.replace("_", " ").capitalize() + ".") for path in paths]
    if not paths:
        paths = _strip_paths(run)[-1:]
        captions = [f"Images above their reconstructions at {_when(run, path)}." for path in paths]
    return [_shown(path, caption) for path, caption in zip(paths, captions, strict=True)]


def _shown(path: Path, caption: str) -> dict[str, Any]:
    image = pictures.load(path)
    if image is None:
        return {"caption": f"{path.name} is damaged and cannot be shown.", "picture": None}
    return {"caption": caption, "picture": pictures.picture(image)}


def _samples(run: Run) -> list[dict[str, Any]]:
    """What the same noise was decoded to at some evaluations, evenly spaced."""
    paths = pictures.spread(_strip_paths(run, "samples"), _MOST_SAMPLES)
    return [_shown(path, f"{_when(run, path).capitalize()}.") for path in paths]


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


def _strips(run: Run) -> dict[str, Any]:
    """The same images at each evaluation: the images once where the strips share them, then a row an evaluation."""
    paths = _strip_paths(run)
    loaded = [(path, image) for path in pictures.spread(paths, _MOST_STRIPS) if (image := pictures.load(path))]
    halves = pictures.halve([image for _, image in loaded])
    rows = halves[1] if halves else [image for _, image in loaded]
    return {
        "originals": pictures.picture(halves[0]) if halves else None,
        "rows": [
            {
                "label": _when(run, path),
                "picture": pictures.picture(row),
                "metric": _headline(_evaluation_at(run, path).get("metrics", {})),
            }
            for (path, _), row in zip(loaded, rows, strict=True)
        ],
        "total": len(paths),
    }


def _headline(metrics: Record) -> str:
    """One metric of an evaluation as text: PSNR where there is one, else the first."""
    name = "psnr" if "psnr" in metrics else next(iter(metrics), "")
    return words.with_unit(name, number(metrics, name)) if name else ""


def _epoch_rows(run: Run) -> list[dict[str, Any]]:
    """Each finished epoch: its sums over all images, and their means over an image."""
    return [
        {
            "epoch": record.get("epoch"),
            "sums": {name: number(record, "sums", name) for name in record.get("sums", {})},
            "means": {
                name: number(record, "sums", name) / curves.images_per_epoch(run) for name in record.get("sums", {})
            },
            "seconds": number(record, "seconds"),
        }
        for record in run.epochs
    ]


def _speed(run: Run) -> list[tuple[str, str]]:
    if not run.train:
        return []
    rates = [number(record, "images_per_second") for record in run.train]
    facts = [
        ("Median speed", f"{words.count(words.median(rates))} images/s"),
        ("Waiting for data (median)", words.percent(words.median([number(r, "data_wait") for r in run.train]))),
        ("Steps skipped, not finite", words.count(number(run.train[-1], "skipped_steps"))),
    ]
    if run.epochs:
        facts.insert(0, ("Time of the finished epochs", words.duration(words.training_seconds(run))))
    return facts


def _provenance(run: Run) -> list[tuple[str, list[str]]]:
    """What a repetition has to agree with, by name; several values where the attempts differed."""
    missing = "not recorded"
    facts = [("Training data", [str(run.environment.get("data", {}).get("fingerprint", missing))])]
    if run.evaluation:
        facts.append(("Evaluated data", [str(run.evaluation.get("data", {}).get("fingerprint", missing))]))
        facts.append(("Evaluated checkpoint", [str(run.evaluation.get("checkpoint", missing))]))
    revisions = [str(attempt.get("git") or missing) for attempt in run.attempts] or [missing]
    versions = [_versions(attempt) or missing for attempt in run.attempts] or [missing]
    return [*facts, ("Git revision", list(dict.fromkeys(revisions))), ("Versions", list(dict.fromkeys(versions)))]


def _versions(attempt: Record) -> str:
    found = {"python": attempt.get("python"), **attempt.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)
