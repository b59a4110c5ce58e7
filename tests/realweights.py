"""The weights of the real networks, for tests that are about them: fetched once, as a user would, and kept."""

from pathlib import Path

import pytest

from aedist.assets import fetch
from aedist.cli.launcher import cache_folder
from aedist.errors import UserError
from aedist.weights import WEIGHTS, weights_collection


def cache_with(*names: str) -> Path:
    """The user's cache, with the weights of these names in it; skips the test where no route leads to them."""
    cache = cache_folder()
    for name in names:
        if not WEIGHTS[name].path(cache).is_file():
            try:
                fetch(weights_collection(name), cache, print)
            except UserError as error:
                pytest.skip(str(error))
    return cache
