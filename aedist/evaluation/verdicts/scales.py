"""Where the words begin: very poor, poor, decent, good and very good, for each metric that is judged.

These are conventions, such as that reconstructions are good from 20 dB; none is a law, and none knows what a model is
for.
"""

from dataclasses import dataclass

WORDS = ("very poor", "poor", "decent", "good", "very good")
FEATURES_OF_FID = 2048
"""FID compares covariances of so many numbers, which no fewer images can have."""
FEWEST_OF_KID = 100
"""Of fewer images KID has no bias either, but is mostly chance."""

DEFINITIONS = {
    "verdicts": "Words from very poor to very good, by thresholds that are conventions: they say where a number stands "
    f"among those commonly reported, not whether a model serves its purpose. FID gets no word at {FEATURES_OF_FID:,} "
    f"images or fewer, since it is biased upwards there; KID, which is not, gets one from {FEWEST_OF_KID} images on, "
    "and the gap to the prior where chance alone would still be good.",
}


@dataclass(frozen=True)
class Scale:
    """Where the words begin."""

    label: str
    unit: str
    bounds: tuple[float, float, float, float]
    """The first values that are poor, decent, good and very good; falling where lower is better."""
    topic: str
    """What advice belongs to it."""
    reasons: tuple[str, str, str] = ("", "", "")
    """What it means below decent, at decent, and from good on."""

    def level(self, value: float) -> int:
        """The place of a value's word in ``WORDS``."""
        rises = self.bounds[0] < self.bounds[-1]
        return sum(value >= bound if rises else value < bound for bound in self.bounds)

    @property
    def threshold(self) -> str:
        """Where good begins."""
        unit = f" {self.unit}" if self.unit and " " not in self.unit else ""
        return f"good {'from' if self.bounds[0] < self.bounds[-1] else 'below'} {self.bounds[2]:g}{unit}"


_OF_SETS = (
    "a network tells them from the data at once",
    "a network sees that they resemble the data",
    "to a network they are near the data",
)

SCALES = {
    "mse_to_pca": Scale("MSE against PCA", "of PCA's", (2, 1, 0.8, 0.5), "error"),
    "mse": Scale("MSE", "", (0.08, 0.04, 0.01, 0.002), "error"),
    "psnr": Scale("PSNR", "dB", (12, 17, 20, 30), "error"),
    "ssim": Scale("SSIM", "", (0.3, 0.65, 0.8, 0.95), "likeness", (
        "structure is lost: reconstructions are blurred or distorted", "shapes are kept, finer structure is smoothed",
        "edges and textures are where they belong",
    )),
    "lpips": Scale("LPIPS", "", (0.4, 0.2, 0.1, 0.03), "likeness", (
        "to the eye of a network, reconstructions are other pictures than their originals",
        "a network sees clear differences from the originals", "a network sees little difference from the originals",
    )),
    "fid": Scale("FID of reconstructions", "", (90, 70, 50, 10), "likeness", _OF_SETS),
    "kid": Scale("KID of reconstructions", "", (0.1, 0.06, 0.03, 0.005), "likeness", _OF_SETS),
    "fid_of_samples": Scale("FID of samples", "", (90, 70, 50, 10), "samples", _OF_SETS),
    "kid_of_samples": Scale("KID of samples", "", (0.1, 0.06, 0.03, 0.005), "samples", _OF_SETS),
    "active_dimensions": Scale("Numbers in use", "%", (25, 50, 75, 95), "numbers"),
    "active_units": Scale("Active units", "%", (10, 25, 50, 90), "units"),
    "prior_gap": Scale("Gap to the prior", "nats a number", (1, 0.3, 0.1, 0.02), "gap", (
        "the prior is not where the encodings lie, so most samples of it decode to nothing seen",
        "encodings and prior overlap, but not everywhere", "encodings lie where the prior has them",
    )),
    "probe": Scale("Linear probe", "%", (10, 30, 60, 85), "classes"),
}  # fmt: skip
"""By metric. The scale of ``probe`` is of the way from chance to certainty, its threshold therefore its own."""
