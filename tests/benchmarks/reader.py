"""From shards to uint8 batches: aedist's loader against decoding alone, and against what else reads the same images.

The calibration decodes the same bytes, all of them in memory already, one behind another, and throws the pixels away:
no reader can be faster on one core with the same decoder. Each way makes batches of 250 and drops them.
"""

import itertools
import warnings
from collections.abc import Callable
from functools import partial

import torch
import webdataset as wds
from material import Material
from measuring import Repeat, Work, interleaved, spread
from peerloops import CALIBRATION_BYTES, decode_alone
from peers import PEERS, run_peer
from tables import Table
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from aedist.data.loader import stream
from aedist.data.plan import Plan

BATCH = 250
_SLOW = 2000
"""So many images are enough of a way that takes half a millisecond for each."""


def tables(materials: list[Material], repeats: int, *, with_peers: bool) -> list[Table]:
    """One table a data set."""
    torch.set_num_threads(1)
    return [_table(material, repeats, with_peers=with_peers) for material in materials]


def _table(material: Material, repeats: int, *, with_peers: bool) -> Table:
    images = len(material.encoded)
    few = material.encoded[: material.images_of(CALIBRATION_BYTES)]
    found = interleaved(partial(decode_alone, few, material.extension), _ways(material, images), repeats)
    rows = [_row(name, timed, found[_STOCK]) for name, timed in found.items()]
    if with_peers:
        for peer in PEERS:
            said = run_peer(peer, material, repeats)
            rows.append(
                [f"{peer.title}", *[said, *[""] * 4]]
                if isinstance(said, str)
                else _row(peer.title, said, found[_STOCK])
            )
    shape = " x ".join(map(str, material.split.index.image_shape))
    size = sum(map(len, material.encoded)) / images
    alone = [repeat.calibration.per_cpu_second for timed in found.values() for repeat in timed]
    return Table(
        f"{material.name}: {images:,} images {shape}, {material.extension}, {size:,.0f} bytes each",
        ["way", "images a CPU-second", "of decoding alone", "of stock webdataset", "images a second", "repeats"],
        [["decoding alone, bytes in memory", spread(alone, 0), "1", "", "", str(len(alone))], *rows],
        f"Batches of {BATCH}. Decoding alone is {_DECODER[material.extension]}.",
    )


_DECODER = {
    "jpg": "libjpeg-turbo through simplejpeg",
    "jpeg": "libjpeg-turbo through simplejpeg",
    "png": "Pillow's PNG reader, asked directly",
}
_STOCK = 'webdataset, decode("torchrgb")'


def _row(name: str, timed: list[Repeat], stock: list[Repeat]) -> list[str]:
    # a peer has another process, and a calibration of that
    against = sorted(repeat.ratio for repeat in stock)[len(stock) // 2]
    return [
        name,
        spread([repeat.cost.per_cpu_second for repeat in timed], 0),
        spread([repeat.ratio for repeat in timed]),
        spread([repeat.ratio / against for repeat in timed], 1),
        spread([repeat.cost.per_second for repeat in timed], 0),
        str(len(timed)),
    ]


def _ways(material: Material, images: int) -> dict[str, Work]:
    few = min(images, _SLOW) // BATCH * BATCH
    later = LaterEpochs(material)
    return {
        "aedist, first epoch (proves and scans the shards)": partial(_aedist, material, 0),
        "aedist, a later epoch": later,
        "aedist, 1 loader worker": partial(_aedist, material, 1),
        "aedist, 2 loader workers": partial(_aedist, material, 2),
        _STOCK: partial(_webdataset, material, few, lambda data: data.decode("torchrgb")),
        'webdataset, decode("pil") and ToTensor': partial(
            _webdataset, material, few, partial(_by_pil, material.extension)
        ),
        "webdataset, nothing decoded": partial(_undecoded, material, few),
        "torchvision ImageFolder, PIL, ToTensor": partial(_image_folder, material, few),
    }


def _plan(material: Material) -> Plan:
    return Plan(material.counts, 0, BATCH, 1, len(material.counts))


def _aedist(material: Material, workers: int) -> int:
    plan = _plan(material)
    batches = stream(material.split, plan, (0,), 0, plan.steps_per_epoch, workers, pin=False)
    return sum(batch.images.shape[1] for batch in batches)


class LaterEpochs:
    """One stream over many epochs, of which every call takes the next; the first is taken by the making of this."""

    def __init__(self, material: Material) -> None:
        plan = _plan(material)
        self._steps = plan.steps_per_epoch
        self._batches = stream(material.split, plan, (0,), 0, 1000 * self._steps, 0, pin=False)
        self()

    def __call__(self) -> int:
        return sum(batch.images.shape[1] for batch in itertools.islice(self._batches, self._steps))


def _dataset(material: Material) -> wds.WebDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wds.WebDataset([str(path) for path in material.tars], shardshuffle=len(material.tars)).shuffle(1000)


def _by_pil(extension: str, data: wds.WebDataset) -> wds.WebDataset:
    return data.decode("pil").map_dict(**{extension: ToTensor()})


def _webdataset(material: Material, images: int, decoded: Callable[[wds.WebDataset], wds.WebDataset]) -> int:
    data = decoded(_dataset(material)).to_tuple(material.extension)
    loader = DataLoader(data, batch_size=BATCH, num_workers=0)
    return sum(batch[0].shape[0] for batch in itertools.islice(loader, images // BATCH))


def _undecoded(material: Material, images: int) -> int:
    return sum(1 for _ in itertools.islice(_dataset(material), images))


def _image_folder(material: Material, images: int) -> int:
    data = ImageFolder(str(material.files), ToTensor())
    order = torch.randperm(len(data))[:images].tolist()
    return sum(batch.shape[0] for batch, _ in DataLoader(Subset(data, order), batch_size=BATCH))
