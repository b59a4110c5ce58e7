"""Images to encodings and back, as flat vectors on the CPU.

A spatial encoding (c, h, w) is the vector of its d = c h w numbers here, since means, distances and directions are
those of vectors; it gets its shape back where it is decoded. Images are encoded in fixed batches, in sample order, so
that the same images have the same encodings whenever they are asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedist.data.loader import Split, cut, read_stretches
from aedist.data.pixels import to_bytes, to_unit_range
from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.models.output import is_variational
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing
from aedist.trained import Trained


@dataclass(frozen=True)
class Encodings:
    """Encodings of some images."""

    z_nd: Tensor
    """float64 (n, d), on the CPU: the posteriors' modes where there are posteriors."""
    kl_d: Tensor | None
    """float64 (d,): the KL to N(0, 1) of each number in nats, mean over the images; None without posteriors."""


class _Coder(Protocol):
    """What every model does, said for the type checker, since an ``nn.Module`` does not say it."""

    def encode(self, x_bchw: Tensor) -> Tensor: ...
    def decode(self, z: Tensor) -> Tensor: ...


def encode_first(trained: Trained, split: Split, count: int, say: Callable[[str], None] = say_nothing) -> Encodings:
    """The encodings of a split's first ``count`` samples, or of all where there are fewer.

    Raises:
        UserError: if ``count`` is not positive, or a shard or an image is damaged.
    """
    if count < 1:
        raise UserError(f"--encodings: {count} is refused: it must be 1 or more")
    count = min(count, split.index.num_samples)
    say(f"encoding {count:,} of {split.index.num_samples:,} images of {split.index.name}/{split.index.split}")
    stretches = cut(0, count, trained.config.evaluate.batch)
    images = (images for _, images in read_stretches(split, stretches, trained.config.data.workers))
    return _encode(trained, images, count, say)


def encode_ids(
    trained: Trained, store: ShardStore, sample_ids: Sequence[int], say: Callable[[str], None] = say_nothing
) -> Encodings:
    """The encodings of chosen samples, in the given order."""
    stretches = cut(0, len(sample_ids), trained.config.evaluate.batch)
    images = (store.read_images(sample_ids[first:last]) for first, last in stretches)
    return _encode(trained, images, len(sample_ids), say)


@torch.no_grad()
def decode_images(trained: Trained, z_nd: Tensor, say: Callable[[str], None] = say_nothing) -> NDArray[np.uint8]:
    """Encodings (n, d) to the images that they decode to, uint8 (n, H, W, C)."""
    shape = encoding_shape(trained)
    parameter = next(trained.model.parameters())
    decoded, done, progress = list[Tensor](), 0, now_and_then(say)
    for batch in z_nd.split(trained.config.evaluate.batch):
        decoded.append(to_bytes(_coder(trained).decode(batch.to(parameter).unflatten(1, shape))).cpu())
        done += len(batch)
        progress(f"decoded {done:,} of {len(z_nd):,}")
    return torch.cat(decoded).numpy()


@torch.no_grad()
def encoding_shape(trained: Trained) -> tuple[int, ...]:
    """The shape of one image's encoding: (d,), or (c, h, w)."""
    height, width, channels = trained.split.index.image_shape
    blank = torch.zeros(1, height, width, channels, dtype=torch.uint8)
    return tuple(_posterior_mode(trained, blank)[0].shape[1:])


def image_errors(one_nhwc: NDArray[np.uint8], other_nhwc: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean squared error between two images, values in [0, 1], for each of n pairs: (n,)."""
    difference = (one_nhwc.astype(np.float64) - other_nhwc) / 255
    return np.square(difference).mean(axis=(1, 2, 3))


def check_ids(split: Split, sample_ids: Sequence[int], option: str = "--ids") -> None:
    """Refuse numbers that are no sample's.

    Raises:
        UserError: naming the first, and what there is.
    """
    for sample_id in sample_ids:
        if not 0 <= sample_id < split.index.num_samples:
            raise UserError(
                f"{option}: {sample_id} is no sample of {split.index.name}/{split.index.split}; "
                f"take 0 to {split.index.num_samples - 1}"
            )


@torch.no_grad()
def _encode(trained: Trained, batches: Iterable[Tensor], count: int, say: Callable[[str], None]) -> Encodings:
    found, kl_sum, done, progress = list[Tensor](), None, 0, now_and_then(say)
    for images in batches:
        z, kl = _posterior_mode(trained, images)
        found.append(z.flatten(1).double().cpu())
        if kl is not None:
            total = kl.flatten(1).double().sum(0).cpu()
            kl_sum = total if kl_sum is None else kl_sum + total
        done += len(images)
        progress(f"encoded {done:,} of {count:,}")
    z_nd = torch.cat(found)
    if not z_nd.isfinite().all():
        raise UserError(f"{trained.checkpoint}: encodes some images to numbers that are not finite; take another")
    return Encodings(z_nd, None if kl_sum is None else kl_sum / count)


def _posterior_mode(trained: Trained, images_bhwc: Tensor) -> tuple[Tensor, Tensor | None]:
    """The encodings of a batch, and the KL of each of their numbers where there is a posterior."""
    x = to_unit_range(images_bhwc.to(trained.place.device), next(trained.model.parameters()).dtype)
    model = trained.model
    if is_variational(model):
        posterior = model.posterior(x)
        return posterior.mode, posterior.kl()
    return _coder(trained).encode(x), None


def _coder(trained: Trained) -> _Coder:
    return cast(_Coder, trained.model)
