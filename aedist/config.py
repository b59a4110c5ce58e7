"""What a run is: every key of a configuration, with its type, its default and one sentence.

A key either decides the result or only the placement of the work (``placement=True``: how many loader
workers, where decoded images are kept, what is logged where). A run directory may be continued under
other placement keys, never under other result keys. Reading files and reporting mistakes is
``configfile``'s business; this file only says what may be written.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from aedist.modelconfig import Model, has_posterior, kind_of
from aedist.section import Bytes, Section, key

Decay = Annotated[float, Field(ge=0, lt=1)]


class Run(Section):
    dir: str = key("", "Folder of the run; left empty, runs/NAME after the configuration's file.", placement=True)
    seed: int = key(0, "Names the run's random numbers: weights, order of samples, noise.", ge=0, lt=2**63)


class Data(Section):
    shards: str = key(
        ..., "Folder or address with one sub-folder a split, each holding tars and index.json.", placement=True
    )
    split: str = key("train", "The split that is trained on.", min_length=1)
    shuffle_shards: int | None = key(
        None, "How many consecutive shards are shuffled together; left out, it follows from the data's size.", ge=1
    )
    mode: Literal["auto", "stream", "resident"] = key(
        "auto", "Decode as needed, or once into memory; auto takes memory where it fits.", placement=True
    )
    workers: int = key(2, "Loader processes a training process; 0 reads in the process itself.", ge=0, placement=True)
    memory: Bytes = key("4GiB", "Most memory that the resident images of one process may take.", placement=True)
    cache: str = key(
        "", "Folder on the node's disk for shards from an address; left empty, in the user's cache.", placement=True
    )
    cache_bytes: Bytes = key("50GiB", "Most bytes of shards that are kept there.", placement=True)
    on_error: Literal["strict", "quarantine"] = key(
        "strict",
        "Samples that cannot be used: stop before the first, or find all before step 0 and leave them out.",
    )
    stall_seconds: float = key(
        30.0, "A connection to an address without a byte for so long is given up and made anew.", gt=0, placement=True
    )


class Batch(Section):
    micro: int = key(32, "Images in one forward and backward pass on one process.", ge=1)
    num_micro: int = key(1, "Micro-batches in one step; images a step = micro x num_micro.", ge=1)


class Objective(Section):
    squared_error: float = key(1.0, "Weight of the squared error, summed over an image, mean over images.", ge=0)
    absolute_error: float = key(0.0, "Weight of the absolute error (L1), summed over an image.", ge=0)
    cross_entropy: float = key(0.0, "Weight of the binary cross-entropy (BCE), summed over an image, in nats.", ge=0)
    kl: float | None = key(
        None, "Weight of the posterior's KL to N(0, 1), beta; left out, 1 for a variational model.", ge=0
    )
    lpips: float = key(0.0, "Weight of the LPIPS distance, one number an image; get its network by aedist fetch.", ge=0)
    lpips_net: Literal["alex", "vgg"] = key("alex", "The network that LPIPS looks with.")
    kl_warmup_images: int = key(0, "Images over which the weight of kl rises from zero.", ge=0)
    free_nats: float = key(0.0, "KL of one number of the encoding that costs nothing more (free bits), in nats.", ge=0)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term, by name."""
        return {name: getattr(self, name) or 0.0 for name in TERM_NAMES}

    @model_validator(mode="after")
    def _something_to_reconstruct(self) -> "Objective":
        if not any(weight for name, weight in self.weights.items() if name != "kl"):
            raise ValueError("give at least one term of objective besides kl a weight above zero")
        return self


TERM_NAMES = ("squared_error", "absolute_error", "cross_entropy", "kl", "lpips")


