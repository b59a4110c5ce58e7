"""The report of a run: one offline page, a pure function of the run directory, useful for half a run too."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from aedist.configfile import parse_config, to_yaml
from aedist.errors import UserError
from aedist.evaluation.verdicts.verdict import bottom_line, judge
from aedist.pictures import grid
from aedist.report import figures, pictures, write_report
from aedist.report.read import number, read_records, read_run, surviving
from aedist.report.settings import settings
from aedist.report.words import NOTHING, duration, planned_steps, significant
from fullrecord import autoencoder_record, variational_record

STEPS_PER_EPOCH = 100
EPOCHS = 3


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, and its text (styles left out)."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open, self.faults = [], [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def strip(path, brightness):
    """A picture of two images above their reconstructions, 2 pixels of frame around each as in a grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.full((2 * 8 + 6, 2 * 8 + 6), 255, np.uint8)
    for column in (2, 12):
        cells[2:10, column : column + 8] = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
        cells[12:20, column : column + 8] = brightness
    Image.fromarray(cells).save(path)


def train_record(step, attempt=1, loss=None):
    return {
        "kind": "train", "step": step, "images": step * 32, "epoch": step / STEPS_PER_EPOCH,
        "loss": 1000 / (step + 10) if loss is None else loss, "terms": {"squared_error": 1.0},
        "learning_rate": 0.001, "gradient_norm": 2.0, "images_per_second": 5000.0, "data_wait": 0.02,
        "skipped_steps": 0, "attempt": attempt,
    }  # fmt: skip


