"""Several builds make one data set together: the bytes of a build by one, whoever comes, goes, or comes too often."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from buildable import contents, ignore, recipe_of_pictures, write_pictures

from aedist import assets, lease
from aedist.assets import Collection
from aedist.errors import UserError
from aedist.lease import holder
from aedist.routes import Asset, Route
from aedist.shards import originals, splitfolder
from aedist.shards.build import build
from aedist.shards.lock import LOCK_NAME, locked, locked_part
from aedist.shards.parts import Part, parse_part
from aedist.shards.recipe import Recipe

NUM_IMAGES = 120
NUM_SHARDS = 24 + 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), NUM_IMAGES, 90, 70)


def values(**changes: object) -> dict[str, object]:
    return recipe_of_pictures(64, **{"samples_per_shard": 4, **changes})


RECIPE = Recipe.model_validate(values())


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(RECIPE, out, out, ignore, pictures)
    return contents(out)


@pytest.fixture
def run(pictures: Path, tmp_path: Path) -> Callable[[int, int], list[str]]:
    """Builds one part into ``tmp_path/out`` here, and gives what it said."""

    def run(number: int, count: int) -> list[str]:
        said: list[str] = []
        build(RECIPE, tmp_path / "out", tmp_path, said.append, pictures, part=Part(number, count))
        return said

    return run


def test_real_processes_at_once_one_killed_and_started_again_give_the_bytes_of_one(
    pictures: Path, whole: dict[str, bytes], tmp_path: Path
):
    """Part 2 is killed in its middle while the others write, and the last to end is the one that finishes."""
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(values(), sort_keys=False))

    def start(number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "aedist", "shards", "build", str(recipe), "--out", str(out)]
        command += ["--from", str(pictures), "--workers", "1", "--part", f"{number}/3"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    parts = {number: start(number) for number in (1, 2, 3)}
    own = [out / ".train.part" / f".mine-train-{shard:06d}.tar.written" for shard in range(1, 24, 3)]
    while parts[2].poll() is None and not any(note.exists() for note in own):
        time.sleep(0.001)
    parts[2].kill()
    parts[2].communicate()
    for number in (1, 3):
        told, _ = parts[number].communicate(timeout=60)
        assert parts[number].returncode == 0, told
        assert f"part {number} of 3: wrote 10 shards" in told
    assert not (out / "train").exists(), "it lacks shards"
    again = start(2)
    told, _ = again.communicate(timeout=60)
    words = " ".join(told.split())
    assert re.search(r"\d shards of part 2 of 3 are right and are kept", words), told
    assert words.endswith("all 30 are there: the data set is finished"), told
    assert contents(out) == whole
    assert not list(out.glob(f"{LOCK_NAME}*"))


def test_parts_may_run_one_after_another_in_any_order(run: Any, whole: dict[str, bytes], tmp_path: Path):
    assert run(3, 3)[-1] == (
        "part 3 of 3: wrote 10 shards; 10 of 30 are there, the others are for parts 1, 2 to write; whichever writes "
        "the last one finishes the data set"
    )
    assert "20 of 30 are there, the others are for part 2 to write" in run(1, 3)[-1]
    assert not any((tmp_path / "out" / split).exists() for split in ("train", "test"))
    assert run(1, 3)[-1].startswith("part 1 of 3: wrote 0 shards; 20 of 30")
    assert run(2, 3)[-1] == "part 2 of 3: wrote 10 shards; all 30 are there: the data set is finished"
    assert contents(tmp_path / "out") == whole
    assert run(1, 3)[-1].startswith("part 1 of 3: wrote 0 shards; all")
    assert contents(tmp_path / "out") == whole


def test_more_parts_than_shards_other_counts_and_a_build_alone_go_on_with_what_is_there(
    run: Any, pictures: Path, whole: dict[str, bytes], tmp_path: Path
):
    assert "wrote 1 shards; 1 of 30" in run(2, 40)[-1]
    assert "wrote 0 shards; 1 of 30" in run(35, 40)[-1]
    assert "wrote 14 shards; 15 of 30" in run(2, 2)[-1]
    said: list[str] = []
    build(RECIPE, tmp_path / "out", tmp_path, said.append, pictures)
    assert any("12 shards are right and are kept" in line for line in said)
    assert contents(tmp_path / "out") == whole


@pytest.fixture(params=["locks of the kernel", "leases"])
def any_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with locks; and one without."""
    if request.param == "leases":

        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)


@pytest.mark.usefixtures("any_file_system")
def test_who_is_too_many_is_refused(run: Any, pictures: Path, whole: dict[str, bytes], tmp_path: Path):
    out = tmp_path / "out"
    with locked_part(out, 1, 2):
        with pytest.raises(UserError, match=rf"part 1 of 2 is being written by process {os.getpid()} on .*; wait for"):
            run(1, 2)
        with pytest.raises(UserError, match=rf"is being written by part 1 of 2, process {os.getpid()} on .*; wait"):
            build(RECIPE, out, tmp_path, ignore, pictures)
        with pytest.raises(UserError, match=r"process .* writes part 1 of 2 of .*; give all parts the same count"):
            run(1, 3)
        assert "15 of 30" in run(2, 2)[-1], "another part may"
        assert holder(out / f"{LOCK_NAME}-part-1-of-2") is not None
    with locked(out), pytest.raises(UserError, match=r"is being written by process .*, which builds it alone; wait"):
        run(1, 2)
    assert run(1, 2)[-1].endswith("the data set is finished")
    assert contents(out) == whole, "and no lock is left"


