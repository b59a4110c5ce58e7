"""Photographs of the user's own: framed as the recipe says, split fairly, and nothing dropped without a word."""

import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.shards.build import build
from aedist.shards.decode import decode
from aedist.shards.index import read_index
from aedist.shards.recipe import ImageRecipe, Recipe, read_recipe
from aedist.shards.samples import FOLDER, Described, Unreadable
from aedist.shards.sources.files import FolderFiles
from aedist.shards.sources.imagefolder import FolderOptions, by_class, of_tree
from aedist.shards.sources.photographs import Framing, find_problem, frame

RECIPES = Path(__file__).parent.parent / "shards"
PNG8 = ImageRecipe(height=8, width=8, channels=3, encoding="png")


def ignore(_: str) -> None:
    """Nobody listens."""


def save(path: Path, colour: int = 100, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """An image whose first pixel differs from the rest; ``size`` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, colour if mode == "L" else (colour, 20, 30, 255)[: len(mode)])
    image.save(path)
    return path


def glasses(folder: Path, each: int = 10) -> Path:
    for number in range(each):
        save(folder / "glasses" / f"{number}.png", 10 + number)
        save(folder / "no_glasses" / f"{number}.jpg", 110 + number)
    return folder


def opened(place: Path, split: str = "train", source: Any = by_class, **options: Any) -> Described:
    return source({FOLDER: place}, split, FolderOptions(**options), PNG8)


def test_the_notebooks_two_folders_become_shards(tmp_path: Path):
    """As ``aedist shards build faces --from FOLDER`` does it."""
    recipe, out = read_recipe(RECIPES / "faces.yaml"), tmp_path / "out"
    build(recipe, out, tmp_path, ignore, glasses(tmp_path / "in", each=20))
    seen: set[str] = set()
    for split, count in (("train", 36), ("test", 4)):
        index = read_index(out / split)
        assert (index.classes, index.num_samples, index.image_shape) == (
            ("glasses", "no_glasses"),
            count,
            (256, 256, 3),
        )
        files = (out / split / "files.txt").read_text().splitlines()
        store = ShardStore(out / split, index)
        for sample in range(count):
            name = files[int(store.key(sample))]
            assert name.startswith(index.classes[store.label(sample)] + "/")
            assert store.read_images([sample]).shape == (1, 256, 256, 3)
            seen.add(name)
    assert len(seen) == 40, "every photograph is in one split"


def test_splits_are_stratified_disjoint_and_named_by_a_seed(tmp_path: Path):
    glasses(tmp_path, each=10)
    splits = {
        seed: [set(opened(tmp_path, s, split_seed=seed, test_fraction=0.3).files) for s in ("train", "test")]
        for seed in (0, 1)
    }
    for train, test in splits.values():
        assert len(train) == 14
        assert not train & test
        assert len(train | test) == 20
        assert sum(name.startswith("glasses/") for name in test) == 3
    assert splits[0] != splits[1]
    assert len(opened(tmp_path, "test", test_fraction=0.001).files) == 2, "some of every class"


@pytest.mark.parametrize("held_out", ["test", "val", "valid"])
def test_folders_of_splits_are_taken_as_they_are(tmp_path: Path, held_out: str):
    glasses(tmp_path / "train", each=3)
    glasses(tmp_path / held_out, each=2)
    save(tmp_path / "extra" / "glasses" / "1.png")
    save(tmp_path / "sheet.png")
    assert len(opened(tmp_path)) == 6
    assert len(opened(tmp_path, "test")) == 4
    assert opened(tmp_path, "test").classes == ("glasses", "no_glasses")
    assert any("1 folders beside train" in line and "extra" in line for line in opened(tmp_path).remarks)
    assert any("2 images outside" in line and "sheet.png" in line for line in opened(tmp_path).remarks)


def test_what_is_no_image_is_named_counted_and_recorded(tmp_path: Path):
    glasses(tmp_path)
    for name in ("README.txt", "glasses/.DS_Store", "glasses/Thumbs.db", ".git/1.png", "no_glasses/a.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = opened(tmp_path)
    assert found.notes["no_images"] == ["README.txt", "no_glasses/a.gif"]
    assert found.notes["num_hidden"] == 3
    told = "\n".join(found.remarks)
    assert "train: 18 of the 20 images" in told
    assert "classes: glasses 9, no_glasses 9" in told, "so that a wrong layout is seen"
    assert "passed over: 2 that are no .png, .jpg, .jpeg, .bmp, .webp: README.txt, no_glasses/a.gif" in told
    assert "passed over: 3 that are hidden" in told


def empty_class(folder: Path) -> str:
    (folder / "hats").mkdir()
    return "class hats has no images; add some, or remove the folder"


def images_beside(folder: Path) -> str:
    save(folder / "stray.png")
    return r"1 images lie in no folder of a class that is trained on: stray\.png"


def unreadable(folder: Path) -> str:
    whole = save(folder / "glasses" / "cut.jpg", size=(99, 99)).read_bytes()
    (folder / "glasses" / "cut.jpg").write_bytes(whole[:-50])
    (folder / "glasses" / "none.png").write_text("words")
    (folder / "glasses" / "nothing.png").touch()
    return (
        r"3 of its \d+ images cannot be used: glasses/cut\.jpg \(it was cut short\), glasses/none\.png \(it is no PNG"
    )


def dangling_link(folder: Path) -> str:
    (folder / "glasses" / "gone.png").symlink_to(folder / "nowhere.png")
    return r"glasses/gone\.png \(cannot be read: No such file or directory\)"


def link_to_itself(folder: Path) -> str:
    (folder / "glasses" / "self.png").symlink_to(folder / "glasses" / "self.png")
    return r"glasses/self\.png \(cannot be read: Too many levels of symbolic links\)"


def loop(folder: Path) -> str:
    (folder / "glasses" / "again").symlink_to(folder)
    return "glasses/again: is a link to a folder that holds it; remove the link"


def bomb(folder: Path) -> str:
    Image.new("1", (20_000, 20_000)).save(folder / "glasses" / "bomb.png")
    return r"glasses/bomb\.png \(.*pixels"


def cmyk(folder: Path) -> str:
    Image.new("CMYK", (9, 9)).save(folder / "glasses" / "print.jpg")
    return r"glasses/print\.jpg \(its mode is CMYK"


@pytest.mark.parametrize(
    "spoil", [empty_class, images_beside, unreadable, dangling_link, link_to_itself, loop, bomb, cmyk]
)
def test_what_is_wrong_is_told_by_name_before_anything_is_written(tmp_path: Path, spoil: Any):
    told = spoil(glasses(tmp_path))
    with pytest.raises(UserError, match=told) as caught:
        opened(tmp_path, test_fraction=0)
    assert "\n" not in str(caught.value)


def test_many_unreadable_files_are_counted_and_ten_are_named(tmp_path: Path):
    glasses(tmp_path)
    for number in range(25):
        (tmp_path / "glasses" / f"bad{number:02d}.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(UserError, match=r"25 of its 45 images .*bad09\.jpg \([^)]*\) and 15 more; mend") as caught:
        opened(tmp_path, test_fraction=0)
    assert "bad10" not in str(caught.value)
    found = opened(tmp_path, test_fraction=0, skip_unreadable=True)
    assert len(found) == 20
    assert found.notes["num_unreadable"] == 25


def test_damage_that_only_decoding_finds_is_listed_at_the_end_or_left_out(tmp_path: Path):
    glasses(tmp_path / "in", each=4)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    raw = bytearray(stream.getvalue())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "in" / "glasses" / "flipped.png").write_bytes(raw)
    values = read_recipe(RECIPES / "faces.yaml").model_dump(mode="json") | {"splits": {"train": {}}}
    for skip in (False, True):
        recipe = Recipe.model_validate(values | {"options": {"test_fraction": 0.0, "skip_unreadable": skip}})
        if not skip:
            with pytest.raises(UserError, match=r"1 of 9 originals cannot be read: glasses/flipped\.png \("):
                build(recipe, tmp_path / "out", tmp_path, ignore, tmp_path / "in")
            assert not (tmp_path / "out" / "train").exists()
            continue
        said: list[str] = []
        build(recipe, tmp_path / "out", tmp_path, said.append, tmp_path / "in")
        assert read_index(tmp_path / "out" / "train").num_samples == 8
        record = json.loads((tmp_path / "out" / "train" / "recipe.json").read_text())
        assert list(record["found"]["unreadable"]) == ["glasses/flipped.png"]
        assert any("1 of 9 originals" in line and "left out" in line for line in said)
        build(recipe, tmp_path / "out", tmp_path, said.append, tmp_path / "in")
        assert any("are there already" in line for line in said)


def test_a_tree_of_any_depth_and_names_has_no_classes(tmp_path: Path):
    names = ["a.png", "x/b.PNG", "x/y/ü ö.jpeg", "x/y/z/c.JPG", "日本.webp", "d.bmp", "a.jpg"]
    for name in names:
        save(tmp_path / name)
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(raw)).write_bytes((tmp_path / "a.png").read_bytes())
    found = opened(tmp_path, source=of_tree, test_fraction=0)
    assert len(found) == 8
    assert found.classes == ()
    assert set(found[0]) == {"png"}
    recipe = Recipe.model_validate(
        read_recipe(RECIPES / "folder.yaml").model_dump(mode="json")
        | {"splits": {"train": {}}, "options": {"test_fraction": 0.0}}
    )
    build(recipe, tmp_path / "out", tmp_path, ignore, tmp_path)
    listed = (tmp_path / "out" / "train" / "files.txt").read_text(encoding="utf-8").splitlines()
    assert {*names, "\\udcff.png"} == set(listed)


@pytest.mark.parametrize(
    ("layout", "source", "told"),
    [
        ([], by_class, "holds no images"),
        (["a.png"], by_class, "holds no folder of a class; put the images"),
        (["train/a/1.png"], by_class, "has a folder train, but none of test, val"),
        (["Train/a/1.png", "Validation/a/1.png"], by_class, "folders Train, Validation look like splits"),
        (["all/a/1.png", "all/b/1.png"], by_class, "its one folder all .* holds folders of images: a, b; name .*/all"),
        (["README.md"], of_tree, "holds no images .*; name the folder"),
        (["train/a.tar", "test/a.tar", "sheet.png"], of_tree, "test: holds no images .*; these are shards"),
    ],
)
def test_a_wrong_layout_is_told(tmp_path: Path, layout: list[str], source: Any, told: str):
    for name in layout:
        if name.endswith("png"):
            save(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(UserError, match=told):
        opened(tmp_path, "test", source)
    with pytest.raises(UserError, match="have train and test only"):
        opened(tmp_path, "validate", source)
    with pytest.raises(UserError, match="is no folder; unpack it"):
        opened(Path(__file__), "test", source)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(raw: bytes, image: ImageRecipe = PNG8, **framing: Any) -> np.ndarray:
    made = frame(raw, "test", image, Framing(**framing))
    return decode(made, image.encoding, (image.height, image.width, image.channels))


def test_the_centre_is_taken_and_resized_as_pillow_does_it():
    """Against resizing the shorter side and cropping then, where that falls on whole pixels; ``crop`` comes first."""
    pixels = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize((12, 8), Image.Resampling.LANCZOS).crop((2, 0, 10, 8))
    np.testing.assert_array_equal(pixels_of(encoded(pixels)), np.asarray(expected))
    cropped = Image.fromarray(pixels[8:24, 16:32]).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels_of(encoded(pixels), crop=16, filter="bicubic"), np.asarray(cropped))
    same = pixels[:8, :8].copy()
    np.testing.assert_array_equal(pixels_of(encoded(same)), same)


def test_what_a_telephone_puts_behind_a_photograph_does_not_spoil_it(tmp_path: Path):
    """A film, say; but a photograph that was cut short within is told, though its thumbnail ends."""
    glasses(tmp_path, each=4)
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "glasses" / "film.jpg")
    whole = (tmp_path / "glasses" / "film.jpg").read_bytes()
    assert len(whole) > 5000, "its end is not among the bytes that are looked at first"
    (tmp_path / "glasses" / "film.jpg").write_bytes(whole + bytes(range(255)) * 100)
    found = opened(tmp_path, test_fraction=0)
    assert len(found) == 9
    assert set(found[list(found.files).index("glasses/film.jpg")]) == {"png", "cls"}
    cut = whole[:2] + b"\xff\xfe\x00\x04\xff\xd9" + whole[2:-300]  # a comment that holds an end
    (tmp_path / "glasses" / "film.jpg").write_bytes(cut)
    with pytest.raises(UserError, match=r"glasses/film\.jpg \(.*[Tt]runcated"):
        opened(tmp_path, test_fraction=0)


def test_photographs_stand_upright_and_lose_no_channel_unseen():
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    np.testing.assert_array_equal(pixels_of(encoded(pixels, exif=exif)), np.rot90(pixels, -1))
    opaque = np.dstack([pixels, np.full((8, 8), 255, np.uint8)])
    np.testing.assert_array_equal(pixels_of(encoded(opaque)), pixels)
    opaque[3, 3, 3] = 254
    with pytest.raises(Unreadable, match="it has transparency"):
        pixels_of(encoded(opaque))
    grey = ImageRecipe(height=8, width=8, channels=1, encoding="jpg")
    assert pixels_of(encoded(pixels), grey).shape == (8, 8, 1)
    np.testing.assert_array_equal(pixels_of(encoded(pixels[..., 0])), np.repeat(pixels[..., :1], 3, axis=2))


SMOOTH = np.clip(np.add.outer(np.arange(40) * 3, np.arange(30) * 2)[..., None] + np.array([0, 20, 40]), 0, 255)
WHOLE = [encoded(SMOOTH.astype(np.uint8), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP")]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_are_a_photograph_or_are_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Arbitrary bytes, and whole files cut short or with bits flipped: an image of the right shape, or Unreadable."""
    raw = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.sampled_from(WHOLE))))
    if raw and data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=6)) if raw else []:
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "fuzzed.png"
    path.write_bytes(raw)
    problem = find_problem(FolderFiles(path.parent), path.name, Framing())
    assert problem is None or "\n" not in problem
    with suppress(Unreadable):
        assert pixels_of(bytes(raw)).shape == (8, 8, 3)
