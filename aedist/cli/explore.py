"""The verbs that use a run's encodings, each leaving a picture and its numbers in RUN/explore/."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import asked_of_launcher
from aedist.cli.terminal import at_work
from aedist.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from aedist.trained import Trained

    Use = Callable[[Trained, argparse.Namespace, Callable[[str], None]], tuple[Image, dict[str, Any]]]

_GRAMMAR = """\
The expression adds and subtracts groups of images: "glasses & man - man + woman". A group is a class, an attribute,
or such joined by & (and), | (or), ! (not) and parentheses. A class or an attribute that is true or false is named by
itself, another attribute by name=value; class=NAME is the class where an attribute has its name too. Names with other
characters than letters, digits, _ and . stand in quotes: 't-shirt' without them would be t minus shirt. In quotes,
two quotes are one of the name's own: 'driver''s cap'. Put the whole in quotes for the shell; where it begins with a
minus sign, put -- before it."""

# options of arithmetic that go with one of its two uses alone, and the parameters that they are
_OF_EXPRESSION = {"images": "num_images", "apply": "apply_to"}
_OF_MEASURE = {"pairs": "num_pairs", "draws": "draws", "seed": "seed"}


def add_verbs(verbs: Any) -> None:
    """The verbs reconstruct, sample, interpolate, traverse and arithmetic."""
    verb = _add(verbs, "reconstruct", _reconstruct, "show originals above reconstructions; the best and worst too")
    verb.add_argument(
        "--ids", type=int, nargs="+", default=[], metavar="ID", help="these samples of the split, 100 at most"
    )
    verb.add_argument("--images", type=int, metavar="N", help="search the best and worst among the first N images")

    verb = _add(verbs, "sample", _sample, "draw new images")
    verb.add_argument(
        "--from", dest="source", choices=("prior", "gaussian", "mixture"), help="what encodings are drawn from: the "
        "prior N(0, 1) of a variational model (its default), or a Gaussian (the others' default) or a mixture of "
        "Gaussians fitted to the training images' encodings"
    )  # fmt: skip
    verb.add_argument("--number", type=int, default=32, metavar="N", help="how many (32; 400 at most)")
    verb.add_argument("--seed", type=int, default=0, help="names the draw (0)")
    verb.add_argument("--temperature", type=float, default=1.0, metavar="T", help="multiplies standard deviations (1)")
    verb.add_argument("--components", type=int, metavar="N", help="Gaussians in the mixture (10)")
    verb.add_argument("--encodings", type=int, metavar="N", help="fit to the first N training images (10000)")

    verb = _add(verbs, "interpolate", _interpolate, "go from one image to another, on the line and on the arc")
    verb.add_argument("--ids", type=int, nargs="+", default=[], metavar="ID", help="two samples for each pair")
    verb.add_argument("--steps", type=int, default=9, metavar="N", help="decoded images in a row (9)")

    verb = _add(verbs, "traverse", _traverse, "show what each direction of the encoding does")
    verb.add_argument(
        "--basis", choices=("axes", "pca"), help="the encoding's own numbers, sorted by KL or variance (the default "
        "for vectors), or principal components (the default for spatial encodings)"
    )  # fmt: skip
    verb.add_argument("--dimensions", type=int, default=8, metavar="N", help="how many directions (8)")
    verb.add_argument("--steps", type=int, default=7, metavar="N", help="images in a row (7)")
    verb.add_argument("--image", type=int, metavar="ID", help="around this sample; around the mean if left out")
    _add_encodings(verb, "take the directions from the first N training images")

    verb = _add(verbs, "arithmetic", _arithmetic, "add and subtract the mean encodings of groups of images")
    verb.description, verb.epilog = "Add and subtract the mean encodings of groups of images.", _GRAMMAR
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.add_argument("expression", nargs="?", metavar="EXPRESSION", help='such as "glasses & man - man + woman"')
    verb.add_argument("--images", type=int, metavar="N", help="images in each group's mean (100)")
    verb.add_argument("--apply", type=int, nargs="+", metavar="ID", help="add the result to these samples")
    verb.add_argument(
        "--measure", nargs="?", const="glasses", metavar="ATTRIBUTE", help="instead of an expression: measure on pairs "
        "of images that differ in ATTRIBUTE alone (glasses) how well its vector turns one into the other"
    )  # fmt: skip
    verb.add_argument("--pairs", type=int, metavar="N", help="with --measure: at most N pairs (1000)")
    verb.add_argument("--draws", type=int, metavar="N", help="with --measure: random vectors of each kind (5)")
    verb.add_argument("--seed", type=int, help="with --measure: names the random vectors (0)")
    _add_encodings(verb, "search the nearest image among the first N; with --measure, training images of the vector")


def _add(verbs: Any, name: str, use: "Use", words: str) -> Any:
    verb = verbs.add_parser(name, help=words)
    verb.add_argument("folder", type=Path, metavar="RUN", help="the run's directory")
    verb.add_argument("--checkpoint", default="last", metavar="WHICH", help="last, best or a step's number")
    verb.add_argument("--split", help="the split whose images are used; the configuration's evaluation if left out")
    verb.add_argument("--name", help="of what is written: RUN/explore/NAME.png and .json (what was done)")
    verb.set_defaults(run=partial(_run, name, use))
    return verb


def _add_encodings(verb: Any, words: str) -> None:
    verb.add_argument("--encodings", type=int, default=10_000, metavar="N", help=f"{words} (10000)")


def _run(name: str, use: "Use", arguments: argparse.Namespace) -> None:
    """Open the run, use it, write what came of it."""
    if (getattr(arguments, "seed", 0) or 0) not in range(2**63):
        raise UserError(f"--seed: {arguments.seed} is refused: it must be from 0 to 2^63 - 1")
    with at_work(f"{name}: opening {arguments.folder}") as say:
        asked = asked_of_launcher()
        if asked.world != 1:
            raise UserError(f"aedist {name}: is done by one process, not {asked.world}; start it without a launcher")
        from aedist.explore import check_name, write_outcome
        from aedist.trained import open_trained

        if arguments.name is not None:
            check_name(arguments.name)
        trained = open_trained(arguments.folder, arguments.checkpoint, arguments.split, asked, say)
        say.passing(f"{name}: {trained.checkpoint.name} of {arguments.folder}")
        picture, numbers = use(trained, arguments, say)
        paths = write_outcome(trained, arguments.name or str(numbers["verb"]), picture, numbers)
    for path in paths:
        print(f"wrote {path}")


def _reconstruct(trained: "Trained", arguments: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from aedist.explore import reconstruct

    return reconstruct(trained, arguments.ids, arguments.images, say)


def _sample(trained: "Trained", arguments: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from aedist.explore import sample

    if arguments.components is not None and arguments.source != "mixture":
        raise UserError("--components: goes with --from mixture alone; add that, or leave it out")
    return sample(
        trained,
        arguments.source,
        arguments.number,
        arguments.seed,
        arguments.temperature,
        10 if arguments.components is None else arguments.components,
        arguments.encodings,
        say,
    )


def _interpolate(trained: "Trained", arguments: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from aedist.explore import interpolate

    return interpolate(trained, arguments.ids, arguments.steps, say)


def _traverse(trained: "Trained", arguments: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from aedist.explore import traverse

    return traverse(
        trained,
        arguments.basis,
        arguments.dimensions,
        arguments.steps,
        arguments.image,
        arguments.encodings,
        say,
    )


def _arithmetic(trained: "Trained", arguments: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from aedist.explore import arithmetic, measure_attribute

    if (arguments.expression is None) == (arguments.measure is None):
        raise UserError(
            'aedist arithmetic: give an expression, such as "glasses & man - man + woman", or --measure ATTRIBUTE, '
            "one of the two; aedist arithmetic --help says more"
        )
    asked = {"an expression": _OF_EXPRESSION, "--measure": _OF_MEASURE}
    here = "an expression" if arguments.measure is None else "--measure"
    given = {option for options in asked.values() for option in options if getattr(arguments, option) is not None}
    if strangers := sorted(given - asked[here].keys()):
        there = "--measure" if arguments.measure is None else "an expression"
        raise UserError(f"--{strangers[0]}: goes with {there}, and {here} is given; leave it out")
    chosen = {asked[here][option]: getattr(arguments, option) for option in sorted(given)}
    if arguments.measure is not None:
        return measure_attribute(trained, arguments.measure, arguments.encodings, say=say, **chosen)
    return arithmetic(trained, arguments.expression, num_searched=arguments.encodings, say=say, **chosen)
