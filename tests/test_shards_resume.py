"""A build gives the same bytes with any number of processes, and goes on where it was stopped, however that was."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from buildable import contents, ignore, recipe_of_pictures, write_pictures
from PIL import Image

from aedist.errors import UserError
from aedist.shards.build import build
from aedist.shards.index import read_index
from aedist.shards.lock import LOCK_NAME, locked
from aedist.shards.png import encode_png
from aedist.shards.recipe import Recipe
from aedist.shards.samples import Unreadable
from aedist.shards.sources import SOURCES, Source
from aedist.shards.sources.imagefolder import FolderOptions
from aedist.shards.workers import do_all

NUM_IMAGES = 120


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), NUM_IMAGES, 90, 70)


def values(**changes: object) -> dict[str, object]:
    return recipe_of_pictures(64, **{"samples_per_shard": 8, **changes})


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(Recipe.model_validate(values()), out, out, ignore, pictures)
    return contents(out)


def test_any_number_of_processes_writes_the_same_bytes(pictures: Path, whole: dict[str, bytes], tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    recipe = Recipe.model_validate(values())
    build(recipe, tmp_path / "out", tmp_path, ignore, pictures, workers=3, progress=lambda *words: told.append(words))
    assert contents(tmp_path / "out") == whole
    assert [words for words in told if words[1] == words[2]] == [("train", 96, 96), ("test", 24, 24)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_that_was_killed_goes_on_and_ends_in_the_same_bytes(
    pictures: Path, whole: dict[str, bytes], tmp_path: Path, workers: int
):
    """Killed at several moments, and once with a finished shard damaged afterwards."""
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(values(), sort_keys=False))
    part = out / ".train.part"
    command = [sys.executable, "-m", "aedist", "shards", "build", str(recipe), "--out", str(out)]
    command += ["--from", str(pictures), "--workers", str(workers)]
    for wanted in (2, 7):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(part.glob(".*.written"))) < wanted:
            time.sleep(0.002)
        process.kill()
        process.wait()
        for shard in part.glob("*.tar"):
            assert shard.read_bytes() == whole[f"train/{shard.name}"], "what has its name is whole"
    if kept := sorted(part.glob("*.tar")):
        kept[0].write_bytes(kept[0].read_bytes()[:-1])
    said: list[str] = []
    build(Recipe.model_validate(values()), out, tmp_path, said.append, pictures, workers=workers)
    assert contents(out) == whole
    if kept:
        line = next(line for line in said if "of a build that was stopped" in line)
        assert 0 < int(re.search(r"(\d+) shards are right", line)[1]) < 12  # pyright: ignore


def alive_in_group(group: int) -> list[str]:
    """The processes of a group that have not ended (ended ones may wait to be collected)."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.fixture
def large_pictures(tmp_path: Path) -> Path:
    """Eighty pictures of four million pixels: seconds of work, so that a build can be stopped in the middle of it."""
    folder = tmp_path / "large"
    folder.mkdir()
    slope = np.linspace(0, 255, 2000).astype(np.uint8)
    Image.fromarray(np.stack([np.broadcast_to(slope, (2000, 2000))] * 3, axis=2)).save(folder / "0.png")
    for number in range(1, 80):
        os.link(folder / "0.png", folder / f"{number}.png")
    return folder


