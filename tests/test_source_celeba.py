"""CelebA in torchvision's layout: every face with its attributes in the split that the list says."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.shards.build import build
from aedist.shards.index import read_index
from aedist.shards.recipe import Recipe, SplitRecipe, read_recipe

RECIPE = Path(__file__).parent.parent / "shards" / "celeba.yaml"
ATTRIBUTES = ("Eyeglasses", "Male", "Smiling")
PARTS = [0, 0, 1, 0, 2, 0, 1]
SIGNS = np.array([[(number >> bit) & 1 for bit in range(3)] for number in range(len(PARTS))], dtype=bool)


def ignore(_: str) -> None:
    """Nobody listens."""


def colour(number: int) -> tuple[int, int, int]:
    return number * 30, 200 - number * 20, 90


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A miniature with the names and lists of the original; each face has a colour of its own."""
    home = tmp_path / "root" / "celeba"
    (home / "img_align_celeba").mkdir(parents=True)
    attributes = f"{len(PARTS)}\n{' '.join(ATTRIBUTES)} \n"
    for number, signs in enumerate(SIGNS):
        name = f"{number + 1:06d}.jpg"
        Image.new("RGB", (178, 218), colour(number)).save(home / "img_align_celeba" / name, quality=100)
        attributes += name + " " + "".join(" 1" if sign else "-1" for sign in signs).replace("-1", " -1") + "\n"
    (home / "list_attr_celeba.txt").write_text(attributes)
    parts = "".join(f"{number + 1:06d}.jpg {part}\n" for number, part in enumerate(PARTS))
    (home / "list_eval_partition.txt").write_text(parts)
    return tmp_path / "root"


def recipe(**options: object) -> Recipe:
    values = read_recipe(RECIPE).model_dump(mode="json")
    values["options"] |= {"num_attributes": 3, "check_md5": False, **options}
    splits = {split: {"samples": PARTS.count(part)} for part, split in enumerate(("train", "val", "test"))}
    return Recipe.model_validate(values | {"splits": splits})


def check(out: Path) -> None:
    for part, split in enumerate(("train", "val", "test")):
        index = read_index(out / split)
        assert index.attributes == {} | dict.fromkeys(ATTRIBUTES, "bool")
        assert index.classes == ()
        store, files = ShardStore(out / split, index), (out / split / "files.txt").read_text().splitlines()
        assert index.num_samples == PARTS.count(part)
        for sample in range(index.num_samples):
            number = int(files[int(store.key(sample))].removesuffix(".jpg")) - 1
            assert PARTS[number] == part
            assert store.attributes(sample) == dict(zip(ATTRIBUTES, SIGNS[number].tolist(), strict=True))
            assert store.label(sample) is None
            image = store.read_images([sample])[0].numpy().astype(int)
            assert image.shape == (64, 64, 3)
            assert np.abs(image - colour(number)).max() <= 3


def test_every_face_has_its_attributes_and_its_split(root: Path, tmp_path: Path):
    build(recipe(), tmp_path / "out", tmp_path, ignore, root)
    check(tmp_path / "out")
    build(recipe(), tmp_path / "again", tmp_path, ignore, root / "celeba")
    check(tmp_path / "again")


def test_the_zip_will_do(root: Path, tmp_path: Path):
    folder = root / "celeba" / "img_align_celeba"
    with zipfile.ZipFile(root / "celeba" / "img_align_celeba.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
            path.unlink()
    folder.rmdir()
    build(recipe(), tmp_path / "out", tmp_path, ignore, root)
    check(tmp_path / "out")


def edit(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        text = (home / name).read_text()
        assert before in text
        (home / name).write_text(text.replace(before, after, 1))

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda home: (home / name).unlink()


A, P = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove(A), "holds no list_attr_celeba.txt, nor does a folder celeba in it"),
        (remove(P), "holds no list_eval_partition.txt; copy it there"),
        (remove("img_align_celeba/000003.jpg"), r"1 images of the lists are missing: 000003\.jpg"),
        (edit(A, "7\n", "8\n"), r"says '8' images and lists 7"),
        (edit(A, "Male", ""), "the recipe says 3, .* names 2"),
        (edit(A, "000002.jpg", "000001.jpg"), r"line 4: names an image again"),
        (edit(A, " -1", " 2"), r"line 3: must be a name and 3 times 1 or -1"),
        (edit(P, "000004.jpg 0", "000004.jpg 3"), "line 4: must be a name and 0, 1 or 2"),
        (edit(P, "000004.jpg", "000009.jpg"), r"2 images are in only one of the two lists: 000004\.jpg, 000009\.jpg"),
    ],
)
def test_what_is_wrong_is_told_by_name(root: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str):
    spoil(root / "celeba")
    with pytest.raises(UserError, match=told):
        build(recipe(), tmp_path / "out", tmp_path, ignore, root)
    assert not list(tmp_path.rglob("index.json"))


def test_lists_that_their_makers_did_not_give_out_are_refused_unless_the_recipe_takes_them(root: Path, tmp_path: Path):
    with pytest.raises(
        UserError, match=r"its MD5 is [0-9a-f]{32}, not 75e246fa4810816ffd6ee81facbd244c; copy it again"
    ):
        build(recipe(check_md5=True), tmp_path / "out", tmp_path, ignore, root)


@pytest.mark.parametrize(
    ("change", "split"),
    [
        (edit(A, "Male", "Hats"), "train"),
        (edit(A, "000003.jpg  -1", "000003.jpg   1"), "val"),
        (edit(P, "000003.jpg 1", "000003.jpg 2"), "val"),
    ],
)
def test_other_attributes_and_partitions_are_other_originals(
    root: Path, tmp_path: Path, change: Callable[[Path], None], split: str
):
    """Of the same lengths, so that no file's size tells."""
    any_counts = recipe().model_copy(update={"splits": {name: SplitRecipe() for name in recipe().splits}})
    build(any_counts, tmp_path / "out", tmp_path, ignore, root)
    change(root / "celeba")
    with pytest.raises(UserError, match=f"out/{split}: was made from other originals"):
        build(any_counts, tmp_path / "out", tmp_path, ignore, root)


def test_the_lists_are_read_once_for_all_splits(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: (read.append(path.name), real(path, **how))[1])
    build(recipe(), tmp_path / "out", tmp_path, ignore, root)
    assert (read.count(A), read.count(P)) == (1, 1)


def test_files_that_no_list_names_are_counted(root: Path, tmp_path: Path):
    (root / "celeba" / "img_align_celeba" / "mine.jpg").write_bytes(b"")
    said: list[str] = []
    build(recipe(), tmp_path / "out", tmp_path, said.append, root)
    assert sum("1 files are in no list and are passed over: mine.jpg" in line for line in said) == 1
    check(tmp_path / "out")
