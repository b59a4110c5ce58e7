"""The report of a run: one offline page, a pure function of the run directory."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from reportpage import EPOCHS, make_run, report, strip, write_records


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
        "metrics", "reconstructions", "progress", "loss", "evaluations", "sums", "speed", "attempts", "configuration",
        "reproduce",
    ]  # fmt: skip


def test_last_epochs_sum_provenance_and_choices_are_told(page):
    for fact in (
        "21,333.5", "fee1" * 16, "beef" * 16, "git checkout abc123", "aedist train c.yaml", "torch 2.14",
        "2026-01-02 01:04 UTC",
        "aedist train shapes_ae/config.yaml run.dir=again",
        "2 processes (cpu), node-a", "started once and never interrupted", "2 min 0 s",
    ):  # fmt: skip
        assert fact in page.text
    chosen = page.text.split("What differs from the defaults")[1].split("Every key")[0]
    assert "model.latent_dim 7 20" in chosen
    assert "optim.lr" not in chosen
    assert "optim.lr 0.001 Learning rate at its height." in page.text


def test_page_asks_for_nothing_but_itself(run_dir, page):
    """Every address is data within the page or a place in it; the page's policy names its scripts and forbids more."""
    assert page.all("link") == page.all("iframe") == []
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href", "action", "poster")
    ]
    assert len(addresses) >= 8, "pictures and markers are there"
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    whole = (run_dir / "report.html").read_text(encoding="utf-8")
    running = re.findall(r"<script>(.*?)</script>", whole, re.DOTALL)
    assert len(running) == 2, "the plotting library, and the page's own few lines"
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{one}'" for one in hashes))
    html = re.sub(r"<script.*?</script>", "", whole, flags=re.DOTALL)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    assert "http" not in re.sub(r'http-equiv|data:[^"]*', "", html)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; ")


def test_ids_are_unique_and_every_reference_finds_one(page, run_dir):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    html = (run_dir / "report.html").read_text(encoding="utf-8").split("<script")[0]
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


def test_names_cannot_become_markup(tmp_path, page):
    ours = page.all("script")
    page = report(make_run(tmp_path / "r", data_name="<script>alert(1)</script>\" onload='x' $a_b$"))
    assert page.all("script") == ours
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert "<script>alert(1)</script>\" onload='x' $a_b$" in page.text


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
    assert "learning rate" in page.text
    assert "norm of the gradient" in page.text
    assert len([row for row in page.all("div") if "data-row" in row]) == EPOCHS + 2, "three evaluations, two of samples"
    assert "Samples of the prior" not in report(make_run(tmp_path / "plain")).text
