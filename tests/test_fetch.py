"""What is fetched for a configuration on a login node is all that a node without internet needs."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_shards_build import patterns

from aedist import needs
from aedist.assets import Collection
from aedist.cli import main
from aedist.cli.launcher import cache_folder
from aedist.configfile import load_config
from aedist.routes import Asset, Route, RouteError
from aedist.shards.index import read_index
from aedist.shards.recipe import read_recipe
from aedist.shards.sources import SOURCES, Source, mnist, one_by_one
from aedist.weights import WEIGHTS
from realweights import cache_with
from samples import write_config

RECIPES = Path(__file__).parent.parent / "shards"

CUT_OFF = """
import fcntl, os, socket, struct, sys
if {unshared}:  # a network of its own: of the loopback interface alone, which W&B talks to itself over
    with socket.socket() as own:
        fcntl.ioctl(own, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
else:
    real = socket.socket.connect
    def connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(101, "Network is unreachable")
        return real(self, address)
    socket.socket.connect = connect
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1).close()
except OSError:
    pass
else:
    sys.exit("there is a network")
from aedist.cli import main
config, run, *words = sys.argv[1:]
main(["train", config, *words])
main(["evaluate", run])
main(["report", run])
"""


def cut_off(config: Path, run: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """train, evaluate and report, as on a node without internet: by the kernel where one may, else by Python."""
    unshared = os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
    command = [*(["unshare", "-n"] if unshared else []), sys.executable, "-c", CUT_OFF.format(unshared=unshared)]
    return subprocess.run(
        [*command, str(config), str(run)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def real_weights() -> Path:
    """The user's own cache, with the networks of LPIPS and FID in it."""
    return cache_with("lpips", "fid")


@pytest.fixture
def served(tmp_path: Path, shards: Path) -> Iterator[tuple[str, http.server.ThreadingHTTPServer]]:
    """The address of shards, and its server."""
    shutil.copytree(shards, tmp_path / "served" / "blobs")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nobody listens."""

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/blobs", server
        server.shutdown()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of aedist's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return cache_folder()


def own_weights(monkeypatch: pytest.MonkeyPatch, *without_a_route: str) -> list[str]:
    """Small files for the networks' weights; gives, later, which were asked for."""
    asked = list[str]()

    def collection(name: str, *_: Any) -> Collection:
        body, file = f"weights of {name}".encode(), WEIGHTS[name].asset.name

        def contents(wanted: Any, _: Any) -> Any:
            asked.append(name)
            if name in without_a_route:
                raise RouteError("the web is closed")
            yield from ((asset, body) for asset in wanted)

        asset = Asset(file, hashlib.sha256(body).hexdigest(), len(body))
        return Collection(name, (asset,), (Route("a place", contents),))

    monkeypatch.setattr(needs, "weights_collection", collection)
    return asked


