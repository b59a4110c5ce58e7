"""The report of half a run, of damaged files, of a run that was interrupted: useful, and it says what is amiss."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from aedist.errors import UserError
from aedist.evaluation.record import FORMAT
from aedist.report import write_report
from aedist.report.read import EVALUATION_FORMAT, read_records, read_run, surviving
from reportpage import make_run, report, train_record, write_records


def test_run_that_is_not_evaluated_says_so_and_shows_the_last_evaluation(tmp_path):
    page = report(make_run(tmp_path / "r", evaluated=False))
    assert "full evaluation has not been run; 'aedist evaluate' writes it" in page.text
    assert "PSNR dB 17.00 Higher is better." in page.text
    assert "Images above their reconstructions at epoch 3." in page.text


def test_run_that_has_only_begun_is_still_a_page(tmp_path):
    """Only config.yaml: every part stands and says what is missing."""
    folder = make_run(tmp_path / "r")
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "config.yaml":
            path.unlink()
    page = report(folder)
    assert len(page.all("section")) == 10
    assert page.all("svg") == page.all("img") == []
    for fact in (
        "environment.json is missing", "nothing was trained yet", "comprehensive_evaluation.json is missing",
        "no recorded step yet", "has not been measured yet", "holds no training record", "No epoch is finished yet",
    ):  # fmt: skip
        assert fact in page.text


def test_run_in_its_first_epoch_says_how_far_it_is(tmp_path):
    folder = make_run(tmp_path / "r", evaluated=False)
    shutil.rmtree(folder / "images")
    write_records(folder, [train_record(30)])
    page = report(folder)
    assert "It is not finished: 10.0 % of the way, it has seen 0.30 epochs" in page.text
    assert len(page.all("svg")) == 3, "the loss, what training went by, and speed"


def test_an_evaluation_of_an_earlier_form_is_told_as_such(tmp_path):
    assert EVALUATION_FORMAT == FORMAT, "what the page was made for is what is written"
    folder = make_run(tmp_path / "r")
    path = folder / "evaluation" / "comprehensive_evaluation.json"
    assert "another version of aedist" not in report(folder).text
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT - 1}))
    assert "written by another version of aedist" in report(folder).text


def test_damaged_pieces_are_told_and_the_rest_is_shown(tmp_path):
    folder = make_run(tmp_path / "r")
    (folder / "evaluation" / "best.png").write_bytes((folder / "evaluation" / "best.png").read_bytes()[:60])
    (folder / "images" / "reconstructions" / "step-000000200.png").write_bytes(b"")
    (folder / "evaluation" / "comprehensive_evaluation.json").write_text("[1", encoding="utf-8")
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind":"train","step":310,"lo')
    page = report(folder)
    assert "best.png is damaged and cannot be shown." in page.text
    assert "comprehensive_evaluation.json is damaged" in page.text
    assert "metrics.jsonl: 1 line could not be read" in page.text
    assert "300 steps" in page.text


def test_skipped_steps_are_told_with_their_first_cause(tmp_path):
    folder = make_run(tmp_path / "r")
    records, _ = read_records(folder / "metrics.jsonl")
    records += [
        {"kind": "skipped", "step": step, "term": "squared_error", "value": "inf", "slot": slot}
        for step, slot in ((1250, 3), (1250, 4), (1260, 0))
    ]
    write_records(folder, records)
    page = report(folder)
    assert "2 steps skipped, as a loss was not finite; the first: step 1,250, squared_error was inf in" in page.text


def test_losses_that_are_not_finite_leave_a_gap(tmp_path):
    folder = make_run(tmp_path / "r")
    records, _ = read_records(folder / "metrics.jsonl")
    records[4]["loss"], records[5]["loss"], records[6]["gradient_norm"] = None, float("nan"), float("inf")
    write_records(folder, records)
    page = report(folder)
    assert "Training loss" in page.text
    assert "nan" not in " ".join(attributes["d"] for attributes in page.all("path"))


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch], ids=["nothing", "empty folder", "file"])
def test_what_is_no_run_directory_is_refused_in_one_line(tmp_path, make):
    make(tmp_path / "r")
    with pytest.raises(UserError, match=r"name a folder that 'aedist train' wrote") as caught:
        write_report(tmp_path / "r")
    assert str(tmp_path / "r") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- 1\n", "run: 3\n", "a: [\n"])
def test_config_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml"):
        write_report(tmp_path)


def test_steps_trained_again_count_once(tmp_path):
    """Two interruptions: of every step the last attempt's record stays, in order, and the page tells."""
    folder = make_run(tmp_path / "r", attempts=((1, 0), (2, 20), (3, 40)))
    trained = {1: (10, 20, 30), 2: (30, 40, 50), 3: (50, 60)}
    write_records(folder, [train_record(step, attempt) for attempt, steps in trained.items() for step in steps])
    run = read_run(folder)
    assert [(r["step"], r["attempt"]) for r in run.train] == [(10, 1), (20, 1), (30, 2), (40, 2), (50, 3), (60, 3)]
    assert run.num_superseded == 2
    page = report(folder)
    assert "started 3 times" in page.text
    assert "Left out: 2 records of steps that were trained again" in page.text


