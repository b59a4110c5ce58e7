"""Verdicts are a pure function of the record: the notebook's words for its numbers, and no word where none is due."""

import copy
import json
import math
import re

import pytest

from aedist.config import describe_keys
from aedist.evaluation.verdicts.scales import SCALES, WORDS
from aedist.evaluation.verdicts.verdict import bottom_line, judge
from fullrecord import autoencoder_record, spread, variational_record


def words(record):
    return {verdict["metric"]: verdict["word"] for verdict in judge(record)}


def notebook_record():
    """What the notebook printed of its convolutional autoencoder, on enough images that FID is judged."""
    means = {"mse": 0.034936, "psnr": 15.88, "ssim": 0.6263, "lpips": 0.2202}
    return {
        "metrics": {name: spread(mean, mean / 10) for name, mean in means.items()},
        "model": {"kind": "conv", "latent_dim": 512},
        "distributions": {"reconstructions": {"num_images": 10_000, "fid": 99.37, "kid": {"mean": None, "std": None}}},
        "latents": {"dimensions": 512, "active_dimensions": 368},
    }


def test_the_notebooks_numbers_get_the_notebooks_words():
    assert words(notebook_record()) == {
        "mse": "decent", "psnr": "poor", "ssim": "poor", "lpips": "poor", "fid": "very poor",
        "active_dimensions": "decent",
    }  # fmt: skip
    thresholds = {verdict["metric"]: verdict["threshold"] for verdict in judge(notebook_record())}
    assert thresholds["psnr"] == "good from 20 dB"
    assert (thresholds["ssim"], thresholds["lpips"], thresholds["fid"]) == (
        "good from 0.8", "good below 0.1", "good below 50",
    )  # fmt: skip


@pytest.mark.parametrize("name", SCALES)
def test_a_scale_has_every_word_in_order_and_begins_good_at_its_threshold(name):
    scale = SCALES[name]
    rises = scale.bounds[0] < scale.bounds[-1]
    assert list(scale.bounds) == sorted(scale.bounds, reverse=not rises)
    worst, best = (-math.inf, math.inf) if rises else (math.inf, -math.inf)
    assert (scale.level(worst), scale.level(best)) == (0, 4)
    good = scale.bounds[2]
    nearly, just = math.nextafter(good, worst), math.nextafter(good, best)
    assert WORDS[scale.level(nearly)] == "decent"
    assert WORDS[scale.level(just)] == "good"
    assert f"{good:g}" in scale.threshold


def test_every_verdict_is_whole_and_advice_is_given_exactly_where_it_is_not_good():
    for record in (autoencoder_record(), variational_record(), notebook_record()):
        found = judge(record)
        assert found
        for verdict in found:
            assert list(verdict) == ["metric", "label", "value", "unit", "word", "threshold", "reason", "next"]
            assert verdict["word"] in WORDS
            assert verdict["reason"].endswith(".")
            assert (verdict["next"] is None) == (verdict["word"] in ("good", "very good"))
        json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("kind", ["mlp", "conv", "vae", "residual"])
def test_the_keys_that_advice_names_are_keys_of_the_configuration(kind):
    record = variational_record()
    record["model"] = {"kind": kind, "hidden_dim": 200, "latent_dim": 20, "blocks": 1, "posterior": "point"}
    record["metrics"] = {name: spread(0, 1) for name in ("psnr", "ssim")}
    record["distributions"] = {
        set_: {"num_images": 5000, "fid": fid, "kid": {"mean": 0.5, "std": 0.0}}
        for set_, fid in (("reconstructions", 10), ("mixture", 300))
    }
    record["latents"]["probe"] = {"accuracy": 0.1, "chance": 0.1}
    for units in (2, None):
        record["latents"] |= {"active_units": units, "active_dimensions": 2}
        advice = " ".join(verdict["next"] or "" for verdict in judge(record))
        named = re.findall(r"\b((?:batch|data|model|objective|optim|train|evaluate)\.[a-z_]+)", advice)
        assert len(named) > 5
        known = {name for of in ("mlp", "conv", "vae", "residual") for name, _, _ in describe_keys(of)}
        assert set(named) <= known


def test_fid_of_few_images_gets_no_word_and_kid_does():
    record = autoencoder_record(2000)
    found = {verdict["metric"]: verdict for verdict in judge(record)}
    assert found["fid"]["word"] is None
    assert found["fid"]["value"] == 21.4
    assert "2,000 images FID is biased upwards" in found["fid"]["reason"]
    assert found["kid"]["word"] == "good"
    assert "by KID" in bottom_line(record, judge(record))
    assert "by FID" not in bottom_line(record, judge(record))


def test_kid_of_hardly_any_images_gets_no_word():
    record = autoencoder_record(99)
    assert {verdict["word"] for verdict in judge(record) if verdict["metric"].startswith("kid")} == {None}
    assert "KID" not in bottom_line(record, judge(record))


