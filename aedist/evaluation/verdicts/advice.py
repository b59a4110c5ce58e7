"""What to try next where a model is not good: keys of the configuration, with values that follow from the model.

Advice is what an experienced reader of the numbers would try first; nothing has been tried for this model.
"""

from collections.abc import Callable, Mapping
from typing import Any

_LPIPS = {1: 100, 3: 300}
"""A weight of LPIPS beside a sum of squared errors, by the channels."""


def next_thing(topic: str, record: Mapping[str, Any]) -> str:
    """The next thing to try, half a sentence.

    Args:
        topic: ``error``, ``likeness``, ``numbers``, ``units``, ``samples``, ``gap`` or ``classes``.
        record: of the evaluation; its ``model`` is the section of the configuration, and ``latents`` how it is used.
    """
    model = record.get("model")
    return _TOPICS[topic](model if isinstance(model, Mapping) else {}, record)


def _error(model: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """A smaller error: a network that can do more, or more time for it."""
    kind = model.get("kind")
    if kind == "mlp":
        return (
            f"train longer at a higher rate, as configs/mnist_ae_plus.yaml does (optim.lr=8e-3, "
            f"optim.schedule=cosine, train.epochs=20), then {_doubled(model, 'hidden_dim', 'latent_dim')}"
        )
    if kind == "conv":
        return (
            "let the rate fall late (optim.schedule=cosine) over more train.epochs; then model.kind=residual, as "
            "configs/tinyimagenet_ae_plus.yaml has it: as many numbers, a quarter of the parameters, a smaller error"
        )
    if kind == "vae":
        return (
            "a sharper likelihood, objective.squared_error=4; then model.kind=residual with model.posterior=gaussian, "
            "as configs/faces_vae_plus.yaml has it"
        )
    sharper = "a sharper likelihood, objective.squared_error=4, " if is_variational(model) else ""
    return f"{sharper}more train.epochs, then {_doubled(model, 'blocks', 'latent_dim')}"


def _likeness(_model: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Sharper pictures: a loss that sees more than single pixels."""
    weight = _LPIPS[1 if is_grey(record) else 3]
    return f"a loss that sees more than single pixels, objective.lpips={weight} (first: aedist fetch lpips); PSNR pays"


def _numbers(model: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Numbers of an encoding that never change."""
    if model.get("kind") == "conv":
        return (
            "begin more gently (optim.warmup_images=32000, a smaller optim.lr), as a ReLU on the encoding that is once "
            "dead stays so; or model.kind=residual, which has none"
        )
    return "a smaller model.latent_dim loses nothing; for more of the numbers to be used, more train.epochs"


def _units(_model: Mapping[str, Any], _record: Mapping[str, Any]) -> str:
    """Numbers of an encoding that a KL has switched off."""
    return "objective.kl_warmup_images of some epochs, objective.free_nats=0.1, or objective.kl=0.5"


def _samples(model: Mapping[str, Any], _record: Mapping[str, Any]) -> str:
    """Decoded draws that do not look like the data."""
    if is_variational(model):
        return "encodings nearer to the prior, objective.kl=2; fewer of them, a smaller model.latent_dim"
    return (
        "encodings that can be drawn: model.kind=residual with model.posterior=gaussian; or a smaller model.latent_dim"
    )


def _gap(_model: Mapping[str, Any], _record: Mapping[str, Any]) -> str:
    """A prior that is not where the encodings are."""
    return "draw from what was fitted to the encodings, aedist sample RUN --from mixture; or raise objective.kl"


def _classes(model: Mapping[str, Any], _record: Mapping[str, Any]) -> str:
    """Encodings that do not tell the classes apart."""
    return f"no term asks for classes; what helps reconstruction mostly helps here: {_doubled(model, 'latent_dim')}"


_TOPICS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "error": _error,
    "likeness": _likeness,
    "numbers": _numbers,
    "units": _units,
    "samples": _samples,
    "gap": _gap,
    "classes": _classes,
}


def is_grey(record: Mapping[str, Any]) -> bool:
    """Whether the record says that its images have one channel."""
    data = record.get("data")
    shape = data.get("image_shape") if isinstance(data, Mapping) else None
    return isinstance(shape, list | tuple) and list(shape)[-1:] == [1]


def is_variational(model: Mapping[str, Any]) -> bool:
    """Whether a model's section names a posterior to draw from."""
    return model.get("kind") == "vae" or model.get("posterior") == "gaussian"


def _doubled(model: Mapping[str, Any], *keys: str) -> str:
    """``model.hidden_dim=400 or model.latent_dim=40``: twice what the model has."""
    values = ((key, model.get(key)) for key in keys)
    told = [f"model.{key}={2 * value}" if isinstance(value, int) else f"a larger model.{key}" for key, value in values]
    return " or ".join(told)
