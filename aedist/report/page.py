"""The page about a run: what each part shows, and ``report.html`` written whole or not at all.

The page is a pure function of the run directory: equal files give equal bytes, and nothing is read but
them. It is one file that asks for nothing else, so it can be opened offline, mailed, or kept.
"""

from pathlib import Path
from typing import Any

from aedist.report import curves, encodings, gallery, interruptions, measured, uses, words
from aedist.report.definitions import definitions
from aedist.report.read import Run, number, read_run
from aedist.report.settings import settings
from aedist.report.subject import provenance, subject
from aedist.report.summary import summary
from aedist.report.template import fill, save_page

REPORT_NAME = "report.html"


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page about a run, to ``run_dir/report.html`` if ``out`` is None, and return its path.

    Raises:
        UserError: if ``run_dir`` is no run directory, its config.yaml cannot be read, or the page cannot be written.
    """
    page = render(read_run(run_dir))
    return save_page(out or run_dir / REPORT_NAME, page)


def render(run: Run) -> str:
    """The page about a run, as HTML."""
    figures = curves.all_figures(curves.traced([run]))
    return fill(
        "page.html",
        figures,
        run=run,
        summary=summary(run),
        subject=subject(run),
        **_evaluation(run),
        data=curves.data_name(run),
        evaluated=curves.evaluated_name(run),
        has_best=any(record.get("best") for record in run.evaluations),
        strips=gallery.strips(run),
        samples=gallery.samples(run),
        explored=[gallery.shown(path, caption) for path, caption in uses.captions(run.folder)],
        epochs=_epoch_rows(run),
        speed=_speed(run),
        starts=interruptions.starts(run),
        interrupted=interruptions.told(run),
        configuration=settings(run.config),
        provenance=provenance(run),
    )


def _evaluation(run: Run) -> dict[str, Any]:
    """What the page shows of the full evaluation."""
    latents, latents_in_detail = encodings.facts(run)
    return {
        "bottom_line": str(run.evaluation.get("bottom_line") or ""),
        "verdicts": measured.verdicts(run),
        "warnings": measured.warnings(run),
        "measured": measured.measurements(run),
        "part_text": measured.part_text,
        "comparison": measured.comparison(run),
        "sets": measured.sets(run),
        "missing": measured.missing(run),
        "latents": latents,
        "latents_in_detail": latents_in_detail,
        "definitions": definitions(run),
        "beside": gallery.beside_numbers(run),
        "finals": gallery.final_pictures(run),
    }


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
