"""A recipe is read, or its mistakes are told: whatever stands in the file."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aedist.errors import UserError
from aedist.shards.recipe import Recipe, read_recipe
from aedist.shards.sources import SOURCES, read_options

RECIPES = sorted((Path(__file__).parent.parent / "shards").glob("*.yaml"))
OPTION_NAMES = sorted({name for source in SOURCES.values() for name in source.options.model_fields})
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.dates()
)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=8
)
KEYS = st.sampled_from([*Recipe.model_fields, "sorce", ""]) | st.text(max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(RECIPES),
    st.dictionaries(KEYS, ANY, max_size=3),
    st.dictionaries(st.sampled_from(OPTION_NAMES) | st.text(max_size=4), ANY, max_size=3),
)
def test_any_values_are_a_recipe_or_are_told(
    tmp_path: Path, base: Path, changes: dict[str, Any], options: dict[str, Any]
):
    values = yaml.safe_load(base.read_text())
    values["options"] = {**(values.get("options") or {}), **options}
    read_or_told(tmp_path, yaml.safe_dump(values | changes))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.text(), st.sampled_from([path.read_text() for path in RECIPES])),
    st.integers(0, 2000),
    st.text(max_size=5),
)
def test_any_text_is_a_recipe_or_is_told(tmp_path: Path, text: str, place: int, put_in: str):
    read_or_told(tmp_path, text[:place] + put_in + text[place:])


def read_or_told(folder: Path, text: str) -> None:
    path = folder / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        recipe = read_recipe(path)
        if recipe.source in SOURCES:
            assert isinstance(read_options(recipe), SOURCES[recipe.source].options)
    except UserError as error:
        lines = str(error).splitlines()
        assert lines
        assert all(line.isprintable() and len(line) < 1000 for line in lines), lines


def test_an_image_that_no_memory_holds_is_refused(tmp_path: Path):
    text = (RECIPES[0].parent / "faces.yaml").read_text()
    (tmp_path / "huge.yaml").write_text(text.replace("height: 256", "height: 10000000"))
    with pytest.raises(UserError, match=r"image\.height: 10000000 is refused: it should be less than or equal to 8192"):
        read_recipe(tmp_path / "huge.yaml")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"qualty": 90}, "unknown key options.qualty; did you mean options.quality?"),
        ({"zzz": 90}, "unknown key options.zzz; the keys are crop, filter"),
        ({"quality": 101}, "options.quality: 101 is refused: it should be less than or equal to 100"),
        ({"quality": "90"}, "options.quality: '90' is refused: it should be a valid integer"),
        ({"filter": "nearest"}, "options.filter: 'nearest' is refused: it should be 'lanczos' or 'bicubic'"),
        ({"test_fraction": 1.0}, "options.test_fraction: 1.0 is refused: it should be less than 1"),
    ],
)
def test_mistakes_in_options_are_told_in_a_line(options: dict[str, Any], told: str):
    (path,) = (path for path in RECIPES if path.stem == "faces")
    recipe = Recipe.model_validate(read_recipe(path).model_dump(mode="json") | {"options": options})
    with pytest.raises(UserError) as caught:
        read_options(recipe)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_source_without_options_takes_none():
    (path,) = (path for path in RECIPES if path.stem == "mnist")
    recipe = Recipe.model_validate(read_recipe(path).model_dump(mode="json") | {"options": {"size": 3}})
    with pytest.raises(UserError, match=r"unknown key options\.size; there is none to set"):
        read_options(recipe)