def test_attempt_without_records_supersedes_too():
    """Started again at step 20 and killed at once: what came after 20 was not kept."""
    records = [train_record(step) for step in (10, 20, 30)]
    assert [record["step"] for record in surviving(records, {1: 0, 2: 20})] == [10, 20]


def test_pictures_of_superseded_steps_are_not_shown(tmp_path):
    folder = make_run(tmp_path / "r", attempts=((1, 0), (2, 200)), evaluated=False)
    page = report(folder)
    assert "epoch 2" in [attributes["alt"].removeprefix("Reconstructions at ") for attributes in page.all("img")]
    assert not any("300" in attributes["alt"] or "epoch 3" in attributes["alt"] for attributes in page.all("img"))


@pytest.mark.parametrize(
    "line", ["", "7", "null", '{"kind":"train"}', '{"kind":3,"step":1}', '{"step":true}', "\ufffd"]
)
def test_line_that_is_no_record_is_counted_and_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{json.dumps(train_record(1))}\n{line}\n{json.dumps(train_record(2))}", encoding="utf-8")
    records, num_unreadable = read_records(path)
    assert [record["step"] for record in records] == [1, 2]
    assert num_unreadable == (1 if line else 0)


def ledger(folder, attempt, steps, micro=32):
    """What one process of an attempt notes of so many steps, its last record cut short by a kill."""
    kind = np.dtype([("step", "<i8"), ("slot", "<i8"), ("sample_ids", "<i8", (micro,))])
    records = np.zeros(len(steps), kind)
    records["step"] = steps
    folder.mkdir(exist_ok=True)
    (folder / f"attempt-{attempt:04d}-rank-00000.bin").write_bytes(records.tobytes() + b"cut short")


def test_what_each_interruption_cost_is_told(tmp_path):
    """Killed after step 25 and on from 20; stopped at 40 and on from there; a third whose ledger is gone."""
    folder = make_run(tmp_path / "r", attempts=((1, 0), (2, 20), (3, 40)))
    ledger(folder / "ledger", 1, range(25))
    ledger(folder / "ledger", 2, range(20, 40))
    write_records(folder, [train_record(step) for step in (10, 20)])
    page = report(folder)
    assert "Trained again: 5 steps, 160 images, about 0.0 s." in page.text.replace("\N{NO-BREAK SPACE}", " ")
    table = page.text.split("Start From step On At Trained again")[1].split("Configuration")[0]
    costs = [row.split("3 40")[0].split("2 20")[0].strip() for row in table.split("2026-01-02 01:04 UTC")[1:]]
    assert costs[0] == "", "the first start cost nothing"
    assert costs[1].startswith("5 steps, 160 images")
    assert costs[2].startswith("nothing")
    (folder / "ledger" / "attempt-0002-rank-00000.bin").unlink()
    assert "not known: its ledger is missing" in report(folder).text


def test_each_process_has_its_speed_wait_and_memory(tmp_path):
    """The first start on two processes, the second on three; of very many, the least, the middle and the greatest."""
    folder = make_run(tmp_path / "r", attempts=((1, 0), (2, 20)))

    def ranks(number):
        return {"images_per_second": [100.0 + n for n in range(number)], "data_wait": [0.1] * number,
                "memory_bytes": [2**30] * number}  # fmt: skip

    told = [train_record(20) | {"ranks": ranks(2)}, train_record(40, attempt=2) | {"ranks": ranks(3)}]
    write_records(folder, told)
    text = report(folder).text
    assert "process 0 process 1 process 2" in text
    assert "memory (GiB)" in text
    write_records(folder, [told[0] | {"ranks": ranks(64)}])
    text = report(folder).text
    assert "least middle greatest" in text
    assert "process 0" not in text
    write_records(folder, [told[0] | {"ranks": ranks(1)}])
    assert "memory (GiB)" not in report(folder).text, "one process alone is the whole"