class Optim(Section):
    name: Literal["adam", "adamw"] = key("adam", "The optimiser.")
    lr: float = key(1.0e-3, "Learning rate at its height.", gt=0)
    betas: tuple[Decay, Decay] = key((0.9, 0.999), "Adam's decay rates of the two moments.", strict=False)
    eps: float = key(1.0e-8, "Adam's epsilon.", gt=0)
    weight_decay: float = key(0.0, "Decay of the weights: L2 for adam, decoupled for adamw.", ge=0)
    clip_norm: float | None = key(None, "Largest norm of the gradient; left out, it is not clipped.", gt=0)
    schedule: Literal["constant", "cosine", "step"] = key("constant", "How the learning rate falls from its height.")
    warmup_images: int = key(0, "Images over which the learning rate rises from zero.", ge=0)
    drop_every_images: int | None = key(
        None, "Images after which a step schedule lowers the rate, again and again.", ge=1
    )
    drop_factor: float = key(0.1, "What a step schedule multiplies the rate by.", gt=0, lt=1)

    @model_validator(mode="after")
    def _steps_have_a_length(self) -> "Optim":
        if (self.schedule == "step") != (self.drop_every_images is not None):
            raise ValueError("give optim.drop_every_images with optim.schedule: step, and only with it")
        return self


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
    ema_decay: float | None = key(
        None,
        "Decay a step of the weights' moving average, which is then evaluated and exported; none if left out.",
        gt=0,
        lt=1,
    )
    max_minutes: float | None = key(
        None, "Stop as for a signal when the process has run so long; never if left out.", gt=0, placement=True
    )
    stall_minutes: float = key(
        20.0,
        "End with an error when a process has not moved for so long: more than its longest save.",
        gt=0,
        placement=True,
    )
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
    in_training: Literal["images", "networks"] = key(
        "images", "What is measured while it trains: each image by itself, or also LPIPS, FID and KID."
    )
    fid_images: int | None = key(
        None, "Images that FID, KID, precision and recall compare; left out, all that are evaluated; 0, none.", ge=0
    )
    fit_images: int | None = key(
        10_000, "First training images that baselines, densities and the probe are fitted to; null, all.", ge=2
    )
    lpips_net: Literal["alex", "vgg"] = key("alex", "The network that the metric LPIPS looks with.")


class Track(Section):
    wandb: Literal["auto", "offline", "online", "disabled"] = key(
        "auto", "Weights & Biases: auto is online where a key is set, else offline.", placement=True
    )
    project: str = key("aedist", "The W&B project.", placement=True)
    group: str | None = key(None, "The W&B group.", placement=True)
    tags: tuple[str, ...] = key((), "The W&B tags.", strict=False, placement=True)
    id: str | None = key(
        None,
        "The W&B run's id, where a sweep's agent gives one; left out, the run's own.",
        placement=True,
        pattern="^[A-Za-z0-9_-]{1,64}$",
    )
    artifacts: Literal["none", "model", "all"] = key(
        "none", "What W&B keeps at the end: nothing, the exported model, or the checkpoints too.", placement=True
    )


class Config(Section):
    """A whole run."""

    run: Run = key(Run(), "Where and which.")
    data: Data = key(..., "What is read, and how.")
    batch: Batch = key(Batch(), "How many images make a step.")
    model: Model = key(..., "What is trained.", discriminator="kind")
    objective: Objective = key(Objective(), "What is minimised: the sum of weight x term.")
    optim: Optim = key(Optim(), "How the weights move.")
    train: Train = key(Train(), "How long, in which arithmetic, and what happens how often.")
    evaluate: Evaluate = key(Evaluate(), "What is measured.")
    track: Track = key(Track(), "Who is told.")

    @model_validator(mode="after")
    def _kl_of_a_posterior(self) -> "Config":
        objective = self.objective
        if has_posterior(self.model):
            if objective.kl is None:
                object.__setattr__(self, "objective", objective.model_copy(update={"kl": 1.0}))
        elif objective.kl or objective.kl_warmup_images or objective.free_nats:
            raise ValueError(
                f"give objective.kl, kl_warmup_images and free_nats to a variational model alone; {self.model.kind} "
                f"has no posterior (vae has, and residual with model.posterior: gaussian)"
            )
        return self

    @property
    def images_per_step(self) -> int:
        """B, the images of one optimiser step."""
        return self.batch.micro * self.batch.num_micro


def sections() -> dict[str, tuple[type[Section], ...]]:
    """The sections of a configuration by name, in order; of ``model``, one for each kind."""
    found: dict[str, Any] = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: get_args(annotation) or (annotation,) for name, annotation in found.items()}


def is_placement(section: str, name: str) -> bool:
    """Whether the key only places the work, so that a run may be continued under another value."""
    for cls in sections()[section]:
        if name in cls.model_fields:
            extra = cls.model_fields[name].json_schema_extra
            return isinstance(extra, dict) and bool(extra["placement"])
    return False


def describe_keys(kind: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Every key as (dotted name, default, sentence); of the models, all with their kind before it, or one kind's."""
    for section, classes in sections().items():
        for cls in classes:
            cls_kind = kind_of(cls)
            if kind is not None and cls_kind not in (None, kind):
                continue
            before = f"{cls_kind}: " if len(classes) > 1 and kind is None else ""
            for name, field in cls.model_fields.items():
                default = "required" if field.is_required() else str(field.default)
                yield f"{section}.{name}", default, before + (field.description or "")
