"""Folders of the user's own images: split fairly, every layout told, and nothing dropped without a word."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces import RECIPES, glasses, ignore, opened, save
from PIL import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.shards.build import build
from aedist.shards.index import read_index
from aedist.shards.recipe import Recipe, read_recipe
from aedist.shards.sources.imagefolder import by_class, of_tree


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
    return "class hats has no images; add some, or move the folder away"


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


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "glasses" / "pipe.jpg")
    return r"1 of its 21 images cannot be used: glasses/pipe\.jpg \(is no regular file\)"


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
    "spoil", [empty_class, images_beside, unreadable, dangling_link, link_to_itself, pipe, loop, bomb, cmyk]
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


@pytest.mark.parametrize("source", [by_class, of_tree])
def test_other_splits_and_what_is_no_folder_are_told(tmp_path: Path, source: Any):
    with pytest.raises(UserError, match="have train and test only"):
        opened(glasses(tmp_path), "validate", source)
    with pytest.raises(UserError, match="is no folder; unpack it"):
        opened(Path(__file__), "test", source)


def test_a_long_look_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aedist.shards.originals._LOOK_SECONDS", 0.0)
    said: list[str] = []
    build(read_recipe(RECIPES / "faces.yaml"), tmp_path / "out", tmp_path, said.append, glasses(tmp_path / "in"))
    assert [line for line in said if "looked at" in line] == [
        *(f"faces: looked at {done} of 18 images of train" for done in range(1, 19)),
        *(f"faces: looked at {done} of 2 images of test" for done in range(1, 3)),
    ]


def test_a_folder_in_the_recipe_may_begin_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    glasses(tmp_path / "in")
    values = read_recipe(RECIPES / "faces.yaml").model_dump(mode="json") | {"options": {"folder": "~/in"}}
    build(Recipe.model_validate(values), tmp_path / "out", tmp_path, ignore)
    assert read_index(tmp_path / "out" / "train").num_samples == 18


def test_photographs_where_a_split_would_be_are_not_advised_away(tmp_path: Path):
    mine = glasses(tmp_path / "train").parent
    glasses(tmp_path / "test")
    with pytest.raises(UserError, match=r"train: is there, and no build made it .*; move it away, or build into"):
        build(read_recipe(RECIPES / "faces.yaml"), mine, tmp_path / "cache", ignore, mine)
