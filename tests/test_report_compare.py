"""Several runs on one page: where they differ first, the best of what can be compared, the same images side by side."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from aedist.errors import UserError
from aedist.report import write_comparison
from aedist.report.compare import default_path
from reportpage import Page, make_run, strip, write_records


def change(run, **keys):
    """Set keys of a run's configuration, ``section__name``."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in keys.items():
        section, name = key.split("__")
        config[section][name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def change_evaluation(run, change_it):
    path = run / "evaluation" / "comprehensive_evaluation.json"
    record = json.loads(path.read_text())
    change_it(record)
    path.write_text(json.dumps(record))


def compared(folders, out=None):
    path = write_comparison(folders, out)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.faults == []
    assert page.open == []
    return page


@pytest.fixture
def pair(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("plain", "wide")]
    change(runs[1], model__hidden_dim=400, run__dir="elsewhere")
    change_evaluation(runs[1], lambda record: record["metrics"]["psnr"].update(mean=21.5))
    return runs


def test_what_differs_stands_first_and_nothing_else_does(pair):
    page = compared(pair)
    assert page.all("section")[0]["id"] == "differences"
    table = page.text.split("Where their configurations differ")[1].split("What they are")[0]
    assert table.split() == ["Key", "plain", "wide", "model.hidden_dim", "200", "400"], "not run.dir, and no other key"


def test_the_best_of_each_column_is_marked(pair):
    assert "below FID and KID" not in compared(pair).text, "there are none"
    html = default_path(pair).read_text(encoding="utf-8")
    assert '<td class="n best">21.50</td>' in html
    assert '<td class="n">20.12</td>' in html
    assert html.count('<td class="n best">0.01000</td>') == 2, "equals are both the best"


def test_runs_judged_on_other_images_have_no_best(pair):
    change_evaluation(pair[1], lambda record: record["data"].update(fingerprint="0" * 64))
    page = compared(pair)
    assert "They were not judged on the same images, so their numbers are not to be compared" in page.text
    assert '"n best"' not in default_path(pair).read_text(encoding="utf-8")


def test_fid_of_other_numbers_of_images_has_no_best(pair):
    for run, number, fid in zip(pair, (100, 500), (60.0, 30.0), strict=True):
        block = {"reconstructions": {"fid": fid, "kid": {"mean": 0.1, "std": 0.1}, "num_images": number}}
        change_evaluation(run, lambda record, block=block: record.update(distributions=block))
    page = compared(pair)
    assert '<td class="n best">30.00' not in default_path(pair).read_text(encoding="utf-8")
    assert "below FID and KID the number of images" in page.text
    assert "30.00 N = 500" in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_same_images_stand_once_above_a_row_a_run(pair):
    page = compared(pair)
    shown = [image["alt"] for image in page.all("img")]
    assert shown == ["The images themselves", "Reconstructions of plain", "Reconstructions of wide"]
    paths = sorted((pair[1] / "images" / "reconstructions").iterdir())
    Image.fromarray(np.zeros((22, 22), np.uint8)).save(paths[-1])
    assert "The images themselves" not in [image["alt"] for image in compared(pair).all("img")], "of other images, each"


def test_pictures_that_both_have_stand_beside_each_other(pair):
    for run in pair:
        strip(run / "evaluation" / "latents.png", brightness=9)
    strip(pair[0] / "evaluation" / "kl.png", brightness=9)
    page = compared(pair)
    assert "The encodings in two dimensions" in page.text
    assert "What the KL is spent on" not in page.text


def test_curves_lie_over_each_other_with_a_name_and_a_colour_each(pair):
    page = compared(pair)
    colours = {span["style"] for span in page.all("i")}
    assert colours == {"--swatch: #0072b2", "--swatch: #d55e00"}
    assert len(page.all("svg")) == 4, "loss, what training went by, evaluations, speed"


def test_it_is_written_beside_the_runs_or_where_it_is_told(pair, tmp_path):
    assert default_path(pair) == tmp_path / "compare-plain-wide.html"
    deeper = make_run(tmp_path / "more" / "plain")
    assert default_path([pair[0], deeper]) == tmp_path / "compare-plain-plain.html"
    assert "plain and more/plain" in compared([pair[0], deeper]).text, "runs of one name have their folders' too"
    out = tmp_path / "new" / "page.html"
    assert write_comparison(pair, out) == out
    assert len(default_path([tmp_path / f"run-{number:03d}" for number in range(40)]).name) < 60


def test_the_same_runs_give_the_same_bytes(pair, tmp_path):
    first = write_comparison(pair).read_bytes()
    there = tmp_path / "there"
    for run in pair:
        shutil.copytree(run, there / run.name)
    words = ["report", "plain", "wide"]
    subprocess.run([sys.executable, "-m", "aedist", *words], check=True, cwd=there, env={"PYTHONHASHSEED": "7"})
    assert (there / "compare-plain-wide.html").read_bytes() == first


def test_runs_without_anything_are_compared_too(pair):
    for run in pair:
        write_records(run, [])
        shutil.rmtree(run / "evaluation")
        shutil.rmtree(run / "images")
    page = compared(pair)
    assert "Nothing has been measured yet" in page.text
    assert page.all("svg") == page.all("img") == []


def test_a_run_beside_itself_and_what_is_no_run_are_refused(pair, tmp_path):
    with pytest.raises(UserError, match="is named twice, and a run is not compared with itself; name each run once"):
        write_comparison([pair[0], pair[0] / ".." / "plain"])
    with pytest.raises(UserError, match="name a folder that 'aedist train' wrote"):
        write_comparison([pair[0], tmp_path])
    with pytest.raises(UserError, match="--out"):
        write_comparison(pair, pair[0] / "config.yaml" / "page.html")


def test_names_cannot_become_markup(pair, tmp_path):
    evil = tmp_path / "<script>alert(1)<"
    pair[1].rename(evil)
    html = write_comparison([pair[0], evil]).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