def code_of(*words: str) -> int:
    try:
        main(["fetch", *words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_what_it_fetched_is_enough_without_internet(
    real_weights: Path,
    home: Path,
    served: tuple[str, http.server.ThreadingHTTPServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """Shards at an address, the networks of LPIPS and FID, W&B offline: trained, evaluated and reported cut off."""
    for name in ("lpips", "fid"):
        shutil.copytree(real_weights / name, home / name)
    address, server = served
    sections: Any = {"track": {"wandb": "offline"}, "train": {"epochs": 1}, "evaluate": {"fid_images": 4}}
    config = write_config(tmp_path / "config.yaml", Path(), tmp_path / "run", data={"shards": address}, **sections)
    assert code_of(str(config)) == 0
    told = capsys.readouterr().out
    assert "100 images in 7 shards" in told
    assert "23 images in 2 shards" in told
    assert told.splitlines()[-1].endswith("nothing needs the internet")
    server.server_close()
    done = cut_off(config, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "going on with the copy of the index" in " ".join(done.stdout.split())
    record = (tmp_path / "run" / "evaluation" / "comprehensive_evaluation.json").read_text()
    assert '"missing": {}' in record
    assert (tmp_path / "run" / "report.html").is_file()


def test_what_is_missing_is_told_line_by_line_when_all_was_tried(
    home: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = own_weights(monkeypatch, "fid")
    config = write_config(tmp_path / "config.yaml", shards, tmp_path / "run", evaluate={"split": "val"})
    assert code_of(str(config)) == 2
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        f"aedist: data.shards: {shards} has no split 'val' (it has test, train); name one of them",
        "aedist: fid: no route led to fid-inception.safetensors (a place: the web is closed); put the files, raw or as "
        ".gz, into a folder and give it with --from FOLDER",
    ]
    rows = [line.split()[:2] + line.split()[-1:] for line in told.out.splitlines()[-4:]]
    assert rows[0][:2] == ["shards", "train"]
    assert rows[1] == ["shards", "val", "missing"]
    assert rows[2] == ["weights", "lpips", "right"]
    assert rows[3] == ["weights", "fid", "missing"]
    assert asked == ["lpips", "fid"]
    assert (home / "lpips" / "lpips-alex.safetensors").is_file()


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({}, {"lpips": "evaluate.lpips_net", "fid": "evaluate.fid_images"}),
        ({"evaluate": {"fid_images": 0}}, {"lpips": "evaluate.lpips_net"}),
        (
            {"objective": {"lpips": 1.0, "lpips_net": "vgg"}},
            {"lpips-vgg": "objective.lpips", "lpips": "evaluate.lpips_net", "fid": "evaluate.fid_images"},
        ),
        (
            {"objective": {"lpips": 1.0}, "evaluate": {"fid_images": 0}},
            {"lpips": "objective.lpips, evaluate.lpips_net"},
        ),
    ],
)
def test_the_networks_follow_from_the_configuration(
    home: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: Any, wanted: dict[str, str]
):
    own_weights(monkeypatch)
    config = load_config(write_config(tmp_path / "config.yaml", shards, tmp_path / "run", **sections))

    def build(*_: Path) -> None:
        raise AssertionError("there is nothing to build")

    found = needs.provide(config, home, tmp_path, lambda _: None, build)
    assert not any(need.lacks for need in found)
    assert [need.what for need in found[:2]] == ["shards train", "shards test"]
    assert {need.what: need.key for need in found[2:]} == {f"weights {name}": key for name, key in wanted.items()}


@pytest.fixture
def recipe(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe of a data set in MNIST's form, to whose originals there is a route."""
    del home
    bodies = dict[str, bytes]()
    for split, count in (("train", 30), ("test", 12)):
        images = patterns(count, len(split))
        bodies |= mnist.to_idx(images, images[:, 0, 0] % 10, split)
    assets = tuple(Asset(name, hashlib.sha256(body).hexdigest(), len(body)) for name, body in bodies.items())
    route = Route("a place", lambda wanted, _: ((asset, bodies[asset.name]) for asset in wanted))
    monkeypatch.setitem(SOURCES, "tiny", Source(Collection("tiny", assets, (route,)), one_by_one(mnist.samples)))
    values = read_recipe(RECIPES / "mnist.yaml").model_dump(mode="json")
    values |= {"name": "tiny", "source": "tiny", "samples_per_shard": 10, "splits": {"train": {}, "test": {}}}
    values |= {"originals": {asset.name: asset.sha256 for asset in assets}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_shards_that_are_not_there_are_built_where_their_recipe_says_how(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    own_weights(monkeypatch)
    config = write_config(tmp_path / "config.yaml", recipe.with_suffix(""), tmp_path / "run")
    assert code_of(str(config), "train.epochs=3") == 0
    assert read_index(tmp_path / "tiny" / "train").num_samples == 30
    capsys.readouterr()
    (tmp_path / "tiny" / "test" / "tiny-test-000001.tar").unlink()
    assert code_of(str(config)) == 0
    assert "missing" in capsys.readouterr().out, "it is said that a split is built again"
    assert read_index(tmp_path / "tiny" / "test").num_samples == 12


def test_shards_of_the_users_own_originals_are_left_to_the_user(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    del home
    own_weights(monkeypatch)
    shutil.copy(RECIPES / "faces.yaml", tmp_path)
    config = write_config(tmp_path / "config.yaml", tmp_path / "faces", tmp_path / "run")
    assert code_of(str(config)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"build it with 'aedist shards build {tmp_path}/faces.yaml --from PATH'")


def test_a_cache_too_small_for_all_splits_is_told_before_anything_is_fetched(
    home: Path,
    served: tuple[str, http.server.ThreadingHTTPServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Either alone would fit, and the second would push the first out."""
    own_weights(monkeypatch)
    data = {"shards": served[0], "cache_bytes": "150KiB"}
    config = write_config(tmp_path / "config.yaml", Path(), tmp_path / "run", data=data)
    assert code_of(str(config)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("aedist: data.cache_bytes: 153,600 bytes are too few to keep the ")
    assert not list(home.glob("shards/*/*.tar"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lpips", "train.epochs=3"], "train.epochs=3: goes with a configuration, and none is named"),
        (["nothing.yaml"], "there is no recipe nothing.yaml"),
        (["nothing.yaml", "train.epochs=3"], "nothing.yaml: cannot be read"),
        (["CONFIG", "--from", "/tmp"], "--from: /tmp is refused with a configuration"),
        (["CONFIG", "train.epoch=3"], "train.epoch"),
    ],
)
def test_mistakes_are_told_in_a_line(
    home: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
):
    del home
    config = write_config(tmp_path / "config.yaml", shards, tmp_path / "run")
    assert code_of(*[str(config) if word == "CONFIG" else word for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
