"""Records of full evaluations as ``aedist evaluate`` leaves them, built without a model: the demo's, and a VAE's."""

from typing import Any

import numpy as np


def spread(mean: float, std: float, decimals: int = 6) -> dict[str, Any]:
    """A metric's summary, as of a bell curve."""
    z = {"min": -3.5, "q05": -1.645, "q25": -0.674, "median": 0, "q75": 0.674, "q95": 1.645, "max": 3.5}
    found: dict[str, Any] = {name: round(mean + std * at, decimals) for name, at in z.items()}
    half = 1.96 * std / 100
    found |= {"mean": mean, "std": std, "not_finite": 0}
    return found | {"interval": [round(mean - half, decimals), round(mean + half, decimals)]}


def metrics(mse: float, mae: float, psnr: float, ssim: float, lpips: float) -> dict[str, Any]:
    return {
        "mse": spread(mse, mse / 3),
        "mae": spread(mae, mae / 3),
        "psnr": spread(psnr, 2.1),
        "ssim": spread(ssim, 0.04),
        "lpips": spread(lpips, lpips / 4),
    }


def over_dimensions(values: Any) -> dict[str, Any]:
    values = np.asarray(values, np.float64)
    quantiles = {"min": 0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
    return {name: float(np.quantile(values, q)) for name, q in quantiles.items()} | {"values": values.tolist()}


def distance(words: str, fid: float, kid: float, precision: float, recall: float, number: int) -> dict[str, Any]:
    flags = ["the covariance of so few images is singular: compare FID only at this N"] if number <= 2048 else []
    return {
        "words": words, "num_images": number, "reference": f"the first {number:,} originals of mnist/test", "fid": fid,
        "kid": {"mean": kid, "std": kid / 20}, "precision": precision, "recall": recall, "flags": flags,
    }  # fmt: skip


def autoencoder_record(number: int = 10_000) -> dict[str, Any]:
    """The demo's autoencoder of digits, before it is judged."""
    return {
        "format": 2, "run_id": "shapes-1", "checkpoint": "step-000000300", "step": 300, "images_seen": 9600,
        "data": {
            "name": "mnist", "split": "test", "fingerprint": "beef" * 16, "num_images": number,
            "image_shape": [28, 28, 1],
        },
        "model": {"kind": "mlp", "hidden_dim": 200, "latent_dim": 20, "parameters": 322_804, "latent_numbers": 20},
        "metrics": metrics(0.01024, 0.03312, 20.82, 0.8762, 0.0611),
        "distributions": {
            "reconstructions": distance("reconstructions of the same images", 21.4, 0.0173, 0.71, 0.78, number),
            "gaussian": distance("a Gaussian fitted to 10,000 encodings", 58.3, 0.0561, 0.42, 0.51, number),
            "mixture": distance("ten Gaussians fitted to 10,000 encodings", 33.9, 0.0302, 0.55, 0.64, number),
        },
        "latents": {
            "num_images": number, "not_finite": 0, "dimensions": 20, "active_dimensions": 20, "constant": 0,
            "never_positive": 0, "mean_activation": 0.7943, "total_variance": 112.4758,
            "std": over_dimensions(np.linspace(1.4, 3.3, 20)), "effective_rank": 17.31, "components_95": 17,
            "active_units": None, "kl_total": None, "kl": None, "prior_gap": None,
            "probe": {
                "accuracy": 0.9034, "interval": [0.8975, 0.9091], "chance": 0.1135, "num_fitted": 10_000, "classes": 10,
            },
        },
        "baselines": {
            "mean_image": {
                "words": "The mean of the first 10,000 images of mnist/train",
                "metrics": metrics(0.0673, 0.1402, 11.95, 0.2101, 0.4011), "note": None,
            },
            "pca": {
                "words": "Principal components of the first 10,000 images of mnist/train", "components": 20,
                "model_minus_pca": {"mean": -0.01172, "interval": [-0.0118, -0.0116]},
                "metrics": metrics(0.02196, 0.07122, 16.94, 0.7012, 0.1702), "note": None,
            },

            "jpeg": {
                "words": "JPEG at the highest quality that fits into the 80 bytes of an encoding in float32",
                "bytes_allowed": 80, "mean_bytes": 401.2, "images_over": number,
                "metrics": metrics(0.0061, 0.03001, 22.87, 0.8311, 0.1203),
                "note": "JPEG needs 5.0 times the bytes at its lowest quality for every image",
            },
        },
        "missing": {},
        "warnings": [],
        "definitions": {
            "values": "Images are uint8 as decoded.",
            "mse": "Mean squared difference.",
            "psnr": "Peak signal to noise.",
            "fid": "Frechet distance of Gaussians.",
            "active_dimensions": "Numbers whose standard deviation is not small.",
            "verdicts": "Words by convention.",
        },
        "higher_is_better": {"mse": False, "mae": False, "psnr": True, "ssim": True, "lpips": False},
    }  # fmt: skip


def variational_record() -> dict[str, Any]:
    """A VAE that has collapsed to a good part, without the networks' weights, before it is judged."""
    record = autoencoder_record(1000)
    kl = np.concatenate([np.geomspace(6, 0.5, 9), np.full(11, 0.002)])
    record["data"] |= {"name": "faces", "image_shape": [64, 64, 3]}
    record["model"] = {"kind": "vae", "latent_dim": 20, "parameters": 1_000_000, "latent_numbers": 20}
    for name in ("lpips",):
        del record["metrics"][name], record["higher_is_better"][name]
        for baseline in record["baselines"].values():
            (baseline["metrics"] or {}).pop(name, None)
    record["metrics"] |= metrics(0.0349, 0.11, 15.88, 0.6263, 0.2) | {"rate": spread(float(kl.sum()), 3.0)}
    del record["metrics"]["lpips"]
    record["distributions"] = {}
    record["latents"] |= {
        "active_units": 9, "kl_total": float(kl.sum()), "kl": over_dimensions(kl),
        "prior_gap": {
            "mean_norm": 0.31, "mean_largest": 0.2, "covariance_frobenius": 1.2, "covariance_largest": 0.7, "nats": 9.3,
            "nats_per_dimension": 0.465, "nats_by_chance": 0.115, "marginals": over_dimensions(kl / 30),
        },
        "probe": {"accuracy": None, "reason": "the images have no classes"},
    }  # fmt: skip
    record["missing"] = {
        "lpips": {"reason": "its weights are not in the cache", "fix": "aedist fetch lpips"},
        "fid": {"reason": "its weights are not in the cache", "fix": "aedist fetch fid"},
    }
    record["warnings"] = ["On 1,000 images the model loses to PCA: its error is 0.0129 larger (0.0120 to 0.0139)"]
    return record