def test_what_limits_samples_is_told_by_the_distance_that_is_judged():
    """FID of few images is nearly as large for either set, which would put the blame on the decoder."""
    record = autoencoder_record(2000)
    kid = {kind: record["distributions"][kind]["kid"]["mean"] for kind in ("reconstructions", "mixture")}
    (told,) = (verdict["reason"] for verdict in judge(record) if verdict["metric"] == "kid_of_samples")
    assert f"{kid['mixture'] / kid['reconstructions']:.1f} times that of the reconstructions" in told


def test_a_model_that_loses_to_pca_is_told_so_and_one_that_loses_to_the_mean_image_too():
    record = variational_record()
    verdict = judge(record)[0]
    assert (verdict["metric"], verdict["word"]) == ("mse_to_pca", "poor")
    assert "0.03490 against 0.02196 of PCA with 20 components: it loses" in verdict["reason"]
    assert "It loses to PCA" in bottom_line(record, judge(record))
    record["metrics"]["mse"]["mean"] = 0.07
    assert judge(record)[0]["word"] == "very poor"
    assert "0.06730 of the mean image: nothing is learnt" in judge(record)[0]["reason"]
    record["metrics"]["mse"]["mean"] = 0.01
    assert judge(record)[0]["word"] == "very good"
    assert "PCA with as many numbers makes 2.2 times its squared error" in bottom_line(record, judge(record))


def test_a_difference_from_pca_that_could_be_chance_is_told_so():
    record = autoencoder_record()
    assert "chance" not in judge(record)[0]["reason"]
    record["baselines"]["pca"]["model_minus_pca"]["interval"] = [-0.001, 0.0002]
    assert "the difference could be chance" in judge(record)[0]["reason"]
    told = "Whether it is better or worse than PCA with as many numbers, these images do not tell."
    assert told in bottom_line(record, judge(record))
    record["baselines"]["pca"]["model_minus_pca"]["interval"] = None  # as of one image
    assert told in bottom_line(record, judge(record))


def test_samples_are_judged_by_the_best_density_and_what_limits_them_is_named():
    record = autoencoder_record()
    found = {verdict["metric"]: verdict for verdict in judge(record)}
    assert found["fid_of_samples"]["value"] == 33.9
    assert found["fid_of_samples"]["label"] == "FID of samples, mixture"
    assert "so the decoder limits them" in found["fid_of_samples"]["reason"]
    record["distributions"]["reconstructions"]["fid"] = 5.0
    found = {verdict["metric"]: verdict for verdict in judge(record)}
    assert "6.8 times that of the reconstructions, so what is drawn limits" in found["fid_of_samples"]["reason"]


def test_grey_images_are_told_to_be_strange_to_the_network_of_fid_and_coloured_ones_are_not():
    record = autoencoder_record()
    told = "trained on photographs, not on grey images"
    assert sum(told in verdict["reason"] for verdict in judge(record)) == 1
    record["data"]["image_shape"] = [64, 64, 3]
    assert not any(told in verdict["reason"] for verdict in judge(record))


def test_the_gap_to_the_prior_is_what_is_beyond_chance():
    record = variational_record()
    record["latents"]["prior_gap"] |= {"nats": 1.0, "nats_by_chance": 1.1}
    found = {verdict["metric"]: verdict for verdict in judge(record)}
    assert (found["prior_gap"]["value"], found["prior_gap"]["word"]) == (0, "very good")
    record["latents"]["prior_gap"] |= {"nats": 15.8, "nats_by_chance": 23.0}
    (found,) = (verdict for verdict in judge(record) if verdict["metric"] == "prior_gap")
    assert (found["word"], found["next"]) == (None, None)
    assert "nats a number of so few images: no word" in found["reason"]


def test_the_threshold_of_the_probe_depends_on_chance():
    record = autoencoder_record()
    record["latents"]["probe"] |= {"accuracy": 0.79, "chance": 0.5}
    verdict = judge(record)[-1]
    assert (verdict["metric"], verdict["word"], verdict["threshold"]) == ("probe", "decent", "good from 80 %")


def test_an_encoding_of_a_vae_is_judged_by_its_active_units():
    assert words(variational_record())["active_units"] == "decent"
    assert "active_dimensions" not in words(variational_record())


def test_what_is_missing_is_said_and_what_was_not_measured_is_left_out():
    record = variational_record()
    assert not {"lpips", "fid", "kid", "probe"} & words(record).keys()
    assert "LPIPS and FID are missing" in bottom_line(record, judge(record))
    assert bottom_line({}, []) == "Nothing that could be judged was measured."


def every_path(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from every_path(inner, (*path, name))


@pytest.mark.parametrize("make", [autoencoder_record, variational_record])
def test_any_part_may_be_null_or_absent(make):
    """A record with one part gone is judged in the rest, and has a bottom line."""
    for path in every_path(make()):
        for gone in ("null", "absent"):
            record = copy.deepcopy(make())
            place = record
            for name in path[:-1]:
                place = place[name]
            if gone == "null":
                place[path[-1]] = None
            else:
                del place[path[-1]]
            found = judge(record)
            assert all(isinstance(verdict["value"], float) and math.isfinite(verdict["value"]) for verdict in found)
            assert bottom_line(record, found)
