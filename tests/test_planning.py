"""What a plan says of machines that are not here: against what really runs, by brute force, and by hand."""

import itertools
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from aedist import keys
from aedist.architecture import build_model, sketch_model
from aedist.cli import main
from aedist.config import Config
from aedist.configfile import load_config, parse_config
from aedist.data.cache import Cache
from aedist.data.download import Patience
from aedist.data.plan import Plan, assigned
from aedist.errors import UserError
from aedist.link import free_port
from aedist.objective import make_objective
from aedist.place import Place
from aedist.planning import described
from aedist.planning.buckets import ddp_messages
from aedist.planning.constants import Constants
from aedist.planning.forecast import Forecast, Question, forecast
from aedist.planning.network import Bucket, Machines, all_reduce_seconds, exposed_seconds
from aedist.planning.passes import training_pass
from aedist.planning.reading import resident, shards_of_slots, slots_of_node, streamed
from aedist.planning.speed import Speed, speed_of_run
from aedist.planning.words import lines_of, time_limit
from aedist.shards.index import Index, Shard
from processes import _CONTEXT, run
from samples import write_config

CONFIGS = Path(__file__).parents[1] / "configs"
CONSTANTS = Constants()


@pytest.fixture(autouse=True)
def checkout_without_shards(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where recipes are and nothing is built, whatever this machine has."""
    folder = tmp_path_factory.mktemp("checkout") / "shards"
    folder.mkdir()
    for recipe in (CONFIGS.parent / "shards").glob("*.yaml"):
        shutil.copy(recipe, folder)
    monkeypatch.chdir(folder.parent)


def config_of(kind: str = "conv", micro: int = 2, num_micro: int = 4, **sections: Any) -> Config:
    model = {"kind": kind, **sections.pop("model", {})}
    batch = {"micro": micro, "num_micro": num_micro}
    return parse_config({"data": {"shards": "shards/x"}, "batch": batch, "model": model, **sections}, "here")


def index_of(counts: Sequence[int], shape: tuple[int, int, int] = (64, 64, 3)) -> Index:
    shards = tuple(Shard(f"{n}.tar", count, 1000 * count + n, "", ()) for n, count in enumerate(counts))
    return Index("many", "train", shape, (), shards)


# ---- which shards ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_a_node_reads_the_shards_of_the_samples_that_its_processes_are_dealt(
    counts: list[int], micro: int, num_micro: int, block: int, nodes: int, per_node: int, epoch: int
) -> None:
    if micro * num_micro > sum(counts) or nodes * per_node > num_micro:
        return
    plan, index = Plan(tuple(counts), 5, micro, num_micro, block), index_of(counts)
    shard_of = np.repeat(np.arange(len(counts)), counts)
    expected = [set[int]() for _ in range(nodes)]
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    for step, rank in itertools.product(steps, range(nodes * per_node)):
        for slot in assigned(num_micro, rank, nodes * per_node):
            expected[rank // per_node] |= set(shard_of[plan.sample_ids(step, slot)].tolist())
    found = streamed(index, plan, nodes, per_node, epoch)
    assert found.shards == tuple(map(len, expected))
    assert found.num_bytes == tuple(sum(index.shards[n].bytes for n in one) for one in expected)
    for node, one in enumerate(expected):
        slots = slots_of_node(num_micro, node, per_node, nodes * per_node)
        assert set(np.flatnonzero(shards_of_slots(plan, slots, epoch)).tolist()) == one


@settings(max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 4))
def test_a_node_that_reads_into_memory_reads_the_shards_of_its_share(
    counts: list[int], nodes: int, per_node: int
) -> None:
    total, world = sum(counts), nodes * per_node
    shard_of = np.repeat(np.arange(len(counts)), counts)
    bounds = [total * rank // world for rank in range(world + 1)]
    shares = [shard_of[bounds[node * per_node] : bounds[(node + 1) * per_node]].tolist() for node in range(nodes)]
    assert resident(index_of(counts), nodes, per_node).shards == tuple(len(set(share)) for share in shares)


@pytest.mark.parametrize(
    ("counts", "num_micro", "micro"),
    [((5_000,) * 20, 512, 32), ((10_000,) * 10_000, 512, 64)],
    ids=["Tiny ImageNet", "a hundred million images"],
)
def test_512_processes_cost_a_bounded_amount_of_work(
    monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...], num_micro: int, micro: int
) -> None:
    """Permutations, which are all of the work, of a few million numbers in all, however large the data."""
    sizes, permutation = list[int](), keys.permutation

    def counted(size: int, *parts: int) -> np.ndarray:
        sizes.append(size)
        return permutation(size, *parts)

    monkeypatch.setattr(keys, "permutation", counted)
    plan = Plan(counts, 0, micro, num_micro, 20 if len(counts) == 20 else 8)
    found = streamed(index_of(counts), plan, 64, 8)
    assert sum(sizes) <= 2 * 2**22
    assert len(found.nodes) == (64 if len(counts) == 20 else 2)


# ---- messages and passes ---------------------------------------------------------------------------------------------


def test_buckets_are_those_that_ddp_sends_on_two_real_processes() -> None:
    config = config_of(model={"latent_dim": 256})
    shape = (32, 32, 3)
    here, there = _CONTEXT.Pipe()
    port = free_port()
    processes = [_CONTEXT.Process(target=_send, args=(rank, port, config, shape, there)) for rank in range(2)]
    for process in processes:
        process.start()
    assert here.poll(120)
    real = here.recv()
    for process in processes:
        process.join()
    order = [name for name, _ in training_pass(config, shape, 1).arrivals]
    found = ddp_messages(sketch_model(config.model, shape), order, 2)
    assert [(message.names, message.num_bytes) for message in found] == real
    assert len(real) > 1
    assert sum(message.num_bytes for message in found) == 4 * sum(p.numel() for p in _model(config, shape).parameters())
    assert ddp_messages(sketch_model(config.model, shape), order, 512) == found


def _model(config: Config, shape: tuple[int, int, int]) -> torch.nn.Module:
    return sketch_model(config.model, shape)


def _send(rank: int, port: int, config: Config, shape: tuple[int, int, int], there: Any) -> None:
    """In a process of two: train with DDP as the run does, and tell what its last step sent."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = build_model(config.model, shape)
    names, sent = {id(p): name for name, p in model.named_parameters()}, []

    def note(_, bucket):  # DDP looks at annotations
        buffer = bucket.buffer()
        sent.append((tuple(names[id(p)] for p in bucket.parameters()), buffer.numel() * buffer.element_size()))
        return dist.all_reduce(buffer, async_op=True).get_future().then(lambda done: done.value()[0])

    ddp: Any = Place(None, rank, 2, torch.device("cpu"), None).in_step_with_others(model)  # type: ignore[arg-type]
    ddp.register_comm_hook(None, note)
    for _ in range(2):
        sent.clear()
        ddp(torch.rand(2, shape[2], *shape[:2])).reconstruction.square().sum().backward()
    if rank == 0:
        there.send(sent)
    dist.destroy_process_group()


def test_asking_ddp_leaves_nothing_behind() -> None:
    config, told_by = config_of("mlp", model={"hidden_dim": 8}), sys.excepthook
    order = [name for name, _ in training_pass(config, (12, 12, 1), 1).arrivals]
    assert len(ddp_messages(sketch_model(config.model, (12, 12, 1)), order, 512)) == 1
    assert not dist.is_initialized()
    assert sys.excepthook is told_by
    dist.init_process_group("fake", store=dist.HashStore(), rank=0, world_size=2)
    try:
        with pytest.raises(RuntimeError, match="one of a group already"):
            ddp_messages(sketch_model(config.model, (12, 12, 1)), order, 2)
    finally:
        dist.destroy_process_group()


MODELS = {
    "mlp": config_of("mlp", 16),
    "conv": config_of("conv", 4, model={"width": 16, "latent_dim": 32}),
    "vae": config_of("vae", 4, model={"hidden_dim": 64}),
    "bf16": config_of("conv", 4, model={"width": 16, "latent_dim": 32}, train={"precision": "bf16"}),
    "attention": config_of("residual", 2, model={"patch": 2, "channels": [16, 32], "attention": True}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_pass_takes_as_much_memory_as_it_is_said_to(name: str) -> None:
    """Against the same pass computed for real: what autograd keeps, and the most that lives at once."""
    config, shape = MODELS[name], (32, 32, 3)
    said, real = training_pass(config, shape, 2), training_pass(config, shape, 2, real=True)
    assert said.saved_bytes == pytest.approx(real.saved_bytes, rel=0.2)
    assert said.peak_bytes == pytest.approx(real.peak_bytes, rel=0.2)
    assert said.flops == real.flops
    assert [one for one, _ in said.arrivals] == [one for one, _ in real.arrivals]


def test_what_autograd_keeps_is_counted_as_by_hand() -> None:
    """An MLP keeps its input of a linear layer and the sign of a ReLU: (b, 108), 8, 8 and 4, 8, 8 numbers and so on."""
    config = config_of("mlp", 10, model={"hidden_dim": 8, "latent_dim": 4})
    kept = dict[int, int]()
    model = build_model(config.model, (6, 6, 3))
    own = {parameter.data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.rand(10, 3, 6, 6)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _loss, _ = make_objective(config.objective, variational=False)(x, model(x))
    said = training_pass(config, (6, 6, 3), 1)
    assert said.saved_bytes == pytest.approx(sum(kept.values()), rel=0.05)
    assert said.saved_bytes >= 4 * 10 * (108 + 8 + 4 + 8 + 108)


# ---- time ------------------------------------------------------------------------------------------------------------

NETWORKS = {
    "8": (Machines(1, 8, has_gpus=True), {}),
    "64": (Machines(8, 8, has_gpus=True), {}),
    "64, one card": (Machines(8, 8, has_gpus=True), {"nics": 1.0}),
    "64, one slow card": (Machines(8, 8, has_gpus=True), {"nics": 1.0, "nic_gbits": 100.0}),
    "512": (Machines(64, 8, has_gpus=True), {}),
}
PUBLISHED_US = {  # of megabytes, on the networks above
    1.29: (30, 75, 118, 265, 126),
    0.65: (24, 70, 92, 165, 121),
    55.7: (337, 419, 2263, 8614, 494),
    27.8: (201, 249, 1170, 4345, 311),
    253.8: (1275, 1592, 10034, 38999, 1788),
    126.9: (675, 841, 5057, 19539, 960),
}


@pytest.mark.parametrize("megabytes", PUBLISHED_US)
def test_all_reduce_takes_what_the_model_gave_by_hand(megabytes: float) -> None:
    for (machines, changes), expected in zip(NETWORKS.values(), PUBLISHED_US[megabytes], strict=True):
        found = all_reduce_seconds(megabytes * 1e6, machines, replace(CONSTANTS, **changes)) * 1e6
        assert found == pytest.approx(expected, rel=0.02), (machines, changes)


@pytest.mark.parametrize(
    ("name", "shape", "micro", "step_ms", "expected"),
    [
        ("mnist_ae", (28, 28, 1), 32, 0.05, (63, 40, 28)),
        ("tinyimagenet_ae", (64, 64, 3), 32, 0.38, (67, 59, 53)),
        ("tinyimagenet_ae", (64, 64, 3), 256, 1.7, (99, 96, 93)),
        ("faces_vae", (256, 256, 3), 32, 1.0, (50, 43, 40)),
        ("faces_vae", (256, 256, 3), 256, 3.2, (89, 82, 78)),
    ],
)
def test_efficiency_is_near_what_was_worked_out_by_a_coarser_model(
    name: str, shape: tuple[int, int, int], micro: int, step_ms: float, expected: tuple[int, ...]
) -> None:
    """That one lets a fixed share of the step hide sums; here it follows from the model's own buckets and backward."""
    config = load_config(CONFIGS / f"{name}.yaml", [f"batch.micro={micro}"])
    arrived = dict(training_pass(config, shape, 1).arrivals)
    messages = ddp_messages(sketch_model(config.model, shape), list(arrived), 512)
    buckets = [Bucket(one.num_bytes, max(arrived[name] for name in one.names)) for one in messages]
    for nodes, percent in zip((1, 8, 64), expected, strict=True):
        backward = CONSTANTS.backward_share * step_ms * 1e-3
        exposed = exposed_seconds(buckets, backward, Machines(nodes, 8, has_gpus=True), CONSTANTS)
        assert 100 * step_ms / (step_ms + exposed * 1e3) == pytest.approx(percent, abs=5), nodes


def test_sums_hide_behind_what_is_left_of_the_backward_pass() -> None:
    machines = Machines(1, 2, has_gpus=False)
    constants = replace(CONSTANTS, gloo_start_us=0.0, gloo_gbytes=1.0)  # on two processes a GB is a second
    first, last = Bucket(600_000_000, 0.5), Bucket(100_000_000, 1.0)
    assert exposed_seconds([first, last], 0.0, machines, constants) == pytest.approx(0.7)
    assert exposed_seconds([first, last], 1.0, machines, constants) == pytest.approx(0.2)
    assert exposed_seconds([first, last], 9.0, machines, constants) == pytest.approx(0.1), "the last cannot hide"
    assert exposed_seconds([first], 9.0, machines, constants) == 0.0
    assert exposed_seconds([], 1.0, machines, constants) == 0.0


def test_a_lone_process_waits_for_nobody_and_more_bytes_take_longer() -> None:
    assert all_reduce_seconds(1e9, Machines(1, 1, has_gpus=True), CONSTANTS) == 0
    for machines in (Machines(1, 4, has_gpus=True), Machines(4, 1, has_gpus=True), Machines(2, 2, has_gpus=False)):
        times = [all_reduce_seconds(size, machines, CONSTANTS) for size in (1e3, 1e6, 1e9)]
        assert times == sorted(times)
        assert times[0] > 0


@pytest.mark.parametrize(
    ("seconds", "limit"), [(1.0, "00:30:00"), (3600.0, "01:30:00"), (3601.0, "01:45:00"), (1e6, "24:00:00")]
)
def test_the_time_that_is_asked_for_is_longer_than_predicted(seconds: float, limit: str) -> None:
    assert time_limit(seconds, 0.25, 24) == limit


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, shards: Path) -> Callable[..., Config]:
    def config(**sections: Any) -> Config:
        path = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", **sections)
        return load_config(path, ["batch.micro=2", "batch.num_micro=6"])

    return config


def plan_for(config: Config, nodes: int = 1, per_node: int = 2, *, gpus: bool = True, **options: Any) -> Forecast:
    return forecast(Question(config, Machines(nodes, per_node, has_gpus=gpus), CONSTANTS, **options))


def test_a_given_speed_gives_step_rate_and_efficiency(small: Callable[..., Config]) -> None:
    alone = plan_for(small(), per_node=1, speed=Speed(1000, "as given"))
    assert alone.step_seconds == pytest.approx(12 / 1000)
    assert alone.images_per_second == pytest.approx(1000)
    assert alone.efficiency == pytest.approx(1)
    four = plan_for(small(), per_node=4, speed=Speed(1000, "as given"))
    assert four.rounds == 2
    assert four.exposed_seconds is not None
    step = 4 / 1000 + four.exposed_seconds
    assert four.images_per_second == pytest.approx(12 / step)
    assert four.efficiency == pytest.approx(12 / step / 4000), "two of the four processes have half as much to do"


def test_without_a_speed_cpus_have_no_times_and_gpus_assumed_ones(small: Callable[..., Config]) -> None:
    on_cpu = plan_for(small(), gpus=False)
    assert (on_cpu.step_seconds, on_cpu.efficiency, on_cpu.run_seconds) == (None, None, None)
    text = "\n".join(lines_of(on_cpu, "c.yaml", []))
    assert "compute   not known; give --images-per-second" in text
    assert "submit    AEDIST_TASKS_PER_NODE=2 sbatch --nodes=1 --gpus-per-node=0 slurm/train.sbatch c.yaml" in text
    assert not on_cpu.memory.gpu
    on_gpu = "\n".join(lines_of(plan_for(small(), 2), "c.yaml", ["batch.num_micro=6", "run.dir=a b"]))
    assert "(assumed, bound by" in on_gpu
    assert "submit    sbatch --nodes=2 --gpus-per-node=2 --time=00:30:00 slurm/train.sbatch c.yaml" in on_gpu
    assert on_gpu.partition("batch.num_micro=6 ")[2].startswith("'run.dir=a b'")
    for line in on_gpu.splitlines():
        if line.startswith(("speed", "          ", "sums")):
            assert "predicted" in line
    for name in ("nic_gbits=400", "overlap=1", "launch_us=7", "gpu_base_gib=2"):
        assert f"    {name} " in on_gpu


def test_exact_sums_are_integers_that_nothing_hides(small: Callable[..., Config]) -> None:
    found = plan_for(small(train={"reduce": "exact"}), speed=Speed(1000, "as given"))
    assert [bucket.num_bytes for bucket in found.buckets] == [8 * (found.size.parameters + 2)]
    assert found.exposed_seconds == pytest.approx(found.all_reduce_seconds)
    assert found.memory.gpu["sums of 64-bit integers"] == 16 * found.size.parameters


def test_the_memory_of_a_gpu_is_the_sum_of_what_is_known(small: Callable[..., Config]) -> None:
    found = plan_for(small(train={"ema_decay": 0.9}))
    gpu, weights = found.memory.gpu, 4 * found.size.parameters
    assert gpu["weights"] == gpu["moving average"] == gpu["gradients, which are DDP's buckets"] == weights
    assert gpu["Adam's two moments"] == 2 * weights
    assert gpu["resident images"] == 100 * 12 * 12
    assert sum(bucket.num_bytes for bucket in found.buckets) == weights
    assert found.memory.host["the checkpoint's copy"] == 4 * weights


def test_shards_that_are_not_built_are_planned_by_their_recipe() -> None:
    config = load_config(CONFIGS / "tinyimagenet_ae.yaml", ["batch.num_micro=512", "data.shards=shards/tinyimagenet"])
    found = plan_for(config, 64, 8)
    index = found.described.split.index
    assert found.described.is_estimate
    assert (index.num_samples, len(index.shards), found.plan.steps_per_epoch) == (100_000, 20, 6)
    text = "\n".join(lines_of(found, "c.yaml", []))
    assert "by its recipe, as shards/tinyimagenet is not built here: bytes are estimates" in text
    assert "fingerprint" not in text
    assert len(text.splitlines()[0]) > 0
    lost = config.model_copy(update={"data": config.data.model_copy(update={"on_error": "quarantine"})})
    assert "unknown before the run begins" in "\n".join(lines_of(plan_for(lost, 64, 8), "c.yaml", []))


def test_images_that_are_decoded_slower_than_a_gpu_computes_are_told() -> None:
    config = load_config(CONFIGS / "tinyimagenet_ae.yaml", ["batch.num_micro=8", "data.mode=stream", "data.workers=1"])
    constants = replace(CONSTANTS, decode_mpixels=4.096)  # a thousand images a second
    found = forecast(Question(config, Machines(1, 8, has_gpus=True), constants))
    assert found.images_per_second == pytest.approx(8 * 1000)
    assert found.compute is not None
    workers = int(np.ceil(found.compute.decode_seconds / found.compute.seconds))
    text = "\n".join(lines_of(found, "c.yaml", []))
    assert f"data.workers={workers} instead of 1 would keep up, or images in memory: data.memory=2GiB" in text
    faster = load_config(CONFIGS / "tinyimagenet_ae.yaml", ["batch.num_micro=8", "data.mode=stream", "data.workers=64"])
    assert not forecast(Question(faster, Machines(1, 8, has_gpus=True), constants)).waits_for_data


@pytest.mark.parametrize(
    ("words", "options", "told"),
    [
        (
            ["batch.num_micro=1", "batch.micro=32"],
            {"per_node": 8},
            "batch.num_micro: 1, but there are 8 processes.*batch.num_micro=8 makes a step of 256 images instead of 32"
            ".*"
            "batch.micro=4 batch.num_micro=8 keeps a step's 32 images",
        ),
        ([], {"gpu_bytes": 2**30}, "--gpu-memory: 1.0 GiB, but a GPU needs about .*; lower batch.micro"),
        ([], {"host_bytes": 2**30}, "--host-memory: 1.0 GiB, but a node needs about .*; start fewer processes"),
        (["data.split=absent"], {}, "has no split 'absent'.*name one of them"),
        (["evaluate.split=absent"], {}, "has no split 'absent'.*name one of them"),
        (["data.shards=shards/faces", "evaluate.split=test"], {}, "does not say how many images train has.*--images N"),
        (["data.shards=nowhere"], {}, "there is no folder nowhere; build it"),
        (["data.mode=resident", "data.memory=1KiB"], {}, "data.mode: resident needs .*; raise data.memory"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(words: list[str], options: dict[str, Any], told: str) -> None:
    base = ["data.shards=shards/tinyimagenet", "batch.num_micro=32", "batch.micro=4"]
    config = load_config(CONFIGS / "tinyimagenet_ae.yaml", [*base, *words])
    with pytest.raises(UserError, match=told) as refused:
        plan_for(config, **options)
    assert "\n" not in str(refused.value)


def test_a_cache_too_small_for_what_a_node_reads_at_once_is_refused(
    shards: Path, small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The shards of an address, as the index there says."""
    from aedist.data.loader import Split
    from aedist.data.remote import RemoteFolder
    from aedist.shards.index import read_index

    def elsewhere(address: str, name: str, cache: object) -> Split:
        folder = RemoteFolder(f"https://host/{name}", Cache(tmp_path, 100, Patience(1.0)))
        return Split(folder, read_index(shards / name))

    monkeypatch.setattr(described, "open_split", elsewhere)
    with pytest.raises(UserError, match=r"^data\.cache_bytes: 100 bytes, but a node reads .* at once .*; raise it"):
        plan_for(small(data={"mode": "stream"}))


def test_a_run_tells_its_speed(tmp_path: Path, shards: Path) -> None:
    path = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": 2, "log_every": 12})
    run(tmp_path, 1, "train", path)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [one["images_per_second"] for one in records if one["kind"] == "train"]
    config = load_config(path)
    found = speed_of_run(tmp_path / "run", config, has_gpus=False)
    assert min(rates) <= found.images_per_second <= max(rates)
    assert found.source.startswith(f"measured in {tmp_path / 'run'}: ")
    with pytest.raises(UserError, match="ran on cpu, and the plan is for GPUs; name another run"):
        speed_of_run(tmp_path / "run", config, has_gpus=True)
    with pytest.raises(UserError, match="trained another model or precision"):
        speed_of_run(tmp_path / "run", load_config(path, ["model.latent_dim=9"]), has_gpus=False)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("nic=3", "there is no constant 'nic'; there are backward_share"),
        ("nic_gbits=fast", "nic_gbits must be a number above zero"),
        ("nic_gbits=0", "must be a number above zero"),
        ("overlap=1.5", "overlap is a share, and must be at most 1"),
    ],
)
def test_constants_change_by_name_alone(word: str, told: str) -> None:
    assert CONSTANTS.changed(["nic_gbits=100", "overlap=0"]) == replace(CONSTANTS, nic_gbits=100, overlap=0)
    with pytest.raises(UserError, match=told):
        CONSTANTS.changed([word])
    assert any("as given" in line for line in CONSTANTS.changed(["nic_gbits=100"]).lines(["gpus"]))


def test_a_table_of_several_configurations(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(CONFIGS / "tinyimagenet_ae.yaml"), str(CONFIGS / "mnist_ae.yaml")]
    monkeypatch.setenv("COLUMNS", "400")
    main(["plan", *paths, "--gpus", "1", "16", "--set", "nic_gbits=100"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert [row[:3] for row in rows[2:]] == [
        ["tinyimagenet_ae", "1", "32 = 1 x 32"],
        ["tinyimagenet_ae", "2 x 8", "512 = 16 x 32"],
        ["mnist_ae", "1", "32 = 8 x 4"],
        ["mnist_ae", "2 x 8", "64 = 16 x 4"],
    ]
    assert any("nic_gbits=100" in line and "as given" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--nodes", "4"), "--gpus: goes without --nodes and --processes"),
        (("--processes", "4"), "--gpus: goes without --nodes and --processes"),
        (("--gpus-per-node", "0"), "--gpus-per-node: 0; it must be 1 or more"),
        (("--gpus-per-node", "3"), "--gpus: 8; it must be 1 or more, and fill nodes of 3"),
    ],
)
def test_a_table_refuses_what_it_would_not_heed(
    options: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", str(CONFIGS / "mnist_ae.yaml"), "--gpus", "8", *options])
    assert told in capsys.readouterr().err