def make_run(folder, *, data_name="shapes", attempts=((1, 0),), evaluated=True):
    """A finished run of ``EPOCHS`` epochs, as train and evaluate leave it."""
    folder.mkdir(parents=True)
    config = parse_config(
        {"data": {"shards": "shards/x"}, "model": {"kind": "mlp", "latent_dim": 7}, "train": {"epochs": EPOCHS}}, "test"
    )
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    environment = {
        "run_id": "shapes-1",
        "data": {
            "name": data_name, "split": "train", "fingerprint": "fee1" * 16, "num_samples": STEPS_PER_EPOCH * 32 + 5,
            "classes": ["a"], "image_shape": [8, 8, 1],
        },
        "model": {"parameters": 12345},
        "attempts": [
            {
                "attempt": attempt, "step": step, "started": "2026-01-02T03:04:05+02:00", "world": 2, "device": "cpu",
                "host": "node-a", "versions": {"torch": "2.14"}, "git": "abc123", "command": "aedist train c.yaml",
            }
            for attempt, step in attempts
        ],
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    records = []
    for epoch in range(1, EPOCHS + 1):
        end = epoch * STEPS_PER_EPOCH
        records += [train_record(step) for step in range(end - 90, end + 1, 10)]
        head = {"step": end, "images": end * 32, "attempt": 1}
        records.append(
            {"kind": "epoch", "epoch": epoch, "sums": {"squared_error": 64000.5 / epoch}, "seconds": 40.0} | head
        )
        metrics = {"mse": 0.04 / epoch, "psnr": 14.0 + epoch, "ssim": 0.5 + epoch / 10}
        records.append(
            {"kind": "evaluation", "epoch": float(epoch), "split": "test", "num_images": 250, "metrics": metrics}
            | {"best": True} | head
        )  # fmt: skip
        strip(folder / "images" / "reconstructions" / f"step-{end:09d}.png", brightness=40 * epoch)
    write_records(folder, records)
    if evaluated:
        evaluation = {
            "run_id": "shapes-1", "step": EPOCHS * STEPS_PER_EPOCH, "images_seen": 9600, "checkpoint": "step-000000300",
            "data": {"name": data_name, "split": "test", "fingerprint": "beef" * 16, "num_images": 250},
            "definitions": {"mse": "Mean squared difference.", "psnr": "Peak signal to noise.", "ssim": "Likeness."},
            "metrics": {
                "mse": {"mean": 0.01, "std": 0.002, "min": 0.001, "median": 0.009, "max": 0.08},
                "psnr": {"mean": 20.125, "std": 1.5, "min": 11.0, "median": 20.5, "max": 30.25},
                "ssim": {"mean": 0.75, "std": 0.05, "min": -0.25, "median": 0.8, "max": 0.95},
            },
            "model": {"kind": "mlp", "parameters": 12345},
        }  # fmt: skip
        for name in ("worst", "best", "median", "reconstructions"):
            strip(folder / "evaluation" / f"{name}.png", brightness=90)
        path = folder / "evaluation" / "comprehensive_evaluation.json"
        path.write_text(json.dumps(evaluation), encoding="utf-8")
    return folder


def write_records(folder, records):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def report(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.faults == []
    assert page.open == [], "every tag is closed"
    return page


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "shapes_ae")


@pytest.fixture(scope="module")
def page(run_dir):
    return report(run_dir)


def test_summary_says_what_was_trained_for_how_long_and_how_well(page):
    lede = page.text.split("How well it reconstructs")[0]
    for fact in (
        "shapes_ae", "An MLP autoencoder of 12,345 parameters", "3,205 images of shapes (train)",
        "8 \N{MULTIPLICATION SIGN} 8 pixels in grey",
        "the 64 numbers of an image as 7, 9.1 times fewer",
        "3 epochs: 9,600 images in 300 steps of 32, in 2 min 0 s, at 5,000 images a second",
        "250 images of shapes (test)", "PSNR 20.12 dB", "off by 10.0 %",
    ):  # fmt: skip
        assert fact in lede
    assert "not finished" not in lede
    assert "is missing" not in lede


def test_metrics_table_gives_spread_unit_and_definition(page):
    table = page.text.split("How well it reconstructs")[1].split("Reconstructions at the end")[0]
    assert "Metric Mean Std Median Least Greatest" in table, "an older record has no quantiles"
    assert "SSIM 0.7500 0.0500 0.8000 \N{MINUS SIGN}0.2500 0.9500 No unit, at most 1; higher is better." in table
    assert "MSE 0.01000 0.00200 0.00900 0.00100 0.08000 Squared intensity, 0 to 1; lower is better." in table
    assert "PSNR dB" in table
    assert "How each is defined MSE Mean squared difference. PSNR Peak signal to noise. SSIM Likeness." in table


def test_sections_stand_in_their_order(page):
    assert [attributes["id"] for attributes in page.all("section")] == [
        "metrics", "reconstructions", "loss", "evaluations", "progress", "sums", "speed", "attempts", "configuration",
        "reproduce",
    ]  # fmt: skip


def test_last_epochs_sum_provenance_and_choices_are_told(page):
    for fact in (
        "21,333.5", "fee1" * 16, "beef" * 16, "git checkout abc123", "aedist train c.yaml", "torch 2.14",
        "2026-01-02 01:04 UTC", "2 processes (cpu), node-a", "started once and never interrupted", "2 min 0 s",
    ):  # fmt: skip
        assert fact in page.text
    chosen = page.text.split("What differs from the defaults")[1].split("Every key")[0]
    assert "model.latent_dim 7 20" in chosen
    assert "optim.lr" not in chosen
    assert "optim.lr 0.001 Learning rate at its height." in page.text


def test_page_asks_for_nothing_but_itself(run_dir, page):
    """Every address is data within the page or a place in it; nothing runs; the page's own policy forbids more."""
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href", "action", "poster")
    ]
    assert len(addresses) >= 8, "pictures and markers are there"
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    assert "http" not in re.sub(r'http-equiv|data:[^"]*', "", html)
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))


def test_ids_are_unique_and_every_reference_finds_one(page, run_dir):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)
    assert references
    assert {first or second for first, second in references} <= set(ids)


def test_same_run_gives_the_same_bytes_wherever_and_whenever(run_dir, page, tmp_path):
    """Another process, another place, another hash seed, a page already there: equal bytes."""
    there = tmp_path / "elsewhere" / run_dir.name
    shutil.copytree(run_dir, there)
    code = (
        "import sys; from pathlib import Path; from aedist.report import write_report; write_report(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, run_dir.name],
        check=True,
        cwd=there.parent,
        env=os.environ | {"PYTHONHASHSEED": "5"},
    )
    assert (there / "report.html").read_bytes() == (run_dir / "report.html").read_bytes()
    assert not list(there.glob("*.part"))


def test_report_does_not_import_torch():
    code = "import aedist.report, sys; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_revision_with_changes_is_told_as_such(tmp_path, page):
    folder = make_run(tmp_path / "r")
    path = folder / "environment.json"
    path.write_text(path.read_text(encoding="utf-8").replace("abc123", "abc123+"), encoding="utf-8")
    changed = report(folder)
    assert "git checkout abc123 aedist train" in changed.text
    assert "not quite that revision" in changed.text
    assert "not quite that revision" not in page.text


