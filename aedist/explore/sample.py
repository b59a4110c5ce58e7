"""New images: encodings drawn from a density, decoded."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal

from PIL.Image import Image

from aedist.density import CannotFit, Density, draw, fit_gaussian, fit_mixture, prior
from aedist.errors import UserError
from aedist.explore.encodings import decode_images, encode_first, encoding_shape
from aedist.explore.limits import check_number
from aedist.explore.record import about_split, facts, title
from aedist.models.output import is_variational
from aedist.pictures import grid, in_rows
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_another_split

Source = Literal["prior", "gaussian", "mixture"]
_COLUMNS = 8
_MOST = 400
_ENCODINGS = 10_000
_MANY_NUMBERS = 10**7  # from about here on, fitting full covariances takes minutes on one core

DEFINITIONS = {
    "prior": "N(0, 1) in every number of the encoding, towards which a variational model is trained.",
    "gaussian": "The Gaussian with the mean and the full covariance of the training images' encodings (Ghosh et al., "
    "From variational to deterministic autoencoders, 2020).",
    "mixture": "A mixture of Gaussians with full covariances, fitted to the training images' encodings by expectation "
    "maximisation (Ghosh et al. 2020).",
}


def sample(
    trained: Trained,
    source: Source | None = None,
    number: int = 32,
    seed: int = 0,
    temperature: float = 1.0,
    components: int = 10,
    num_encodings: int | None = None,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """Images decoded from drawn encodings, eight in a row.

    Args:
        trained: the model.
        source: what is drawn from; None is the prior for a variational model, else the Gaussian.
        number: how many images.
        seed: names the draw.
        temperature: multiplies the standard deviation of every Gaussian.
        components: of the mixture.
        num_encodings: to the first so many training images a density is fitted, 10,000 if None; not for the prior.
        say: told what happens.

    Raises:
        UserError: if the model has no prior, or a number is out of range.
    """
    check_number("--number", number, most=_MOST)
    if not 0 <= temperature < float("inf"):
        raise UserError(f"--temperature: {temperature} is refused: it must be 0 or more")
    source = source or ("prior" if is_variational(trained.model) else "gaussian")
    numbers = facts(trained, "sample")
    numbers |= {"from": source, "definition": DEFINITIONS[source], "number": number, "seed": seed}
    numbers["temperature"] = temperature
    if source == "prior":
        density = _prior(trained)
        if num_encodings is not None:
            raise UserError("--encodings: goes with --from gaussian and --from mixture, which are fitted; leave it out")
        words = "samples of the prior"
    else:
        split = open_another_split(trained, trained.config.data.split)
        z_nd = encode_first(trained, split, _ENCODINGS if num_encodings is None else num_encodings, say).z_nd
        numbers |= {"num_encodings": len(z_nd), "fitted_to": about_split(split)}
        if source == "gaussian":
            try:
                density = fit_gaussian(z_nd)
            except CannotFit as error:
                raise UserError(f"--encodings: {error}; take more") from error
            words = f"samples of a Gaussian fitted to {len(z_nd):,} encodings"
        else:
            size = components * z_nd.shape[1] ** 2
            slow = f"; their covariances have {size:,} numbers, so this takes long" if size > _MANY_NUMBERS else ""
            say(f"fitting {components} Gaussians to {len(z_nd):,} encodings of {z_nd.shape[1]:,} numbers{slow}")
            try:
                density = fit_mixture(z_nd, components, seed, say)
            except CannotFit as error:
                raise UserError(f"--components: {error}; take other ones, or --from gaussian") from error
            if not density.has_converged:
                say("the mixture has not settled in its rounds; its samples may be better with more --encodings")
            numbers |= {"components": components, "has_converged": density.has_converged}
            words = f"samples of {components} Gaussians fitted to {len(z_nd):,} encodings"
    if temperature != 1:
        words += f", temperature {temperature:g}"
    z_nd = draw(density, number, seed, temperature)
    say(f"decoding {number} encodings drawn from the {source}, seed {seed}")
    numbers["norm_of_samples"] = float(z_nd.norm(dim=1).mean())
    return grid(in_rows(decode_images(trained, z_nd), _COLUMNS), title=title(trained, f"{words}, seed {seed}")), numbers


def _prior(trained: Trained) -> Density:
    if not is_variational(trained.model):
        raise UserError(
            f"--from prior: {trained.config.model.kind} is not variational here, so it has no prior; take --from "
            f"gaussian or --from mixture, which are fitted to its encodings"
        )
    return prior(prod(encoding_shape(trained)))