@pytest.mark.usefixtures("any_file_system")
def test_many_parts_that_begin_at_one_moment_do_not_refuse_each_other(tmp_path: Path):
    refused = list[UserError]()
    together = threading.Barrier(12)

    def take(number: int) -> None:
        together.wait()
        try:
            with locked_part(tmp_path / "out", number, 12):
                time.sleep(0.01)
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused
    assert not (tmp_path / "out").exists(), "nothing came of it"


def test_locks_that_killed_parts_left_keep_nobody_out_and_do_not_stay(
    run: Any, whole: dict[str, bytes], tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("", "-part-1-of-2", "-part-2-of-5", "-split-train"):
        (out / f"{LOCK_NAME}{name}").write_text("process 1 on a machine that lost its power\n")
    run(1, 2)
    run(2, 2)
    (out / LOCK_NAME).unlink()  # a build alone removes its own
    assert contents(out) == whole


def test_parts_of_another_recipe_or_other_originals_are_refused_also_when_the_first_are_gone(
    run: Any, pictures: Path, tmp_path: Path
):
    out = tmp_path / "out"
    run(1, 2)
    before = contents(out)
    other = Recipe.model_validate(values(seed=1))
    with pytest.raises(UserError, match=r"was begun with another recipe or other originals \(by seed\); give all"):
        build(other, out, tmp_path, ignore, pictures, part=Part(2, 2))
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in sorted(pictures.iterdir())[1:]:
        os.link(path, fewer / path.name)
    with pytest.raises(UserError, match=r"other originals \(by originals\)"):
        build(RECIPE, out, tmp_path, ignore, fewer, part=Part(2, 2))
    assert contents(out) == before


def test_a_shard_that_was_damaged_is_not_finished_with_and_its_part_writes_it_again(
    run: Any, whole: dict[str, bytes], tmp_path: Path
):
    run(1, 2)
    shard = tmp_path / "out" / ".train.part" / "mine-train-000002.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    said = run(2, 2)
    assert any("mine-train-000002.tar: has not the bytes that were written" in line for line in said)
    assert "29 of 30 are there, the others are for part 1 to write" in said[-1]
    assert "wrote 1 shards; all 30 are there" in run(1, 2)[-1]
    assert contents(tmp_path / "out") == whole


def test_a_part_that_was_killed_while_it_finished_costs_nothing(
    run: Any, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between the index and the folder's new name, with the notes of the shards gone already."""
    run(1, 2)

    def killed(part: Path, _: Path) -> None:
        splitfolder.remove_notes(part)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(splitfolder, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            run(2, 2)
    said = run(1, 2)
    assert any("was stopped at its very end: finished" in line for line in said)
    run(2, 2)
    assert contents(tmp_path / "out") == whole


def test_a_part_that_comes_while_another_finishes_finds_it_finished(
    run: Any, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It saw that the data set was not there, looked at its originals for long, and goes on when all is done."""
    run(1, 2)
    real = originals.Originals.opened

    def opened(self: Any, *arguments: Any) -> Any:
        found = real(self, *arguments)
        monkeypatch.setattr(originals.Originals, "opened", real)
        run(2, 2)
        return found

    monkeypatch.setattr(originals.Originals, "opened", opened)
    assert run(1, 2)[-1] == "part 1 of 2: wrote 0 shards; all 30 are there: the data set is finished"
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("skip", [True, False])
def test_unreadable_originals_are_left_out_or_refused_as_by_one(pictures: Path, tmp_path: Path, skip: bool):
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for path in pictures.iterdir():
        os.link(path, spoilt / path.name)
    content = (pictures / "077.png").read_bytes()
    (spoilt / "077.png").unlink()
    (spoilt / "077.png").write_bytes(content[:5000] + bytes(99) + content[5099:])  # which only decoding finds
    recipe = Recipe.model_validate(values(options={"test_fraction": 0.2, "skip_unreadable": skip}))
    refused = list[str]()
    for number in (1, 2, None):
        out = tmp_path / ("alone" if number is None else "parts")
        try:
            build(recipe, out, tmp_path, ignore, spoilt, part=Part(number, 2) if number else None)
        except UserError as error:
            refused.append(str(error))
    if skip:
        assert contents(tmp_path / "parts") == contents(tmp_path / "alone")
        assert not refused
    else:
        assert len(refused) == 2, "the part that has it, and the build alone"
        assert all("077.png" in told for told in refused)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "/", "1/3/5", "one/two", "", "1/999999"])
def test_nonsense_is_no_part(text: str):
    with pytest.raises(UserError, match=r"--part: .* is refused: it should be I/N with I from 1 to N"):
        parse_part(text)
    assert parse_part("3/3") == Part(3, 3)


def test_of_several_that_want_the_same_originals_one_fetches_them(tmp_path: Path):
    times = list[int]()

    def contents_of(wanted: Any, _: Any) -> Any:
        times.append(1)
        time.sleep(0.2)
        yield from ((asset, b"abc") for asset in wanted)

    asset = Asset("letters", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3)
    collection = Collection("some", (asset,), (Route("slow", contents_of),))
    with ExitStack() as all_threads:
        for _ in range(4):
            thread = threading.Thread(target=assets.fetch, args=(collection, tmp_path, ignore))
            thread.start()
            all_threads.callback(thread.join)
    assert len(times) == 1
    assert contents(tmp_path) == {"some/letters": b"abc"}
