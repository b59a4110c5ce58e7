"""Shards are a function of the recipe and the originals: the same bytes again, and every sample once."""

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
import yaml
from buildable import contents, ignore
from PIL import Image

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.routes import Asset
from aedist.shards import making as making_module
from aedist.shards.build import build
from aedist.shards.index import check_present, read_index
from aedist.shards.png import broken_chunk, encode_png
from aedist.shards.recipe import Recipe, read_recipe
from aedist.shards.sources import SOURCES, Source, mnist, one_by_one, read_options

RECIPES = Path(__file__).parent.parent / "shards"
COUNTS = {"train": 25, "test": 7}


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A data set in MNIST's form: what it holds, where its originals lie, its recipe."""

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    originals: Path
    values: dict[str, Any]

    def recipe(self, **changes: Any) -> Recipe:
        return Recipe.model_validate({**self.values, **changes})


def patterns(count: int, shift: int) -> np.ndarray:
    """Images that all differ, by arithmetic alone."""
    return ((np.arange(count * 784) * 7919 // 31 + shift) % 256).astype(np.uint8).reshape(count, 28, 28)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    images = {split: patterns(n, shift) for shift, (split, n) in enumerate(COUNTS.items())}
    labels = {split: (np.arange(n) * 7 % 10).astype(np.uint8) for split, n in COUNTS.items()}
    originals = tmp_path / "originals"
    originals.mkdir()
    assets: list[Asset] = []
    for split in COUNTS:
        for name, content in mnist.to_idx(images[split], labels[split], split).items():
            (originals / f"{name}.gz").write_bytes(gzip.compress(content))
            assets.append(Asset(name, hashlib.sha256(content).hexdigest(), len(content)))
    monkeypatch.setitem(SOURCES, "tiny", Source(Collection("tiny", tuple(assets), ()), one_by_one(mnist.samples)))
    values = read_recipe(RECIPES / "mnist.yaml").model_dump(mode="json")
    values |= {"name": "tiny", "source": "tiny", "samples_per_shard": 10}
    values |= {"originals": {asset.name: asset.sha256 for asset in assets}}
    values |= {"splits": {split: {"samples": count} for split, count in COUNTS.items()}}
    return Tiny(images, labels, originals, values)


def test_stock_webdataset_yields_every_sample_once_with_its_pixels_and_class(tiny: Tiny, tmp_path: Path):
    build(tiny.recipe(), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    for split, count in COUNTS.items():
        urls = [str(path) for path in sorted((tmp_path / "out" / split).glob("*.tar"))]
        dataset = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
        seen: list[int] = []
        for sample in dataset:
            number = int(sample["__key__"])
            pixels = np.asarray(Image.open(io.BytesIO(sample["png"])))
            assert np.array_equal(pixels, tiny.images[split][number])
            assert int(sample["cls"]) == tiny.labels[split][number]
            seen.append(number)
        assert sorted(seen) == list(range(count))
        assert seen != list(range(count))  # shuffled


def test_the_index_tells_what_was_built(tiny: Tiny, tmp_path: Path):
    out, told = tmp_path / "out", list[tuple[str, int, int]]()
    paths = build(
        tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals, progress=lambda *words: told.append(words)
    )
    assert paths == [out / "train" / "index.json", out / "test" / "index.json"]
    index = read_index(out / "train")
    check_present(out / "train", index)
    assert [shard.file for shard in index.shards] == [f"tiny-train-{number:06d}.tar" for number in range(3)]
    assert [shard.samples for shard in index.shards] == [10, 10, 5]
    assert (index.name, index.split, index.image_shape) == ("tiny", "train", (28, 28, 1))
    assert index.classes == tuple("0123456789")
    for shard in index.shards:
        assert hashlib.sha256((out / "train" / shard.file).read_bytes()).hexdigest() == shard.sha256
    assert [words for words in told if words[1] == words[2]] == [("train", 25, 25), ("test", 7, 7)]
    assert [done for split, done, _ in told if split == "train"] == [0, 10, 20, 25]


def test_built_twice_gives_the_same_bytes(tiny: Tiny, tmp_path: Path):
    """Also in another folder, from another cache."""
    for name in ("one", "two"):
        build(tiny.recipe(), tmp_path / name, tmp_path / f"cache-{name}", ignore, tiny.originals)
    assert len(contents(tmp_path / "one")) == 8
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_bytes_are_those_of_every_other_machine(tiny: Tiny, tmp_path: Path):
    """A constant, so that a library that writes other bytes is noticed: a run knows its data by this."""
    build(tiny.recipe(), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    fingerprints = [read_index(tmp_path / "out" / split).fingerprint[:16] for split in COUNTS]
    assert fingerprints == ["b706a155728a4591", "dc57b9e3aff3337c"]


def test_another_seed_is_another_order_of_the_same_samples(tiny: Tiny, tmp_path: Path):
    orders: list[list[str]] = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        build(tiny.recipe(seed=seed), out, tmp_path / "cache", ignore, tiny.originals)
        names: list[str] = []
        for path in sorted((out / "train").glob("*.tar")):
            with tarfile.open(path) as tar:
                names += [name for name in tar.getnames() if name.endswith(".png")]
        orders.append(names)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == [f"{number:06d}.png" for number in range(25)]


def test_built_tars_are_plain_ustar_with_constant_times_and_owners(tiny: Tiny, tmp_path: Path):
    build(tiny.recipe(), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    for path in (tmp_path / "out").rglob("*.tar"):
        with tarfile.open(path) as tar:
            infos = tar.getmembers()
        assert len(infos) >= 10
        assert {(info.type, info.mtime, info.mode, info.uid, info.gid) for info in infos} == {(b"0", 0, 0o444, 0, 0)}
        assert not any(info.pax_headers for info in infos)
        headers = sum(512 + (info.size + 511) // 512 * 512 for info in infos)
        assert path.stat().st_size == (headers + 1024 + 10239) // 10240 * 10240  # nothing but these members


def test_a_finished_split_is_kept_and_needs_no_originals(tiny: Tiny, tmp_path: Path):
    build(tiny.recipe(), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    said: list[str] = []
    build(tiny.recipe(credit="another wording"), tmp_path / "out", tmp_path / "nothing", said.append)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert sum("are there already" in line for line in said) == 2


def test_an_interrupted_build_leaves_no_split_and_is_done_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, calls = tmp_path / "out", list[Path]()
    real = making_module.write_shard

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments[3])
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(making_module, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    assert [path.name for path in out.iterdir()] == [".train.part"]
    assert not list(out.rglob("index.json"))
    build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    build(tiny.recipe(), tmp_path / "whole", tmp_path / "cache", ignore, tiny.originals)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_split_that_lost_a_shard_is_built_again(tiny: Tiny, tmp_path: Path):
    out = tmp_path / "out"
    build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    whole = contents(out)
    (out / "train" / "tiny-train-000001.tar").unlink()
    (out / "test" / "index.json").unlink()
    said: list[str] = []
    build(tiny.recipe(), out, tmp_path / "cache", said.append)
    assert contents(out) == whole
    assert sum("built again" in line for line in said) == 2


@pytest.mark.parametrize("place", ["notes.txt", "train/notes.txt", "train/other-000000.tar"])
def test_a_folder_that_holds_anything_else_is_refused_and_left(tiny: Tiny, tmp_path: Path, place: str):
    out = tmp_path / "out"
    build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    (out / place).write_text("mine")
    with pytest.raises(UserError, match=Path(place).name):
        build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    assert (out / place).read_text() == "mine"


def test_shards_of_another_recipe_or_of_no_recipe_are_refused(tiny: Tiny, tmp_path: Path):
    out = tmp_path / "out"
    build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    with pytest.raises(UserError, match="this recipe did not make it"):
        build(tiny.recipe(seed=1), out, tmp_path / "cache", ignore, tiny.originals)
    (out / "train" / "recipe.json").unlink()
    with pytest.raises(UserError, match=r"no build made it .*; move it away, or build into another folder") as caught:
        build(tiny.recipe(), out, tmp_path / "cache", ignore, tiny.originals)
    assert "remove" not in str(caught.value), "it may be a folder of photographs"


def test_originals_given_to_a_source_that_has_none_are_refused(tmp_path: Path):
    recipe = read_recipe(RECIPES / "portraits.yaml")
    with pytest.raises(UserError, match=r"--from: .* is refused: portraits has no originals; leave --from out"):
        build(recipe, tmp_path / "out", tmp_path / "cache", ignore, tmp_path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"splits": {"train": {"samples": 26}}}, r"splits\.train\.samples: the recipe says 26, the originals hold 25"),
        ({"splits": {"valid": {"samples": 25}}}, r"splits\.valid: MNIST has train and test only"),
        ({"classes": ["0", "1"]}, r"classes: the recipe has 2 names"),
        ({"image": {"height": 28, "width": 27, "channels": 1, "encoding": "png"}}, r"image: the recipe says png of"),
        ({"image": {"height": 28, "width": 28, "channels": 1, "encoding": "jpg"}}, r"image: the recipe says jpg of"),
        ({"originals": {"train-images-idx3-ubyte": "0" * 64}}, r"originals\.\S+: the recipe says"),
        ({"source": "nosuch"}, r"source: 'nosuch' is not known; it should be one of .*mnist, .*tiny"),
    ],
)
def test_a_recipe_that_contradicts_the_originals_builds_nothing(
    tiny: Tiny, tmp_path: Path, changes: dict[str, Any], why: str
):
    with pytest.raises(UserError, match=why) as caught:
        build(tiny.recipe(**changes), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("index.json"))


def test_a_folder_that_cannot_be_written_is_told(tiny: Tiny, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        build(tiny.recipe(), tmp_path / "file" / "out", tmp_path / "cache", ignore, tiny.originals)


def test_originals_of_another_length_than_their_header_says_are_refused(tiny: Tiny, tmp_path: Path):
    name = "train-images-idx3-ubyte"
    files = {path.stem: tmp_path / path.stem for path in tiny.originals.iterdir()}
    for stem, path in files.items():
        path.write_bytes(gzip.decompress((tiny.originals / f"{stem}.gz").read_bytes()))
    assert len(mnist.samples(files, "train")) == COUNTS["train"]
    for content in (files[name].read_bytes()[:-1], b"", b"\0" * 16, files["train-labels-idx1-ubyte"].read_bytes()):
        files[name].write_bytes(content)
        with pytest.raises(UserError, match="is not the IDX file"):
            mnist.samples(files, "train")


def test_every_recipe_names_the_originals_of_its_source():
    """And tells its source what it takes."""
    recipes = {path.stem: read_recipe(path) for path in sorted(RECIPES.glob("*.yaml"))}
    assert "mnist" in recipes
    for name, recipe in recipes.items():
        assert recipe.name == name
        read_options(recipe)
        collection = SOURCES[recipe.source].collection
        assets = collection.assets if collection else ()
        assert recipe.originals == {asset.name: asset.sha256 for asset in assets}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"licnce": "x"}, "unknown key licnce; did you mean licence?"),
        ({"licence": None}, "licence: None is refused"),
        ({"seed": -1}, "seed: -1 is refused"),
        ({"name": "../x"}, "name: '../x' is refused"),
        ({"splits": {"../x": {"samples": 1}}}, "splits.../x: '../x' is refused"),
        ({"splits": {"train": {"samples": "many"}}}, "splits.train.samples: 'many' is refused"),
        ({"originals": {"a": "b"}}, "originals.a: 'b' is refused"),
        ({"image": {"height": 1, "width": 1, "channels": 2, "encoding": "png"}}, "image.channels: 2 is refused"),
    ],
)
def test_mistakes_in_a_recipe_are_told_in_a_line(tmp_path: Path, change: dict[str, Any], told: str):
    values = yaml.safe_load((RECIPES / "mnist.yaml").read_text()) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_missing_or_empty_or_lacks_a_key_is_told(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    for text, told in ((None, "cannot be read"), ("", "None is no recipe"), ("name: x", "source is not set")):
        if text is not None:
            path.write_text(text)
        with pytest.raises(UserError, match=told):
            read_recipe(path)


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (3, 5, 3), (300, 256, 3)])
def test_pngs_hold_the_pixels_exactly_and_read_as_pngs(shape: tuple[int, int, int]):
    """The last shape takes more than one stored block."""
    pixels = np.random.Generator(np.random.PCG64(3)).integers(0, 256, shape, dtype=np.uint8)
    raw = encode_png(pixels)
    with Image.open(io.BytesIO(raw)) as image:
        assert image.format == "PNG"
        image.load()
        assert np.array_equal(np.asarray(image).reshape(shape), pixels)
    assert broken_chunk(raw) is None
    for place in range(0, len(raw), max(1, len(raw) // 60)):
        damaged = bytearray(raw)
        damaged[place] ^= 1
        assert broken_chunk(bytes(damaged)) is not None
        assert broken_chunk(raw[:place]) is not None
    assert broken_chunk(raw + b"!") is not None


def test_the_record_beside_the_index_says_nothing_of_the_machine(tiny: Tiny, tmp_path: Path):
    build(tiny.recipe(), tmp_path / "out", tmp_path / "cache", ignore, tiny.originals)
    record = (tmp_path / "out" / "train" / "recipe.json").read_text()
    assert str(tmp_path) not in record
    assert json.loads(record)["samples"] == 25
