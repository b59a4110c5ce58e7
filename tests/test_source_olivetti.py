"""Olivetti: its original from its package's file, whole people in a split, glasses as they are seen."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aedist.errors import UserError
from aedist.shards.recipe import Recipe, read_recipe
from aedist.shards.sources import olivetti, read_options

RECIPE = read_recipe(Path(__file__).parent.parent / "shards" / "olivetti.yaml")
SOMETIMES = {3, 6, 12, 16, 18, 19, 35}  # people who are seen with and without
ALWAYS = {1, 5, 13, 26, 27, 30, 33, 36}


@pytest.fixture
def faces(tmp_path: Path) -> np.ndarray:
    """Stand-ins, (400, 64, 64): the number of the image in its first two bytes, and a pattern that has an up."""
    images = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (400, 64, 64)).copy()
    images[:, 0, 0], images[:, 0, 1] = np.arange(400) // 256, np.arange(400) % 256
    (tmp_path / "olivetti_faces.u8").write_bytes(images.tobytes())
    return images


def opened(folder: Path, split: str) -> olivetti.Faces:
    originals = {"olivetti_faces.u8": folder / "olivetti_faces.u8"}
    return olivetti.samples(originals, split, read_options(RECIPE), RECIPE.image)


def test_every_face_is_in_one_split_with_its_own_attributes(tmp_path: Path, faces: np.ndarray) -> None:
    seen: dict[int, str] = {}
    for split, recipe in RECIPE.splits.items():
        samples = opened(tmp_path, split)
        assert len(samples) == recipe.samples
        for number in range(len(samples)):
            sample = samples[number]
            pixels = np.asarray(Image.open(io.BytesIO(sample["png"])))
            image = int(pixels[0, 0]) * 256 + int(pixels[0, 1])
            assert (pixels == faces[image]).all()
            told = json.loads(sample["json"])
            assert told == {"glasses": image in olivetti.GLASSES, "person": f"p{image // 10:02d}"}
            assert sample["cls"] == (b"1" if told["glasses"] else b"0")
            seen[image] = split
    assert sorted(seen) == list(range(400))
    assert all(len({seen[10 * person + i] for i in range(10)}) == 1 for person in range(40))


def test_glasses_are_counted_by_person() -> None:
    worn = [sum(10 * person + i in olivetti.GLASSES for i in range(10)) for person in range(40)]
    assert sum(worn) == 119
    assert {person for person, count in enumerate(worn) if count == 10} == ALWAYS
    assert {person for person, count in enumerate(worn) if 0 < count < 10} == SOMETIMES


def test_either_split_has_people_seen_both_ways() -> None:
    tested = set(read_options(RECIPE).test_people)
    for people in (tested, set(range(40)) - tested):
        assert people & SOMETIMES
        assert people & ALWAYS


def test_the_file_in_the_package_is_turned_upright_without_unpickling(
    faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zlib.compress(b"h" * 240 + faces.transpose(0, 2, 1).tobytes() + b".")
    monkeypatch.setattr(olivetti, "_PICKLE_SHA256", olivetti.hashlib.sha256(packed).hexdigest())
    assert olivetti.from_pickle(packed) == {"olivetti_faces.u8": faces.tobytes()}


@pytest.mark.parametrize("packed", [b"", b"no pickle", zlib.compress(b"h" * 1_638_641)])
def test_another_file_is_refused_unopened(packed: bytes) -> None:
    with pytest.raises(ValueError, match="has sha256"):
        olivetti.from_pickle(packed)


def test_another_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"splits\.valid: Olivetti is divided into train and test only"):
        opened(tmp_path, "valid")


@pytest.mark.parametrize("people", [[], list(range(40)), [3, 3], [40], [-1], "all", None])
def test_impossible_test_people_are_refused(people: object) -> None:
    recipe = Recipe.model_validate({**RECIPE.model_dump(), "options": {"test_people": people}})
    with pytest.raises(UserError, match=r"options\.test_people"):
        read_options(recipe)
