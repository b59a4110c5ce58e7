"""What a model may be: the ``model`` section of a configuration, another one for each kind."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from aedist.section import Section, key


class MLPModel(Section):
    kind: Literal["mlp"] = key(..., "The architecture: mlp, the notebook's of digits.")
    hidden_dim: int = key(200, "Width of the one hidden layer on either side of the latent.", ge=1)
    latent_dim: int = key(20, "Numbers in an encoding.", ge=1)


class ConvModel(Section):
    kind: Literal["conv"] = key(..., "The architecture: conv, the notebook's of Tiny ImageNet.")
    latent_dim: int = key(512, "Numbers in an encoding.", ge=1)
    width: int = key(64, "Channels after the first convolution; each further one has twice as many.", ge=1)
    depth: int = key(4, "Convolutions on either side, each of which halves the image.", ge=1, le=12)


class VAEModel(Section):
    kind: Literal["vae"] = key(..., "The architecture: vae, the notebook's of faces.")
    latent_dim: int = key(100, "Numbers in an encoding.", ge=1)
    hidden_dim: int = key(1024, "Width of the linear layer on either side of the latent.", ge=1)
    width: int = key(8, "Channels after the first convolution; the next have two and four times as many.", ge=1)


class ResidualModel(Section):
    kind: Literal["residual"] = key(..., "The architecture: residual, for any latent and any posterior.")
    latent: Literal["spatial", "vector"] = key("spatial", "Whether an encoding keeps rows and columns.")
    latent_dim: int = key(8, "Channels of a spatial latent, numbers of a vector.", ge=1)
    posterior: Literal["point", "gaussian"] = key("point", "Deterministic, or variational.")
    patch: int | None = key(None, "Side of the squares of pixels that become channels; left out, a preset's.", ge=1)
    channels: tuple[Annotated[int, Field(ge=1)], ...] | None = key(
        None, "Channels of each level, which has half the side of the one before; left out, a preset's.", strict=False
    )
    blocks: int = key(1, "Residual blocks of a level.", ge=1)
    attention: bool = key(False, "Attention at the lowest resolution.")

    @model_validator(mode="after")
    def _some_level(self) -> "ResidualModel":
        if self.channels is not None and not self.channels:
            raise ValueError("give model.channels at least one level")
        return self


Model = MLPModel | ConvModel | VAEModel | ResidualModel
"""Each kind has keys of its own; ``kind`` says which are meant."""


def has_posterior(model: Model) -> bool:
    """Whether the model has a Gaussian posterior, so that KL and samples of the prior make sense."""
    return isinstance(model, VAEModel) or (isinstance(model, ResidualModel) and model.posterior == "gaussian")


def model_options(model: Model, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What ``get_model`` takes for a configured model on images of (height, width, channels)."""
    return {"image_shape": image_shape, **model.model_dump(exclude={"kind"})}


def kind_of(section: type[Section]) -> str | None:
    """The ``kind`` that a section of a model describes; None for any other section."""
    return get_args(section.model_fields["kind"].annotation)[0] if "kind" in section.model_fields else None