def test_names_cannot_become_markup(tmp_path):
    page = report(make_run(tmp_path / "r", data_name="<script>alert(1)</script>\" onload='x' $a_b$"))
    assert page.all("script") == []
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert "<script>alert(1)</script>\" onload='x' $a_b$" in page.text


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
    assert len(page.all("svg")) == 4, "loss and speed, each wide and narrow"


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


def test_strips_share_their_images_only_where_they_truly_do(run_dir, tmp_path):
    paths = sorted((run_dir / "images" / "reconstructions").iterdir())
    images = [pictures.load(path) for path in paths]
    upper, lowers = pictures.halve(images)
    assert np.array_equal(np.asarray(upper), np.asarray(images[0])[:11])
    assert [int(np.asarray(lower)[5, 5]) for lower in lowers] == [40, 80, 120]
    pixels = np.asarray(images[1]).copy()
    pixels[3, 3] ^= 1
    assert pictures.halve([images[0], Image.fromarray(pixels)]) is None
    assert pictures.halve(images[:1]) is None


def test_a_picture_much_wider_than_the_page_is_embedded_smaller():
    noise = np.random.default_rng(0).integers(0, 255, (500, 2200, 3), dtype=np.uint8)
    large, small = (pictures.picture(Image.fromarray(pixels)) for pixels in (noise, noise[:, :1400]))
    assert (large.width, large.height, large.enlarged) == (1440, 327, False)
    assert large.address.startswith("data:image/jpeg;base64,")
    assert (small.width, small.height) == (1400, 500)
    assert small.address.startswith("data:image/png;base64,"), "others keep their very pixels"


def test_the_pictures_of_the_evaluation_fold_at_the_gap_between_their_rows():
    """What ``aedist.pictures`` draws without a title: each half is one row of images, whole."""
    originals = np.full((3, 8, 8, 1), 200, np.uint8)
    pages = [grid([originals, np.full_like(originals, value)], ["original", "reconstruction"]) for value in (10, 20)]
    upper, lowers = pictures.halve(pages)
    enlarged = (np.asarray(lowers[1])[:, :, 0] == 20).sum()
    assert enlarged == (np.asarray(upper)[:, :, 0] == 200).sum() >= 3 * 64
    assert not (np.asarray(lowers[1])[:, :, 0] == 200).any()


def test_long_runs_show_a_bounded_number_of_strips_first_and_last_among_them():
    paths = [Path(f"step-{step:09d}.png") for step in range(1000)]
    chosen = pictures.spread(paths, 12)
    assert len(chosen) == 12
    assert (chosen[0], chosen[-1]) == (paths[0], paths[-1])
    assert chosen == sorted(set(chosen))


def test_curves_are_thinned_by_means_and_keep_their_area():
    points = [(float(x), float(x % 7)) for x in range(100_000)]
    thinned = figures.thin(points)
    assert len(thinned) == 1000
    assert thinned.mean(axis=0) == pytest.approx(np.array(points).mean(axis=0))
    assert figures.thin(points[:50]).tolist() == [list(point) for point in points[:50]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([50, 5], True), ([5, 4], False), ([50, 0], False), ([], False), ([float("nan"), 9], False)],
)
def test_axis_is_logarithmic_where_values_span_much(values, expected):
    assert figures.suits_log(values) is expected


def test_figures_take_the_pages_colours():
    svg = figures.draw("x", "what it shows", [figures.Panel("loss <a>", [(0, 1), (1, 0.5)], [(0.5, 0.7)])])
    assert "var(--line)" in svg
    assert "var(--dot)" in svg
    assert not re.search("#[0-9a-f]{6}", svg), "no colour that dark mode could not change"
    assert "loss &lt;a&gt;" in svg


def test_settings_tell_choices_from_defaults():
    found = {
        setting.key: setting
        for setting in settings({"data": {"shards": "s", "memory": 4 * 2**30}, "optim": {"lr": 0.1, "old": 1}})
    }
    assert not found["data.memory"].differs, "a size written as bytes is the default 4GiB"
    assert (found["optim.lr"].value, found["optim.lr"].default, found["optim.lr"].differs) == ("0.1", "0.001", True)
    assert found["data.shards"].default is None
    assert found["optim.old"].differs, "a key of another version is shown"


