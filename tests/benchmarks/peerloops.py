"""The peers' own loops over the same images, each run in the peer's environment by ``peers.py``.

    python peerloops.py NAME JOB.json

Each turns the files into the peer's format first, which is not timed, then makes batches, and tells what every repeat
took beside decoding alone in the same process. Nothing of aedist is imported here.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from measuring import Work, interleaved, to_plain
from PIL import PngImagePlugin

BATCH = 250
CALIBRATION_BYTES = 40_000_000
"""Decoded; so much is enough for a calibration."""


def decode_alone(encoded: Sequence[bytes], extension: str) -> int:
    """Decode every image and keep none."""
    if extension == "png":
        for raw in encoded:
            np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(raw)))
    else:
        for raw in encoded:
            simplejpeg.decode_jpeg(raw)
    return len(encoded)


def pixels(raw: bytes, extension: str) -> np.ndarray:
    """uint8 (H, W, C), by the decoder that the calibration uses."""
    if extension == "png":
        image = np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(raw)))
        return image if image.ndim == 3 else image[..., None]
    return simplejpeg.decode_jpeg(raw)


def litdata(job: dict[str, Any], encoded: list[bytes]) -> Work:
    """LitData: the files' bytes in its chunks, decoded as the calibration decodes."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import Cache

    extension, folder = job["extension"], Path(job["folder"]) / "litdata"
    if not (folder / "index.json").exists():
        cache = Cache(str(folder), chunk_bytes="64MB")
        for number, raw in enumerate(encoded):
            cache[number] = raw
        cache.done()
        cache.merge()

    class Images(StreamingDataset):
        def __getitem__(self, index: Any) -> np.ndarray:
            return pixels(super().__getitem__(index), extension)

    def read() -> int:
        loader = StreamingDataLoader(Images(str(folder), shuffle=True), batch_size=BATCH, num_workers=0)
        return sum(len(batch) for batch in loader)

    return read


def mosaic(job: dict[str, Any], encoded: list[bytes]) -> Work:
    """MosaicML Streaming: the files' bytes in MDS, decoded as the calibration decodes."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    extension, folder = job["extension"], Path(job["folder"]) / "mosaic"
    if not (folder / "index.json").exists():
        with MDSWriter(out=str(folder), columns={"image": "bytes"}) as out:
            for raw in encoded:
                out.write({"image": raw})

    class Images(StreamingDataset):
        def __getitem__(self, index: Any) -> np.ndarray:
            return pixels(super().__getitem__(index)["image"], extension)

    data = Images(local=str(folder), shuffle=True, batch_size=BATCH)

    def read() -> int:
        return sum(len(batch) for batch in DataLoader(data, batch_size=BATCH))

    return read


def ffcv(job: dict[str, Any], encoded: list[bytes]) -> Work:
    """FFCV: its own file of JPEGs, which it encodes itself, decoded on one thread. It has no PNG."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.writer import DatasetWriter

    if job["extension"] == "png":
        raise NotImplementedError("has no field for PNG")
    path = Path(job["folder"]) / "images.beton"
    if not path.exists():
        images = [(pixels(raw, job["extension"]),) for raw in encoded]
        DatasetWriter(str(path), {"image": RGBImageField("jpg", jpeg_quality=90)}, num_workers=1).from_indexed_dataset(
            images
        )
    pipelines = {"image": [SimpleRGBImageDecoder()]}
    loader = Loader(str(path), BATCH, num_workers=1, order=OrderOption.RANDOM, pipelines=pipelines, os_cache=True)

    def read() -> int:
        return sum(len(batch[0]) for batch in loader)

    return read


def dali(job: dict[str, Any], encoded: list[bytes]) -> Work:
    """DALI's CPU pipeline on the WebDataset tars themselves, one thread."""
    from nvidia.dali import fn, pipeline_def, types

    grey = job["channels"] == 1

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None)
    def pipeline() -> Any:
        raw = fn.readers.webdataset(
            paths=job["tars"],
            ext=[job["extension"]],
            random_shuffle=True,
            initial_fill=1000,
            missing_component_behavior="error",
        )
        return fn.decoders.image(raw, device="cpu", output_type=types.GRAY if grey else types.RGB)

    built = pipeline()
    built.build()

    def read() -> int:
        done = 0
        while done < len(encoded):
            (images,) = built.run()
            done += len(images.as_array())
        return done

    return read


LOOPS: dict[str, Callable[[dict[str, Any], list[bytes]], Work]] = {
    "litdata": litdata,
    "mosaic": mosaic,
    "ffcv": ffcv,
    "dali": dali,
}


def _files(folder: Path, extension: str) -> Iterator[bytes]:
    for path in sorted(folder.rglob(f"*.{extension}"), key=lambda path: path.name):
        yield path.read_bytes()


def main() -> None:
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    encoded = list(_files(Path(job["files"]), job["extension"]))
    read = LOOPS[name](job, encoded)
    read()  # compiled, cached and opened: what it does once is not counted
    found = interleaved(
        partial(decode_alone, encoded[: job["calibration_images"]], job["extension"]), {name: read}, job["repeats"]
    )
    Path(job["out"]).write_text(json.dumps(to_plain(found[name])))


if __name__ == "__main__":
    main()
