"""``aedist verify``: a whole run is proven, also after interruptions, and each way of tampering with one is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aedist.cli import main
from aedist.data.plan import Plan
from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USER_ERROR
from aedist.training.ledger import record_type
from aedist.verify import Verified, verify_run
from aedist.verify import order as order_module
from aedist.verify.attempts import Attempt
from aedist.verify.order import compare, open_ledger
from processes import launch, run, wait_for_step
from samples import write_config

MICRO, NUM_MICRO = 2, 6  # of write_config: 8 steps of 12 images an epoch, 4 of 100 images left over
KIND = record_type(MICRO)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Three epochs on two processes, never interrupted; two records and a checkpoint for each half epoch."""
    folder = tmp_path_factory.mktemp("clean")
    train = {"epochs": 3, "log_every": 24, "checkpoint_every": 48, "keep_last": 2}
    run(folder, 2, "train", write_config(folder / "c.yaml", shards, folder / "run", train=train))
    return folder / "run"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Killed on two processes, asked to stop on three, finished on one."""
    folder = tmp_path_factory.mktemp("interrupted")
    train = {"epochs": 20, "log_every": 24, "checkpoint_every": 36, "evaluate_every": 480}
    config = write_config(folder / "c.yaml", shards, folder / "run", train=train)
    killed = launch(folder, 2, "train", config)
    wait_for_step(killed, folder / "run", 20)
    for process in killed.processes:
        process.kill()
    killed.wait()
    stopped = launch(folder, 3, "train", config)
    wait_for_step(stopped, folder / "run", 40)
    stopped.processes[2].terminate()
    assert stopped.wait() == [EXIT_INTERRUPTED] * 3
    run(folder, 1, "train", config)
    return folder / "run"


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    """A run to tamper with."""
    return shutil.copytree(clean, tmp_path / "run")


def text(verified: Verified, about: str, verdict: str) -> str:
    """What is stated about one thing, which must have that verdict."""
    (statement,) = [one for one in verified.statements if one.about == about and one.verdict == verdict]
    return statement.text


def wrong(folder: Path) -> str:
    """The one thing that is wrong with a run: what it is about, and how it is told."""
    verified = verify_run(folder)
    assert verified.verdict == "wrong"
    assert verified.lines[-1] == f"{folder}: something is wrong"
    (statement,) = [one for one in verified.statements if one.verdict == "wrong"]
    assert "\n" not in statement.text
    return f"{statement.about}: {statement.text}"


def test_a_clean_run_is_proven(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", str(clean), "--shards"])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("proven  ") for line in lines[:-1]), lines
    assert lines[0].endswith(
        "order: 3 whole epochs, 24 steps, 288 images: no gap, no sample twice in an epoch (of 100, 4 are left over), "
        "each in its place of the plan"
    )
    assert "records: every step is told of once, in order (3 epoch, 3 evaluation, 12 train)" in lines[1]
    assert "checkpoints: sound, all " in lines[2]
    assert sum("shards with the run's fingerprint" in line and "all " in line for line in lines) == 2
    assert lines[-2].endswith("interruptions: none; one start, 2 processes")
    assert lines[-1] == f"{clean}: all of it is proven up to step 24"


def test_an_interrupted_run_is_proven_and_the_cost_of_each_interruption_told(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["verify", str(interrupted), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["step"]) == ("proven", 160)
    by_name = {statement["about"]: statement["facts"] for statement in record["statements"]}
    assert by_name["interruptions"]["worlds"] == [2, 3, 1]
    killed, stopped = by_name["interruptions"]["interruptions"]
    assert (killed["world_before"], killed["world"]) == (2, 3)
    assert killed["went_on_from_step"] % 3 == 0
    assert killed["steps_again"] == killed["stopped_after_step"] - killed["went_on_from_step"] >= 0
    assert killed["images_again"] == 12 * killed["steps_again"]
    assert stopped["stopped_after_step"] == stopped["went_on_from_step"] >= 40
    assert stopped["steps_again"] == 0
    assert by_name["order"]["whole_epochs"] == 20
    assert "nothing lost" in text(verify_run(interrupted), "interruptions", "proven")


def ledger_file(folder: Path, rank: int = 0) -> Path:
    return folder / "ledger" / f"attempt-0001-rank-{rank:05d}.bin"


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path.write_bytes(change(np.fromfile(path, dtype=KIND)).tobytes())


def test_a_ledger_record_removed_is_named(copy: Path) -> None:
    rewrite(ledger_file(copy), lambda records: np.delete(records, 3 * 10 + 1))  # 3 slots a step: 0, 2, 4
    assert wrong(copy) == "order: step 11, slot 2 is missing"


def test_a_ledger_record_repeated_is_named_wherever_the_copy_stands(copy: Path) -> None:
    path = ledger_file(copy, rank=1)
    body = path.read_bytes()
    rewrite(path, lambda records: np.insert(records, 40, records[40]))
    assert wrong(copy) == "order: step 14, slot 3 is there more than once"
    path.write_bytes(body)
    rewrite(path, lambda records: np.append(records, records[:1]))
    assert wrong(copy) == (
        f"order: ledger/{path.name}: its steps are out of order; step 1, slot 1 is there more than once"
    )


def test_a_ledger_record_changed_is_named(copy: Path) -> None:
    planned = 0

    def change(records: np.ndarray) -> np.ndarray:
        nonlocal planned
        planned = int(records["sample_ids"][9, 1])
        records["sample_ids"][9, 1] = (planned + 1) % 100
        return records

    rewrite(ledger_file(copy), change)
    told = wrong(copy)
    assert told == f"order: step 4, slot 0 held sample {(planned + 1) % 100} where the plan has {planned}"


def test_two_micro_batches_exchanged_are_named_though_no_sample_is_lost(copy: Path) -> None:
    def exchange(records: np.ndarray) -> np.ndarray:
        records["sample_ids"][[0, 1]] = records["sample_ids"][[1, 0]]
        return records

    rewrite(ledger_file(copy), exchange)
    told = wrong(copy)
    assert told.startswith("order: step 1, slot 0 held sample ")
    assert "; step 1, slot 2 held sample " in told


def test_a_process_ledger_missing_or_foreign_is_named(copy: Path) -> None:
    shutil.copy(ledger_file(copy, 1), ledger_file(copy, 2))
    assert wrong(copy) == "order: ledger/attempt-0001-rank-00002.bin is of no process that environment.json knows"
    ledger_file(copy, 2).unlink()
    ledger_file(copy, 1).unlink()
    assert wrong(copy).startswith("order: step 1, slot 1 is missing; step 1, slot 3 is missing; ")
    assert wrong(copy).endswith("; and 67 more")  # 72 records of 24 steps, five told


def test_a_record_cut_short_beyond_the_checkpoint_is_no_fault(copy: Path) -> None:
    with ledger_file(copy).open("ab") as file:
        file.write(b"\x18\0\0\0")
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    verified = verify_run(copy)
    assert verified.verdict == "proven"
    assert "the last line was cut short by a kill" in text(verified, "records", "proven")


@pytest.mark.parametrize("kind", ["train", "epoch", "evaluation"])
def test_a_line_of_the_records_removed_is_named(copy: Path, kind: str) -> None:
    path = copy / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    for place in places:
        path.write_text("".join(lines[:place] + lines[place + 1 :]))
        step, told = json.loads(lines[place])["step"], wrong(copy)
        if kind == "train":
            assert told.startswith(f"records: metrics.jsonl: steps {step - 1} to {step} have no train record")
        else:
            assert told == f"records: metrics.jsonl: the {kind} record of step {step} is missing"


def replaced(lines: list[str], place: int, **values: object) -> list[str]:
    return [*lines[:place], json.dumps({**json.loads(lines[place]), **values}) + "\n", *lines[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: [*lines[:1], *lines], "line 2: train of step 2 comes after that of step 2"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "steps 1 to 2 have no train record"),
        (lambda lines: replaced(lines, 1, attempt=2), "line 2: train of step 4 is of attempt 2, not 1"),
        (lambda lines: replaced(lines, 1, images=47), "line 2: train of step 4 tells of 47 images"),
        (lambda lines: replaced(lines, 1, window_steps=3), "train of step 4 tells again of steps after 1"),
        (lambda lines: [*lines[:2], "{}\n", *lines[2:]], "line 3 is no record"),
        (lambda lines: replaced(lines, -1, step=10**9), "comes after"),
    ],
    ids=["repeated", "exchanged", "another attempt's", "images", "window", "no record", "step"],
)
def test_records_changed_are_named(copy: Path, change: Callable[[list[str]], list[str]], told: str) -> None:
    path = copy / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(lines)))
    if told == "comes after":
        told = "the evaluation record of step 24"
    assert told in wrong(copy)


def test_records_that_a_later_attempt_superseded_do_not_stand(copy: Path) -> None:
    """As a kill leaves them between the note of a new start and the clearing of the records."""
    path, environment = copy / "metrics.jsonl", json.loads((copy / "environment.json").read_text())
    lines = path.read_text().splitlines(keepends=True)
    later = [json.dumps({**json.loads(line), "step": 26, "attempt": 1}) + "\n" for line in lines[:1]]
    path.write_text("".join(lines + later))
    environment["attempts"].append({**environment["attempts"][0], "attempt": 2, "step": 24})
    (copy / "environment.json").write_text(json.dumps(environment))
    verified = verify_run(copy)
    assert verified.verdict == "proven"
    assert "1 more of steps trained again" in text(verified, "records", "proven")


def test_a_flipped_bit_of_a_checkpoint_is_named_and_the_rest_judged_by_the_one_before(copy: Path) -> None:
    newest = max((copy / "checkpoints").iterdir())
    body = bytearray((newest / "model.safetensors").read_bytes())
    body[-1] ^= 1
    (newest / "model.safetensors").write_bytes(body)
    assert (
        wrong(copy) == f"checkpoints: {newest}/model.safetensors: its sha256 is not the manifest's, so it was damaged"
    )
    assert verify_run(copy).last_step == 20


def test_no_checkpoint_proves_nothing(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    verified = verify_run(copy)
    assert verified.verdict == "open"
    assert text(verified, "checkpoints", "open") == "none yet, so nothing vouches for the ledger and the records"


@pytest.mark.parametrize("content", ["", "[]", '{"attempts": 3}'])
def test_a_damaged_environment_is_wrong(copy: Path, content: str) -> None:
    (copy / "environment.json").write_text(content)
    assert wrong(copy).startswith("environment: ")


@pytest.mark.parametrize("attempts", [3, [3], [{}], [{"attempt": 2, "step": 0, "world": 1, "started": "", "host": ""}]])
def test_attempts_that_are_none_are_wrong(copy: Path, attempts: object) -> None:
    record: dict[str, Any] = json.loads((copy / "environment.json").read_text())
    (copy / "environment.json").write_text(json.dumps({**record, "attempts": attempts}))
    assert wrong(copy).startswith("environment: environment.json: attempts: ")


def test_shards_that_moved_are_named_by_the_command_and_others_are_refused(
    copy: Path, shards: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(shards, tmp_path / "moved")
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(shards), str(tmp_path / "nowhere")))
    verified = verify_run(copy)
    assert verified.verdict == "open"
    assert "no gap, no sample twice in an epoch; that it is the plan's order cannot be said" in text(
        verified, "order", "open"
    )
    assert verify_run(copy, [f"data.shards={moved}"], hash_shards=True).verdict == "proven"
    tar = moved / "train" / "part-000002.tar"
    body = bytearray(tar.read_bytes())
    body[600] ^= 1
    tar.write_bytes(body)
    assert verify_run(copy, [f"data.shards={moved}"]).verdict == "proven", "by length alone nothing is seen"
    damaged = verify_run(copy, [f"data.shards={moved}"], hash_shards=True)
    assert f"{tar}: its sha256 is not the index's" in text(damaged, "shards", "wrong")
    (moved / "train").rename(moved / "real")
    shutil.copytree(moved / "test", moved / "train")
    other = verify_run(copy, [f"data.shards={moved}"])
    assert "train: fingerprint " in text(other, "shards", "wrong")


def test_exit_codes(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (
        (["verify", str(tmp_path)], EXIT_USER_ERROR),
        (["verify", str(copy), "optim.lr=3"], EXIT_USER_ERROR),
        (["verify", str(copy), "data.shards=/nowhere"], EXIT_FAULT),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == code
    assert capsys.readouterr().out.splitlines()[-1] == f"{copy}: nothing is wrong, but not all is proven"


@pytest.mark.parametrize("at_once", [1, 60, 10**6])
def test_the_order_is_compared_in_stretches_of_any_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Against ``Plan.sample_ids``, micro-batch by micro-batch, with shards shuffled a few at a time."""
    monkeypatch.setattr(order_module, "_IDS_AT_ONCE", at_once)
    plan = Plan((10, 3, 25, 7, 1, 14, 40), 5, MICRO, NUM_MICRO, 2)
    places = [(step, slot) for step in range(20) for slot in range(NUM_MICRO)]
    records = np.array([(step, slot, plan.sample_ids(step, slot)) for step, slot in places], dtype=KIND)
    (tmp_path / "attempt-0001-rank-00000.bin").write_bytes(records.tobytes())
    ledger = open_ledger(tmp_path, [Attempt(1, 0, 1, "", "")], MICRO)
    compared = compare(ledger, plan, 20, is_plan_known=True)
    assert (compared.faults.count, compared.whole_epochs, compared.num_records) == (0, 2, 120)
    records["sample_ids"][77, 0] += 1
    (tmp_path / "attempt-0001-rank-00000.bin").write_bytes(records.tobytes())
    compared = compare(open_ledger(tmp_path, [Attempt(1, 0, 1, "", "")], MICRO), plan, 20, is_plan_known=True)
    assert compared.wrong_epochs == [2]
    assert compared.faults.words.startswith("step 13, slot 5 held sample ")


def test_without_the_plan_a_sample_seen_twice_is_still_found(tmp_path: Path) -> None:
    plan = Plan((100,), 5, MICRO, NUM_MICRO, 1)
    places = [(step, slot) for step in range(8) for slot in range(NUM_MICRO)]
    records = np.array([(step, slot, plan.sample_ids(step, slot)) for step, slot in places], dtype=KIND)
    records["sample_ids"][3, 0] = records["sample_ids"][40, 1]
    (tmp_path / "attempt-0001-rank-00000.bin").write_bytes(records.tobytes())
    ledger = open_ledger(tmp_path, [Attempt(1, 0, 1, "", "")], MICRO)
    assert compare(ledger, plan, 8, is_plan_known=False).faults.words == "epoch 1: 1 samples were seen more than once"
    records["sample_ids"][3, 0] = 100
    (tmp_path / "attempt-0001-rank-00000.bin").write_bytes(records.tobytes())
    ledger = open_ledger(tmp_path, [Attempt(1, 0, 1, "", "")], MICRO)
    assert compare(ledger, plan, 8, is_plan_known=False).faults.words == "epoch 1: 1 ids are of no sample"
