"""A full evaluation on the page: verdicts, metrics, baselines, sets, encodings, what is missing."""

import json

from aedist.evaluation.verdicts.verdict import bottom_line, judge
from aedist.report.words import NOTHING
from fullrecord import autoencoder_record, variational_record
from reportpage import make_run, report, strip, write_records

PICTURES = ("errors", "histograms", "kl", "latents", "samples_prior", "samples_mixture")


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


def test_a_full_evaluation_is_shown_in_all_its_parts_in_order(tmp_path):
    page = full_report(tmp_path / "r", autoencoder_record(), PICTURES)
    assert [attributes["id"] for attributes in page.all("section")] == [
        "verdict", "metrics", "sets", "latents", "reconstructions", "progress", "loss", "evaluations", "sums", "speed",
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
    assert "Where the errors are" in section(page, "Reconstructions at the end", "The same images as")
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
    missing = section(page, "What is missing", "The same images as")
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
    assert full_report(tmp_path / "r", record).all("script") == [{}], "the page's own alone"
