"""ARCHITECTURE.md tells the layers that import-linter checks, and they leave no module out."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def layers() -> list[list[str]]:
    """The modules of each layer, as pyproject.toml has them, without the package's name."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one["type"] == "layers" and "containers" not in one]
    return [[name.removeprefix("aedist.") for name in layer.split(" | ")] for layer in contract["layers"]]


def test_the_page_tells_the_layers_that_are_checked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = re.search(r"## The layers.*?```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    assert [line.split(" | ") for line in block[1].splitlines()] == layers()


def test_every_module_has_a_layer() -> None:
    named = {name for layer in layers() for name in layer}
    package = ROOT / "aedist"
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1].startswith("__"):  # the package's own page, which may import what it likes
            continue
        above = {".".join(parts[: i + 1]) for i in range(len(parts))}
        assert above & named, f"{'.'.join(parts)} stands in no layer"