def test_planned_steps_leave_out_the_last_incomplete_batch(run_dir):
    assert planned_steps(read_run(run_dir)) == EPOCHS * STEPS_PER_EPOCH


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.04, "7.0 s"), (59.99, "1 min 0 s"), (61, "1 min 1 s"), (7261, "2 h 1 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_number_is_nan_where_there_is_none():
    assert number({"a": {"b": 2}}, "a", "b") == 2
    assert np.isnan(number({"a": 1}, "a", "b"))
    assert np.isnan(number({"a": None}, "a"))


def test_a_variational_run_shows_each_term_its_samples_and_the_uses_of_its_encodings(tmp_path):
    folder = make_run(tmp_path / "faces_vae")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["objective"] = {"squared_error": 1.0, "kl": 0.5, "lpips_net": "alex", "kl_warmup_images": 7}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        for group, value in (("terms", 30.0), ("sums", 3000.0)):
            if group in record:
                record[group] |= {"kl": value, "rate": value}
    write_records(folder, records)
    for step in (100, 200):
        strip(folder / "images" / "samples" / f"step-{step:09d}.png", brightness=step)
    for name, record in (("sample-2", {"verb": "measure", "verdict": "it <works>"}), ("wears", {"verb": "arithmetic"})):
        strip(folder / "explore" / f"{name}.png", brightness=9)
        (folder / "explore" / f"{name}.json").write_text(json.dumps(record))
    strip(folder / "explore" / "arithmetic-3.png", brightness=9)
    page = report(folder)
    for title in ("loss of an image", "squared error (weight 1)", "kl (weight 0.5)", "rate (watched)"):
        assert title in page.text
    assert "Samples of the prior, from the same noise as training went on" in page.text
    told = "Images without an attribute, with its vector added, beside their true partners. It <works>."
    assert f"sample-2: {told}" in page.text, "the record tells what was done, not the name"
    assert "wears: Mean encodings of groups of images, added and subtracted." in page.text
    assert "arithmetic-3: Mean" not in page.text, "a picture without a record has its name alone"
    assert "Samples of the prior" not in report(make_run(tmp_path / "plain")).text


def full_report(folder, record, pictures=()):
    """The page of a run with this full evaluation, judged, and with these pictures; without curves, which take long."""
    make_run(folder)
    write_records(folder, [])
    record["verdicts"] = judge(record)
    record["bottom_line"] = bottom_line(record, record["verdicts"])
    (folder / "evaluation" / "comprehensive_evaluation.json").write_text(json.dumps(record), encoding="utf-8")
    for name in pictures:
        strip(folder / "evaluation" / f"{name}.png", brightness=90)
    return report(folder)


def section(page, title, following):
    return page.text.split(f" {title} ", 1)[1].split(f" {following} ", 1)[0]


PICTURES = ("errors", "histograms", "kl", "latents", "samples_prior", "samples_mixture")


def test_a_full_evaluation_is_shown_in_all_its_parts_in_order(tmp_path):
    page = full_report(tmp_path / "r", autoencoder_record(), PICTURES)
    assert [attributes["id"] for attributes in page.all("section")] == [
        "verdict", "metrics", "sets", "latents", "reconstructions", "loss", "evaluations", "progress", "sums", "speed",
        "attempts", "configuration", "reproduce",
    ]  # fmt: skip
    verdict = section(page, "The bottom line", "How well it reconstructs")
    assert verdict.startswith("The autoencoder reconstructs well: good by PSNR, SSIM and LPIPS.")
    assert "PSNR 20.82 dB good good from 20 dB A pixel is off by 10.1 %" in verdict
    assert "To try:" in verdict
    metrics = section(page, "How well it reconstructs", "How its images look as a set")
    assert "Metric Mean Std 95 % of the mean Median 5 % 95 %" in metrics
    assert "PSNR dB 20.82 2.10 20.78 to 20.86 20.82 17.37 24.27 Higher is better." in metrics
    assert "This model 0.01024 0.03312 20.82 0.8762 0.0611 PCA-20 0.02196 0.07122 16.94 0.7012 0.1702" in metrics
    assert "JPEG needs 5.0 times the bytes at its lowest quality for every image." in metrics
    sets = section(page, "How its images look as a set", "What an encoding holds")
    assert "Distances from the first 10,000 originals of mnist/test" in sets
    assert "Samples of a mixture 33.90 0.03020 \N{PLUS-MINUS SIGN} 0.00151 0.550 0.640 10,000" in sets
    latents = section(page, "What an encoding holds", "Reconstructions at the end")
    assert (
        "Active numbers 20 of 20 (100.0 %) Mean activation 0.7943 Total variance 112.5 Effective rank 17.31" in latents
    )
    assert "90.3 % right (95 % interval 89.8 % to 90.9 %), by the commonest class alone 11.3 %" in latents.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    for part, caption in (
        (metrics, "How each metric is spread"),
        (latents, "What the KL"),
        (sets, "draws from the prior"),
    ):
        assert caption in part, "pictures stand beside their numbers"
    assert "Where the errors are" in section(page, "Reconstructions at the end", "Training loss")
    assert page.text.count("above their reconstructions.") == 3


def test_the_best_of_a_column_is_bold_but_no_codec_that_took_more_bytes(tmp_path):
    """The fake JPEG has the smallest error, in five times the bytes."""
    full_report(tmp_path / "r", autoencoder_record())
    html = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert '<td class="n best">0.01024</td>' in html
    assert '<td class="n">0.00610</td>' in html
    assert html.count('"n best"') == 5


def test_the_quality_is_told_once_at_the_head(tmp_path):
    """With a bottom line, the opening paragraph leaves the quality to it."""
    head = full_report(tmp_path / "r", autoencoder_record()).text.split("The bottom line")[0]
    assert "PSNR" not in head
    assert "as 20, 3.2 times fewer" in head, "the record's count of numbers"


def test_the_same_advice_stands_once_and_its_keys_are_code(tmp_path):
    folder = tmp_path / "r"
    page = full_report(folder, variational_record())
    verdicts = page.text.split("Measure Value")[1].split("What the words mean")[0]
    assert verdicts.count("a sharper likelihood") == 1
    assert "<code>objective.squared_error=4</code>;" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_vae_without_networks_tells_what_is_missing_and_how_to_get_it(tmp_path):
    page = full_report(tmp_path / "r", variational_record(), ("kl",))
    assert "sets" not in [attributes["id"] for attributes in page.all("section")]
    missing = section(page, "What is missing", "Training loss:")
    assert "FID Its weights are not in the cache. To have it: aedist fetch fid , then evaluate again." in missing
    assert "On 1,000 images the model loses to PCA: its error is 0.0129 larger" in page.text
    latents = section(page, "What an encoding holds", "Reconstructions at the end")
    assert "Active units 9 of 20 (45.0 %)" in latents.replace("\N{NO-BREAK SPACE}", " ")
    assert "Aggregate posterior to the prior 9.300 nats" in latents
    assert "Linear probe of the classes the images have no classes" in latents


def test_flags_of_sets_say_whose_they_are(tmp_path):
    record = autoencoder_record(1000)
    record["distributions"]["mixture"]["flags"].append("features are not finite")
    page = full_report(tmp_path / "r", record)
    sets = section(page, "How its images look as a set", "What an encoding holds")
    assert sets.count("The covariance of so few images is singular") == 1
    assert "Samples of a mixture: features are not finite." in sets
    assert "FID of reconstructions 21.40 no word" in page.text


def test_a_full_evaluation_of_no_image_and_of_unknown_parts_is_a_page(tmp_path):
    """All metrics null, distances null, latents null, a kind of set and a number that this version does not know."""
    record = autoencoder_record(0)
    record["metrics"] = {name: dict.fromkeys(values) for name, values in record["metrics"].items()}
    record["distributions"]["flow"] = {"fid": None, "kid": None, "flags": None, "words": None}
    record["baselines"]["pca"]["metrics"] = None
    record["latents"] = {"made_up": {"by_hand": 3}, "probe": None}
    page = full_report(tmp_path / "r", record)
    assert f"PSNR dB {' '.join([NOTHING] * 6)} Higher is better." in page.text
    assert f"flow {NOTHING} {NOTHING} {NOTHING} {NOTHING} {NOTHING}" in page.text
    assert "Made up, by hand 3" in page.text


def test_names_of_a_record_cannot_become_markup(tmp_path):
    record = autoencoder_record()
    evil = "<script>alert(1)</script>"
    record["distributions"]["mixture"]["words"] = record["baselines"]["pca"]["note"] = evil
    record["warnings"], record["missing"] = [f"model.{evil}"], {evil: {"reason": evil, "fix": evil}}
    record["latents"][evil] = 1
    assert full_report(tmp_path / "r", record).all("script") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7943, "0.794"), (112.4758, "112"), (0, "0.00"), (0.01234, "0.0123"), (2e-6, "2.00e\N{MINUS SIGN}06"),
        (1234.5, "1,234"),
    ],
)  # fmt: skip
def test_numbers_keep_the_digits_that_mean_something(value, text):
    assert significant(value) == text
