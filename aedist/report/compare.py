"""One page about several runs: where they differ first, then how well each does, their curves over each other, and what
they make of the same images.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aedist.errors import UserError
from aedist.report import comparison, curves, gallery, pictures
from aedist.report.read import Run, read_run
from aedist.report.summary import summary
from aedist.report.template import fill, save_page

_LONGEST_NAME = 100
_KINDS = {
    "samples_prior": "Samples of the prior",
    "samples_gaussian": "Samples of a Gaussian that was fitted to encodings",
    "samples_mixture": "Samples of a mixture of Gaussians that was fitted to encodings",
    "errors": "Where the errors are, of some of each run's own best, median and worst images",
    "histograms": "How each metric is spread over the images",
    "kl": "What the KL is spent on",
    "latents": "The encodings in two dimensions",
}
"""Pictures of the full evaluation that are worth seeing side by side."""


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page that has several runs side by side, and return its path.

    Args:
        folders: the runs' directories, two or more.
        out: where to; beside the runs if None, named after them.

    Raises:
        UserError: if one is no run directory or is named twice, or the page cannot be written.
    """
    twice = next((path for path, n in Counter(folder.resolve() for folder in folders).items() if n > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: is named twice, and a run is not compared with itself; name each run once")
    runs = [read_run(folder) for folder in folders]
    return save_page(out or default_path(folders), render(runs))


def default_path(folders: Sequence[Path]) -> Path:
    """``compare-A-B.html`` in the folder that all the runs lie in, directly or deeper."""
    parent = Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    name = "-".join(folder.resolve().name for folder in folders)
    if len(name) > _LONGEST_NAME:
        name = f"{folders[0].resolve().name}-and-{len(folders) - 1}-more"
    return parent / f"compare-{name}.html"


def render(runs: Sequence[Run]) -> str:
    """The page about several runs, as HTML."""
    names = _names(runs)
    traced = curves.traced(runs, names)
    return fill(
        "compare.html",
        curves.all_figures(traced),
        runs=runs,
        names=names,
        traced=traced,
        summaries=[summary(run) for run in runs],
        bottom_lines=[str(run.evaluation.get("bottom_line") or "") for run in runs],
        differences=comparison.differences(runs),
        facts=comparison.facts(runs),
        results=comparison.results(runs),
        strips=_strips(runs, names),
        beside=_beside(runs, names),
        commands=[run.attempts[0].get("command", "") if run.attempts else "" for run in runs],
    )


def _names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where two are the same, the folders they lie in too."""
    repeated = {name for name, n in Counter(run.name for run in runs).items() if n > 1}
    resolved = [run.folder.resolve() for run in runs]
    parent = Path(os.path.commonpath([path.parent for path in resolved]))
    pairs = zip(runs, resolved, strict=True)
    return [str(path.relative_to(parent)) if run.name in repeated else run.name for run, path in pairs]


def _strips(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """The last reconstructions of the same images: the images once where all share them, then a row a run."""
    found = [(name, run, gallery.last_strip(run)) for name, run in zip(names, runs, strict=True)]
    there = [(name, run, image) for name, run, image in found if image is not None]
    halves = pictures.halve([image for _, _, image in there])
    rows = halves[1] if halves else [image for _, _, image in there]
    return {
        "originals": pictures.picture(halves[0]) if halves else None,
        "rows": [
            {
                "label": name,
                "picture": pictures.picture(row),
                "metric": gallery.headline(run.evaluations[-1].get("metrics", {})) if run.evaluations else "",
            }
            for (name, run, _), row in zip(there, rows, strict=True)
        ],
    }


def _beside(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """Each kind of picture that two or more runs have: its caption, and (name, picture) of each run that has it."""
    kinds: list[dict[str, Any]] = []
    for kind, caption in _KINDS.items():
        paths = [(name, run.folder / "evaluation" / f"{kind}.png") for name, run in zip(names, runs, strict=True)]
        shown = [gallery.shown(path, name) for name, path in paths if path.is_file()]
        if len(shown) > 1:
            kinds.append({"caption": caption, "shown": shown})
    return kinds
