"""What a run is: every key of a configuration, with its type, its default and one sentence.

A key either decides the result or only the placement of the work (``placement=True``: how many loader
workers, where decoded images are kept, what is logged where). A run directory may be continued under
other placement keys, never under other result keys. Reading files and reporting mistakes is
``configfile``'s business; this file only says what may be written.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _parse_bytes(value: object) -> object:
    """``4GiB`` and the like to a number of bytes; anything else is left for pydantic to judge."""
    if not isinstance(value, str):
        return value
    number, unit = value[:-3].strip(), value[-3:]
    if unit not in _SIZES or not number.replace(".", "", 1).isdigit():
        raise ValueError("must be a size such as 512MiB or 4GiB")
    if len(number) > 12:
        raise ValueError("is larger than any memory")
    return int(float(number) * _SIZES[unit])


Bytes = Annotated[int, BeforeValidator(_parse_bytes), Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def key(default: Any, sentence: str, *, placement: bool = False, **rules: Any) -> Any:
    """A configuration key: its default, the sentence that says what it is, and its rules."""
    return Field(default, description=sentence, json_schema_extra={"placement": placement}, **rules)


class Section(BaseModel):
    """A frozen group of keys; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


class Run(Section):
    dir: str = key("", "Folder of the run; left empty, runs/NAME after the configuration's file.", placement=True)
    seed: int = key(0, "Names the run's random numbers: weights, order of samples, noise.", ge=0, lt=2**63)


class Data(Section):
    shards: str = key(..., "Folder with one sub-folder a split, each holding tars and index.json.", placement=True)
    split: str = key("train", "The split that is trained on.", min_length=1)
    shuffle_shards: int | None = key(
        None, "How many consecutive shards are shuffled together; left out, it follows from the data's size.", ge=1
    )
    mode: Literal["auto", "stream", "resident"] = key(
        "auto", "Decode as needed, or once into memory; auto takes memory where it fits.", placement=True
    )
    workers: int = key(2, "Loader processes a training process; 0 reads in the process itself.", ge=0, placement=True)
    memory: Bytes = key("4GiB", "Most memory that the resident images of one process may take.", placement=True)


class Batch(Section):
    micro: int = key(32, "Images in one forward and backward pass on one process.", ge=1)
    num_micro: int = key(1, "Micro-batches in one step; images a step = micro x num_micro.", ge=1)


class MLPModel(Section):
    kind: Literal["mlp"] = key(..., "The architecture: mlp.")
    hidden_dim: int = key(200, "Width of the one hidden layer on either side of the latent.", ge=1)
    latent_dim: int = key(20, "Numbers in an encoding.", ge=1)


class Objective(Section):
    squared_error: float = key(1.0, "Weight of the squared error, summed over an image, mean over images.", ge=0)

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "Objective":
        if not any(self.model_dump().values()):
            raise ValueError("give at least one term of objective a weight above zero")
        return self


class Optim(Section):
    name: Literal["adam", "adamw"] = key("adam", "The optimiser.")
    lr: float = key(1.0e-3, "Learning rate at its height.", gt=0)
    betas: tuple[Decay, Decay] = key((0.9, 0.999), "Adam's decay rates of the two moments.", strict=False)
    eps: float = key(1.0e-8, "Adam's epsilon.", gt=0)
    weight_decay: float = key(0.0, "Decay of the weights: L2 for adam, decoupled for adamw.", ge=0)
    clip_norm: float | None = key(None, "Largest norm of the gradient; left out, it is not clipped.", gt=0)
    schedule: Literal["constant", "cosine"] = key("constant", "How the learning rate falls from its height.")
    warmup_images: int = key(0, "Images over which the learning rate rises from zero.", ge=0)


class Train(Section):
    epochs: int | None = key(None, "Passes over the split; this or steps (10 epochs if neither is given).", ge=1)
    steps: int | None = key(None, "Optimiser steps; this or epochs.", ge=1)
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = key("fp32", "Arithmetic of the forward and backward pass.")
    reduce: Literal["fast", "exact"] = key(
        "fast", "How gradients are added: fast is DDP's, exact is bit-identical for any number of processes."
    )
    fuse_rounds: Literal["auto", "off"] = key(
        "auto", "Under fast, run a process's micro-batches of a step as one pass where they are small.", placement=True
    )
    threads: int | None = key(
        None,
        "CPU threads a process computes with; left out, 1 under exact, else its share of the machine's cores.",
        ge=1,
    )
    log_every: int | None = key(None, "Images between records; left out, 20 an epoch.", ge=1, placement=True)
    evaluate_every: int | None = key(None, "Images between evaluations; left out, one an epoch.", ge=1)
    checkpoint_every: int | None = key(
        None, "Images between checkpoints; left out, one an epoch.", ge=1, placement=True
    )
    keep_last: int = key(2, "Checkpoints kept besides the best one.", ge=1, placement=True)
    max_bad_steps: int = key(10, "Steps in a row with a non-finite loss or gradient before the run stops.", ge=1)

    @model_validator(mode="after")
    def _one_length(self) -> "Train":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give train.epochs or train.steps, not both (null unsets one)")
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 10)
        return self


class Evaluate(Section):
    split: str = key("test", "The split that is evaluated.", min_length=1)
    images: int | None = key(None, "Evaluate the first so many images; left out, all.", ge=1)
    batch: int = key(250, "Images in one forward pass of the evaluation, for any number of processes.", ge=1)


class Track(Section):
    wandb: Literal["auto", "offline", "online", "disabled"] = key(
        "auto", "Weights & Biases: auto is online where a key is set, else offline.", placement=True
    )
    project: str = key("aedist", "The W&B project.", placement=True)
    group: str | None = key(None, "The W&B group.", placement=True)
    tags: tuple[str, ...] = key((), "The W&B tags.", strict=False, placement=True)


class Config(Section):
    """A whole run."""

    run: Run = key(Run(), "Where and which.")
    data: Data = key(..., "What is read, and how.")
    batch: Batch = key(Batch(), "How many images make a step.")
    model: MLPModel = key(..., "What is trained.")
    objective: Objective = key(Objective(), "What is minimised: the sum of weight x term.")
    optim: Optim = key(Optim(), "How the weights move.")
    train: Train = key(Train(), "How long, in which arithmetic, and what happens how often.")
    evaluate: Evaluate = key(Evaluate(), "What is measured.")
    track: Track = key(Track(), "Who is told.")

    @property
    def images_per_step(self) -> int:
        """B, the images of one optimiser step."""
        return self.batch.micro * self.batch.num_micro


def model_options(model: MLPModel, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What ``get_model`` takes for a configured model on images of (height, width, channels)."""
    return {"image_shape": image_shape, **model.model_dump(exclude={"kind"})}


def sections() -> dict[str, type[Section]]:
    """The sections of a configuration by name, in order."""
    return {name: field.annotation for name, field in Config.model_fields.items()}  # pyright: ignore[reportReturnType]


def is_placement(section: str, name: str) -> bool:
    """Whether the key only places the work, so that a run may be continued under another value."""
    extra = sections()[section].model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra["placement"])