def test_control_c_ends_quietly_with_all_workers_and_says_how_to_go_on(large_pictures: Path, tmp_path: Path):
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(values(samples_per_shard=1), sort_keys=False))
    # as in a terminal; what is started in the background, as these tests may be, is told to ignore the signal
    listening = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    listening += "from aedist.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", listening, "shards", "build", str(recipe), "--out", str(out)]
    command += ["--from", str(large_pictures), "--workers", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not list(out.glob(".train.part/.*.written")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
    _, said = process.communicate(timeout=30)
    assert process.returncode == 75, said
    assert said.strip().endswith("run the same command again to go on: the shards that are done are kept")
    assert len(said.strip().splitlines()) == 1
    deadline = time.monotonic() + 20
    while alive_in_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive_in_group(process.pid)
    assert not (out / LOCK_NAME).exists()


def test_what_was_begun_with_another_recipe_or_other_originals_is_begun_again(pictures: Path, tmp_path: Path):
    """A folder of a build that was stopped is ours, and its shards are kept only where they are the same."""
    first = Recipe.model_validate(values())
    build(first, tmp_path / "one", tmp_path, ignore, pictures)
    part = tmp_path / "two" / ".train.part"
    part.parent.mkdir()
    (tmp_path / "one" / "train").rename(part)
    said: list[str] = []
    build(Recipe.model_validate(values(seed=1)), tmp_path / "two", tmp_path, said.append, pictures)
    assert any("begun again" in line for line in said)
    other = tmp_path / "three"
    build(Recipe.model_validate(values(seed=1)), other, tmp_path, ignore, pictures)
    assert contents(tmp_path / "two") == contents(other)


@dataclass(frozen=True)
class OneBad:
    """Twenty grey images, of which one may not be read today."""

    bad: int | None

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> dict[str, bytes]:
        if number == self.bad:
            raise Unreadable(f"{number}.png", "the disk says no")
        return {"png": encode_png(np.full((8, 8, 3), number, dtype=np.uint8))}


def test_an_original_that_was_mended_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By name and size it is the same as before, so that the build goes on where it was."""
    image = {"height": 8, "width": 8, "channels": 3, "encoding": "png"}
    recipe = Recipe.model_validate(values(splits={"train": {}}, image=image))
    said: list[str] = []
    for bad in (3, None):
        source = Source(None, lambda *_, bad=bad: lambda _: OneBad(bad), FolderOptions)
        monkeypatch.setitem(SOURCES, "folder", source)
        if bad is None:
            build(recipe, tmp_path / "out", tmp_path, said.append, tmp_path)
        else:
            with pytest.raises(UserError, match=r"3\.png \(the disk says no\)"):
                build(recipe, tmp_path / "out", tmp_path, ignore, tmp_path)
    assert any("2 shards are right and are kept" in line for line in said)
    assert read_index(tmp_path / "out" / "train").num_samples == 20


def test_shards_of_other_originals_are_not_taken_for_finished(tmp_path: Path):
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    out, recipe = tmp_path / "out", Recipe.model_validate(values())
    build(recipe, out, tmp_path, ignore, tmp_path)
    before = contents(out)
    build(recipe, out, tmp_path, ignore)  # what is there needs no originals
    Image.new("RGB", (8, 8)).save(tmp_path / "6.png")
    with pytest.raises(UserError, match="was made from other originals than these"):
        build(recipe, out, tmp_path, ignore, tmp_path)
    assert contents(out) == before


def test_a_second_build_into_the_same_folder_is_told_who_holds_it(pictures: Path, tmp_path: Path):
    out = tmp_path / "out"
    with locked(out):
        with pytest.raises(UserError, match=f"is being written by process {os.getpid()} on .*; wait for it"):
            build(Recipe.model_validate(values()), out, tmp_path, ignore, pictures)
        assert (out / LOCK_NAME).exists()
    assert not out.exists(), "nothing came of it"
    out.mkdir()
    (out / LOCK_NAME).write_text("process 1 on a machine that lost its power\n")
    build(Recipe.model_validate(values()), out, tmp_path, ignore, pictures)  # the kernel's lock went with its holder
    assert read_index(out / "train").num_samples == 96


def test_a_lock_that_went_away_while_it_was_waited_for_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = fcntl.flock

    def late(file: object, how: int) -> None:
        (tmp_path / LOCK_NAME).unlink()
        real(file, how)  # pyright: ignore

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(UserError, match="just now; run the command again"), locked(tmp_path):
        pass


def double(job: int, tick: object) -> int:
    if job == 13:
        raise UserError("thirteen is refused; take another")
    if job == 14:
        raise ZeroDivisionError
    if job == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    tick(1)  # pyright: ignore
    return 2 * job


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_done_once_whoever_does_it(workers: int):
    ticks: list[int] = []
    done = dict(do_all(list(range(10)), double, workers, ticks.append))
    assert done == {job: 2 * job for job in range(10)}
    assert sum(ticks) == 10
    assert list(do_all([], double, workers, ignore)) == []


def test_what_goes_wrong_in_a_worker_is_told_here():
    with pytest.raises(UserError, match="thirteen is refused"):
        list(do_all([1, 13], double, 2, ignore))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(do_all([1, 14], double, 2, ignore))
    with pytest.raises(UserError, match=r"worker process \d+ was ended from outside"):
        list(do_all([1, 15], double, 2, ignore))
