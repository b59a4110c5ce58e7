"""Tiny ImageNet in its true layout, from the zip or unpacked: every image exact, every class by its word."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from buildable import contents, ignore
from PIL import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.shards.build import build
from aedist.shards.decode import decode
from aedist.shards.index import read_index
from aedist.shards.recipe import Recipe, read_recipe

RECIPE = Path(__file__).parent.parent / "shards" / "tinyimagenet.yaml"
WORDS = {
    "n02124075": "Egyptian cat",
    "n01443537": "goldfish, Carassius auratus",
    "n02012849": "crane",
    "n03126707": "crane",
}
EACH_TRAIN, EACH_VAL = 5, 2


def jpeg(seed: int) -> bytes:
    """64 x 64; every fourth is grey, as some of the originals are."""
    stream, rng = io.BytesIO(), np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (64, 64) if seed % 4 == 0 else (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def lay_out(root: Path) -> Path:
    """A miniature with the folders, names and lists of the original, its unlabelled test images included."""
    root.mkdir(parents=True)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WORDS))
    other = "n00001740\tentity\n"
    (root / "words.txt").write_text(other + "".join(f"{wnid}\t{words}\n" for wnid, words in WORDS.items()))
    seed, lines = 0, list[str]()
    for wnid in WORDS:
        folder = root / "train" / wnid
        (folder / "images").mkdir(parents=True)
        boxes = ""
        for number in range(EACH_TRAIN):
            (folder / "images" / f"{wnid}_{number}.JPEG").write_bytes(jpeg(seed := seed + 1))
            boxes += f"{wnid}_{number}.JPEG\t0\t0\t62\t62\n"
        (folder / f"{wnid}_boxes.txt").write_text(boxes)
    (root / "val" / "images").mkdir(parents=True)
    for number in range(EACH_VAL * len(WORDS)):
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg(seed := seed + 1))
        lines.append(f"val_{number}.JPEG\t{list(WORDS)[number * 3 % len(WORDS)]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "test" / "images").mkdir(parents=True)
    (root / "test" / "images" / "test_0.JPEG").write_bytes(jpeg(1))
    return root


def pack(tree: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(tree.rglob("*")):
            archive.write(file, file.relative_to(tree.parent))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "tiny-imagenet-200")


def recipe(num_classes: int = len(WORDS)) -> Recipe:
    splits = {"train": {"samples": EACH_TRAIN * len(WORDS)}, "val": {"samples": EACH_VAL * len(WORDS)}}
    options = {"num_classes": num_classes, "check_sha256": False}
    changes = {"options": options, "splits": splits, "samples_per_shard": 6}
    return Recipe.model_validate(read_recipe(RECIPE).model_dump(mode="json") | changes)


def test_images_classes_and_words_are_those_of_the_original(tree: Path, tmp_path: Path):
    out = tmp_path / "out"
    build(recipe(), out, tmp_path, ignore, tree)
    true_val = dict(line.split("\t")[:2] for line in (tree / "val" / "val_annotations.txt").read_text().splitlines())
    for split in ("train", "val"):
        index = read_index(out / split)
        assert index.class_ids == tuple(sorted(WORDS))
        assert index.classes == ("goldfish", "crane (n02012849)", "Egyptian cat", "crane (n03126707)")
        store, files = ShardStore(out / split, index), (out / split / "files.txt").read_text().splitlines()
        assert len(files) == len(set(files)) == index.num_samples
        for sample in range(index.num_samples):
            name = files[int(store.key(sample))]
            wnid = name.split("/")[1] if split == "train" else true_val[Path(name).name]
            assert index.class_ids[store.label(sample)] == wnid
            raw = (tree / name).read_bytes()
            np.testing.assert_array_equal(store.read_images([sample])[0], decode(raw, "jpg", (64, 64, 3)))
            with Image.open(tree / name) as image:
                np.testing.assert_array_equal(store.read_images([sample])[0], np.asarray(image.convert("RGB")))
    tar = b"".join(path.read_bytes() for path in out.rglob("*.tar"))
    assert all(path.read_bytes() in tar for path in tree.glob("train/*/images/*")), "byte for byte"


def test_zip_folder_of_the_zip_and_tree_give_the_same_shards(tree: Path, tmp_path: Path):
    packed = pack(tree, tmp_path / "tiny-imagenet-200.zip")
    places = {"tree": tree, "zip": packed, "above": tmp_path}
    for name, place in places.items():
        build(recipe(), tmp_path / f"out-{name}", tmp_path / "cache", ignore, place, workers=1 + (name == "zip"))
    assert contents(tmp_path / "out-zip") == contents(tmp_path / "out-tree") == contents(tmp_path / "out-above")
    assert not (tmp_path / "cache").exists(), "read in place"


def spoil_class(tree: Path) -> str:
    shutil.rmtree(tree / "train" / "n01443537" / "images")
    return "1 are classes without training images: n01443537"


def spoil_stranger(tree: Path) -> str:
    (tree / "train" / "n99999999" / "images").mkdir(parents=True)
    (tree / "train" / "n99999999" / "images" / "a.JPEG").write_bytes(jpeg(3))
    return r"1 are no training images of a class in wnids\.txt: train/n99999999/images/a\.JPEG"


def spoil_list(tree: Path) -> str:
    path = tree / "val" / "val_annotations.txt"
    path.write_text(path.read_text().replace("n01443537", "n1443537", 1))
    return r"val_annotations\.txt, line \d+: 'n1443537' is no class"


def spoil_twice(tree: Path) -> str:
    path = tree / "val" / "val_annotations.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    return r"val_annotations\.txt, line 9: val_0\.JPEG stands there twice"


def spoil_missing(tree: Path) -> str:
    (tree / "val" / "images" / "val_3.JPEG").unlink()
    return r"1 are in val_annotations\.txt and missing: val/images/val_3\.JPEG"


def spoil_extra(tree: Path) -> str:
    (tree / "val" / "images" / "val_99.JPEG").write_bytes(jpeg(3))
    return r"1 are not in val_annotations\.txt: val/images/val_99\.JPEG"


def spoil_words(tree: Path) -> str:
    (tree / "words.txt").write_text("")
    return r"4 have no words in words\.txt: n01443537"


def spoil_wnids(tree: Path) -> str:
    (tree / "wnids.txt").write_bytes(b"\xff")
    return r"wnids\.txt: .*decode"


def spoil_image(tree: Path) -> str:
    (tree / "train" / "n01443537" / "images" / "n01443537_1.JPEG").write_bytes(b"")
    return r"train: 1 of 20 originals cannot be read: train/n01443537/images/n01443537_1\.JPEG"


def spoil_size(tree: Path) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (64, 63)).save(stream, "JPEG")
    (tree / "train" / "n01443537" / "images" / "n01443537_1.JPEG").write_bytes(stream.getvalue())
    return r"n01443537_1\.JPEG \(is 63 x 64"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "spoil",
    [
        spoil_class,
        spoil_stranger,
        spoil_list,
        spoil_twice,
        spoil_missing,
        spoil_extra,
        spoil_words,
        spoil_wnids,
        spoil_image,
        spoil_size,
    ],
)
def test_what_is_wrong_is_told_by_name(tree: Path, tmp_path: Path, spoil: Callable[[Path], str], packed: bool):
    told = spoil(tree)
    place = pack(tree, tmp_path / "any.zip") if packed else tree
    with pytest.raises(UserError, match=told) as caught:
        build(recipe(), tmp_path / "out", tmp_path / "cache", ignore, place)
    assert any(re.search(told, line) for line in str(caught.value).splitlines())
    assert not list(tmp_path.rglob("index.json"))


def test_wrong_places_counts_and_splits_are_told(tree: Path, tmp_path: Path):
    def refused(place: Path, asked: Recipe, told: str) -> None:
        with pytest.raises(UserError, match=told):
            build(asked, tmp_path / "out", tmp_path / "cache", ignore, place)

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", recipe(), "holds neither wnids.txt nor tiny-imagenet-200.zip")
    refused(tree, recipe(200), r"options\.num_classes: the recipe says 200, wnids\.txt in .* names 4")
    refused(tree, read_recipe(RECIPE), r"options\.num_classes: the recipe says 200")
    refused(tree, recipe().model_copy(update={"splits": {"test": recipe().splits["val"]}}), "has train and val only")
    refused(tree / "words.txt", recipe(), "is no zip that can be read")
    whole = pack(tree, tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "a.zip", recipe(), "is no zip that can be read")


def test_another_zip_than_the_one_that_is_known_is_refused_unless_the_recipe_takes_it(tree: Path, tmp_path: Path):
    packed = pack(tree, tmp_path / "tiny-imagenet-200.zip")
    strict = recipe().model_copy(update={"options": {"num_classes": len(WORDS)}})
    found = hashlib.sha256(packed.read_bytes()).hexdigest()
    known = strict.originals[packed.name]
    (tmp_path / "holds").mkdir()
    packed.rename(tmp_path / "holds" / packed.name)
    for place in (tmp_path / "holds", tmp_path / "holds" / packed.name):
        with pytest.raises(UserError, match=f"its sha256 is {found}, not {known}; .*options.check_sha256: false"):
            build(strict, tmp_path / "out", tmp_path / "cache", ignore, place)
    build(strict, tmp_path / "out", tmp_path / "cache", ignore, tree)  # a tree has no sha256


@pytest.mark.parametrize(
    ("name", "before", "after", "changed"),
    [
        ("words.txt", "Egyptian cat", "Egyptian dog", ("train", "val")),
        ("val/val_annotations.txt", "val_0.JPEG\tn02124075", "val_0.JPEG\tn01443537", ("val",)),
    ],
)
def test_other_labels_and_names_are_other_originals(
    tree: Path, tmp_path: Path, name: str, before: str, after: str, changed: tuple[str, ...]
):
    """Of the same lengths, so that no file's size tells."""
    build(recipe(), tmp_path / "out", tmp_path, ignore, tree)
    text = (tree / name).read_text()
    assert before in text
    (tree / name).write_text(text.replace(before, after))
    with pytest.raises(UserError, match=f"out/{changed[0]}: was made from other originals than these"):
        build(recipe(), tmp_path / "out", tmp_path, ignore, tree)
    for split in changed:  # as a build that was stopped leaves it
        (tmp_path / "out" / split).rename(tmp_path / "out" / f".{split}.part")
        record = (tmp_path / "out" / f".{split}.part" / "recipe.json").read_text()
        (tmp_path / "out" / f".{split}.part" / ".plan.json").write_text(record)
    said: list[str] = []
    build(recipe(), tmp_path / "out", tmp_path, said.append, tree)
    assert sum("begun again" in line for line in said) == len(changed)


def test_a_damaged_zip_is_found_by_its_own_checksums(tree: Path, tmp_path: Path):
    path = pack(tree, tmp_path / "a.zip")
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG")
    raw[info.header_offset + 200] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"1 of 20 originals cannot be read: train/n01443537/images/n01443537_0\.JPEG"):
        build(recipe(), tmp_path / "out", tmp_path / "cache", ignore, path)


def test_the_record_says_what_the_shards_were_made_of(tree: Path, tmp_path: Path):
    build(recipe(), tmp_path / "out", tmp_path, ignore, tree)
    record = json.loads((tmp_path / "out" / "val" / "recipe.json").read_text())
    assert record["options"] == {"num_classes": 4, "check_sha256": False}
    assert len(record["found"]["listing"]) == 64
