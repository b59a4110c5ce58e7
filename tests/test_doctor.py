"""The doctor: verdicts are pure functions of readings; the proof holds, or fails, with processes that really run."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aedist.cli import main
from aedist.doctor.accelerators import GPU, GPUs, judge_gpus, parse_links, read_gpus, runs_on, spell_links
from aedist.doctor.disk import Disk, judge_disk, read_disk
from aedist.doctor.exercise import cancelled_biases, gradient_troubles
from aedist.doctor.finding import Finding, first_to_do, worst
from aedist.doctor.holdings import Data, Holdings, judge_holdings, read_holdings
from aedist.doctor.job import judge_job, read_job
from aedist.doctor.network import Network, judge_network, nccl_takes
from aedist.doctor.nodes import Process, judge_clocks, judge_gpus_of_processes, merge
from aedist.doctor.peers import advice, environments, run_peers
from aedist.doctor.processor import Processor, judge_processor, judge_sharing, read_processor
from aedist.doctor.proof import Result, judge_results, judge_world
from aedist.doctor.software import Software, judge_software, read_software
from aedist.doctor.speed import judge_machines, judge_sums
from aedist.doctor.telling import last_line, lines
from aedist.models.conv import Conv
from processes import Launched, launch

GIB = 2**30

SOFTWARE = Software(
    python="3.12.4",
    python_asked=">=3.11",
    bits=64,
    aedist="1.0",
    asked={"torch": ">=2.11", "numpy": ">=1.26", "pillow": ">=10.3"},
    installed={"torch": "2.14.1+cu130", "numpy": "2.4.6", "pillow": "13.0.0"},
    tested={"torch": "2.14.1", "numpy": "2.4.6", "pillow": "13.0.0"},
    cuda="13.0",
    nccl="2.30.7",
    gloo=True,
)
PROCESSOR = Processor(
    model="a CPU",
    cores=16,
    allowed=tuple(range(16)),
    quota=None,
    threads=None,
    local_world=1,
    memory=64 * GIB,
    free_memory=60 * GIB,
    memory_limit=None,
    shm=32 * GIB,
    free_shm=32 * GIB,
    open_files=4096,
    encoding="utf-8",
)
ONE_GPU = GPU("GPU-1", "H100", 80 * GIB, 0, "9.0", "580.1")
WITH_GPUS = GPUs((ONE_GPU, replace(ONE_GPU, uuid="GPU-2")), ("NV18",), 2, "13.0", ("sm_80", "sm_90"), None)
DISK = Disk("runs", "runs", "ext4", 100 * GIB, "", 500e6, 900e6)
NETWORK = Network("node1", ("10.0.0.1",), ("10.0.0.1",), 0.0, loopback=True, interfaces=("lo", "eth0", "ib0"))
HOLDINGS = Holdings(
    weights=(("lpips", True), ("lpips-vgg", False), ("fid", True)),
    cache="cache",
    shards="shards",
    data=(Data("mnist", ("test", "train"), 70_000, 10**7),),
    wandb_host="https://api.wandb.ai",
    wandb_key=False,
)
SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_GTIDS": "0,1",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_JOB_END_TIME": "10000",
    "SLURM_GPUS_ON_NODE": "2",
    "CUDA_VISIBLE_DEVICES": "0,1",
}
RESULT = Result("e" * 64, "f" * 64, "e" * 64, 1e-7, ())


def not_good(findings: list[Finding]) -> list[tuple[str, str]]:
    """(name, verdict) of whatever is not good; each must say what to do."""
    found = [finding for finding in findings if finding.verdict != "good"]
    assert all(finding.fix for finding in found)
    return [(finding.name, finding.verdict) for finding in found]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"python": "3.10.2"}, [("Python", "broken")]),
        ({"bits": 32}, [("Python", "broken")]),
        ({"installed": {**SOFTWARE.installed, "torch": "2.10"}}, [("torch", "broken")]),
        ({"installed": {**SOFTWARE.installed, "pillow": None}}, [("pillow", "broken")]),
        ({"installed": {**SOFTWARE.installed, "numpy": "3.0"}}, [("numpy", "look here")]),
        ({"installed": {**SOFTWARE.installed, "numpy": "1.26.4"}}, []),
        ({"tested": {}, "cuda": None, "nccl": None}, []),
        ({"nccl": None}, [("torch's build", "broken")]),
        ({"gloo": False}, [("gloo", "broken")]),
    ],
)
def test_versions_are_held_against_what_the_package_asks_for_and_what_was_tested(
    change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert not_good(judge_software(replace(SOFTWARE, **change))) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"quota": 4.0}, [("cores", "look here")]),
        ({"quota": 4.0, "threads": 4}, []),
        ({"threads": 8, "local_world": 4}, [("cores", "look here")]),
        ({"allowed": (3,)}, [("cores", "look here")]),
        ({"memory_limit": 1 * GIB}, [("memory", "look here")]),
        ({"free_memory": GIB // 4}, [("memory", "broken")]),
        ({"free_shm": 64 * 2**20}, [("shared memory", "look here")]),
        ({"shm": None}, [("shared memory", "look here")]),
        ({"open_files": 256}, [("open files", "look here")]),
        ({"open_files": 64}, [("open files", "broken")]),
        ({"open_files": -1}, []),
        ({"encoding": "ascii"}, [("names of files", "look here")]),
    ],
)
def test_what_a_process_may_use_of_its_machine(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert not_good(judge_processor(replace(PROCESSOR, **change))) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_a_container_are_read_from_its_cgroup_and_those_above(tmp_path: Path, version: int) -> None:
    for name in ("proc/self", "dev", "sys/fs/cgroup"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1024 kB\nMemAvailable: 512 kB\n")
    (tmp_path / "proc/cpuinfo").write_text("model name\t: A   Processor\n")
    if version == 2:
        files = {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000", "job/memory.max": "4096"}
        (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n")
    else:
        cpu = {"cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "100000"}
        files = {**cpu, "memory/job/memory.limit_in_bytes": "4096"}
        (tmp_path / "proc/self/cgroup").write_text("3:cpu,cpuacct:/job\n4:memory:/job/step\n")
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    read = read_processor(None, 1, tmp_path)
    assert (read.quota, read.memory_limit, read.memory, read.free_memory) == (1.5, 4096, 2**20, 2**19)
    assert (read.model, read.shm) == ("A Processor", None)


def test_processes_that_share_cores_are_told() -> None:
    assert judge_sharing("processes", [(0, 1), (2, 3)]).verdict == "good"
    assert judge_sharing("processes", [(0, 1), (0, 1)]).verdict == "good"
    assert judge_sharing("processes", [(0,), (0,)]).verdict == "look here"


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (WITH_GPUS, []),
        (GPUs((), (), 0, None, (), None), []),
        (replace(WITH_GPUS, seen=0), [("GPUs", "broken")]),
        (replace(WITH_GPUS, seen=0, built_for=None, compiled_for=()), [("GPUs", "broken")]),
        (replace(WITH_GPUS, seen=0, visible=""), [("GPUs", "look here")]),
        (replace(WITH_GPUS, seen=1, visible="1"), []),
        (replace(WITH_GPUS, seen=1), [("GPUs", "look here")]),
        (replace(WITH_GPUS, compiled_for=("sm_100",)), [("GPU 0", "broken"), ("GPU 1", "broken")]),
        (replace(WITH_GPUS, found=(ONE_GPU, replace(ONE_GPU, name="A100"))), [("model", "look here")]),
        (replace(WITH_GPUS, found=(ONE_GPU, replace(ONE_GPU, used=20 * GIB))), [("GPU 1", "look here")]),
        (replace(WITH_GPUS, found=(replace(ONE_GPU, mode="Prohibited"), ONE_GPU)), [("GPU 0", "broken")]),
        (
            replace(WITH_GPUS, found=(replace(ONE_GPU, ails=("slowed down by heat",)), ONE_GPU)),
            [("GPU 0", "look here")],
        ),
    ],
)
def test_gpus(read: GPUs, expected: list[tuple[str, str]]) -> None:
    assert not_good(judge_gpus(read)) == expected


def test_compiled_code_runs_on_the_same_major_capability_and_intermediate_code_on_any_later() -> None:
    assert runs_on("8.6", ["sm_80"])
    assert not runs_on("8.0", ["sm_86"])
    assert not runs_on("9.0", ["sm_80"])
    assert runs_on("12.0", ["sm_90a", "compute_100"])
    assert runs_on("10.0", ["sm_100"])


def test_links_between_gpus_are_read_from_the_table() -> None:
    table = (
        "\x1b[4m\tGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\x1b[0m\n"
        "GPU0\t X \tNV18\tSYS\tPIX\t0-31\n"
        "GPU1\tNV18\t X \tPHB\tSYS\t0-31\n"
        "GPU2\tSYS\tPHB\t X \tSYS\t0-31\n"
        "NIC0\tPIX\tSYS\tSYS\t X \t\n\nLegend:\n  X    = Self\n"
    )
    assert parse_links(table) == ("NV18", "SYS", "PHB")
    assert spell_links(("NV18", "SYS")) == "NVLink (NV18), between sockets (SYS)"


def test_nvidia_smi_is_asked_field_by_field_for_what_a_driver_may_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a driver that knows nothing of power brakes and parts, beside a GPU that is too hot."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        """#!/bin/sh
case "$*" in
*uuid,name*) printf '%s, X, 81920, %d, 9.0, 580.1, Default\\n' GPU-1 512 GPU-2 0 ;;
*ecc.errors*) printf '0\\n[N/A]\\n' ;;
*hw_thermal*) printf 'Not Active\\nActive\\n' ;;
*topo*) printf '\\tGPU0\\tGPU1\\nGPU0\\t X \\tPIX\\nGPU1\\tPIX\\t X \\n' ;;
*) echo 'Field is not a valid field to query.' && exit 2 ;;
esac
"""
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    read = read_gpus("")
    assert [(gpu.uuid, gpu.memory, gpu.used, gpu.ails) for gpu in read.found] == [
        ("GPU-1", 80 * GIB, GIB // 2, ()),
        ("GPU-2", 80 * GIB, 0, ("slowed down by heat",)),
    ]
    assert read.links == ("PIX",)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "good"),
        ({"problem": "Read-only file system"}, "broken"),
        ({"problem": "Read-only file system", "must_write": False}, "good"),
        ({"free": 2**20}, "broken"),
        ({"free": GIB}, "look here"),
        ({"kind": "tmpfs"}, "look here"),
        ({"write": 2e6}, "look here"),
        ({"locks": False}, "look here"),
    ],
)
def test_disks(change: dict[str, Any], verdict: str) -> None:
    found = judge_disk(replace(DISK, **change))
    assert (found.verdict, bool(found.fix)) == (verdict, verdict != "good")


def test_a_folder_is_measured_where_it_would_be_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/b {tmp_path} nfs4 rw 0 0\nc /c tmpfs rw 0 0\n")
    read = read_disk("runs", tmp_path / "not" / "yet", mounts)
    assert (read.kind, read.problem, read.locks) == ("nfs4", "", True)
    assert read.write
    assert read.read
    assert list(tmp_path.iterdir()) == [mounts]


@pytest.mark.parametrize(
    ("change", "nodes", "expected"),
    [
        ({}, 4, []),
        ({"loopback": False}, 1, [("loopback", "broken")]),
        ({"addresses": (), "bindable": ()}, 1, [("own name", "look here")]),
        ({"addresses": (), "bindable": ()}, 2, [("own name", "broken")]),
        ({"bindable": ()}, 2, [("own name", "broken")]),
        ({"addresses": ("127.0.1.1",), "bindable": ("127.0.1.1",)}, 1, []),
        ({"addresses": ("127.0.1.1",), "bindable": ("127.0.1.1",)}, 2, [("own name", "broken")]),
        ({"addresses": (), "bindable": (), "gloo_interface": "eth0"}, 2, []),
        ({"gloo_interface": "eth1"}, 1, [("gloo's interface", "broken")]),
        ({"nccl_interface": "ib"}, 1, []),
        ({"nccl_interface": "=ib"}, 1, [("NCCL's interface", "broken")]),
        ({"lookup_seconds": 10.0}, 1, [("own name", "look here")]),
        ({"infiniband": ("mlx5_0",), "locked_memory": 65536}, 1, [("InfiniBand", "look here")]),
    ],
)
def test_networks(change: dict[str, Any], nodes: int, expected: list[tuple[str, str]]) -> None:
    assert not_good(judge_network(replace(NETWORK, **change), nodes)) == expected


def test_interfaces_that_nccl_is_told_are_beginnings_of_names() -> None:
    assert nccl_takes("eth", "eth0")
    assert nccl_takes("^docker,lo", "eth0")
    assert not nccl_takes("^docker,lo", "lo")
    assert not nccl_takes("^=eth0", "eth0")
    assert nccl_takes("=eth0,eth1", "eth1")


def test_what_is_missing_here_says_how_to_get_it() -> None:
    assert not_good(judge_holdings(HOLDINGS)) == []
    assert not_good(judge_holdings(replace(HOLDINGS, wandb_host=None))) == [("W&B", "look here")]
    bare = judge_holdings(replace(HOLDINGS, weights=(("lpips", True), ("fid", False)), data=()))
    assert not_good(bare) == [("weights", "look here"), ("shards", "look here")]
    assert [finding.fix.split(",")[0] for finding in bare[:2]] == ["aedist fetch fid", "aedist shards build mnist"]


def test_shards_and_logins_are_found(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://here.example")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    broken = tmp_path / "data" / "cut" / "train"
    broken.mkdir(parents=True)
    (broken / "index.json").write_text("{")
    (tmp_path / "data" / "blobs").symlink_to(shards)
    (tmp_path / "netrc").write_text("machine here.example login user password secret\n")
    read = read_holdings(tmp_path, tmp_path / "data")
    assert (read.wandb_host, read.wandb_key) == ("https://here.example", True)
    found = judge_holdings(read)
    assert ("shards of cut", "look here") in not_good(found)
    assert "test, train: 123 images" in next(one.value for one in found if one.name == "shards of blobs")
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"SLURM_STEP_ID": ""}, [("job", "look here")]),
        ({"SLURM_CPUS_PER_TASK": ""}, [("CPUs a task", "look here")]),
        ({"SLURM_JOB_END_TIME": "5100"}, [("time left", "look here")]),
        ({"SLURM_GTIDS": "0,1,2"}, [("GPUs", "broken")]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [("GPUs", "look here")]),
    ],
)
def test_jobs(change: dict[str, str], expected: list[tuple[str, str]]) -> None:
    job = read_job({**SLURM, **change}, now=5000.0)
    assert job is not None
    assert not_good(judge_job(job)) == expected
    assert read_job({}) is None


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([RESULT, RESULT], []),
        ([RESULT, replace(RESULT, fast_sha256="0" * 64)], [("net: parameters, fast", "broken")]),
        (
            [RESULT, replace(RESULT, exact_sha256="0" * 64, alone_sha256="0" * 64)],
            [("net: parameters, exact", "broken")],
        ),
        ([replace(RESULT, alone_sha256="0" * 64)], [("net: exact against one alone", "broken")]),
        ([replace(RESULT, difference=0.5)], [("net: fast against one alone", "broken")]),
        ([replace(RESULT, difference=float("nan"))], [("net: fast against one alone", "broken")]),
        ([RESULT, replace(RESULT, troubles=("w has no gradient",))], [("net: gradients", "broken")]),
    ],
)
def test_results_of_an_exercise(results: list[Result], expected: list[tuple[str, str]]) -> None:
    assert not_good(judge_results("processes", "net", results)) == expected


def test_gradients_that_are_missing_zero_or_not_finite_are_named() -> None:
    model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("good", "none", "zero", "nan")})
    for name, value in (("good", 1.0), ("zero", 0.0), ("nan", float("nan"))):
        model[name].weight.grad = torch.full((1, 1), value)
    assert gradient_troubles(model) == [
        "none.weight has no gradient",
        "the gradient of zero.weight is zero",
        "the gradient of nan.weight is not finite",
    ]


def test_only_biases_in_front_of_batch_normalisation_may_have_no_gradient() -> None:
    """Adding a constant to what batch normalisation sees changes nothing that comes out of it."""
    torch.manual_seed(0)
    model = Conv((16, 16, 3), latent_dim=8, width=4, depth=2).double()
    names = cancelled_biases(model)
    assert len(names) == 3  # two on the way down, one on the way up
    model(torch.rand(4, 3, 16, 16, dtype=torch.float64)).reconstruction.square().sum().backward()
    sizes = {name: float(p.grad.abs().max()) for name, p in model.named_parameters() if p.grad is not None}
    assert {name for name, size in sizes.items() if size < 1e-12} == set(names)


def test_worlds_that_are_not_what_was_asked_for_are_broken() -> None:
    assert judge_world("processes", 2, 2, 2, "cpu").verdict == "good"
    for asked, world, came in ((2, 1, 1), (2, 2, 1), (3, 2, 2)):
        assert judge_world("processes", asked, world, came, "cpu").verdict == "broken"


def test_slow_sums_and_slow_machines_are_told() -> None:
    assert not_good(judge_sums("processes", {2**12: 1e-4, 2**24: 0.01}, 2)) == []
    assert not_good(judge_sums("processes", {2**12: 0.2, 2**24: 2.0}, 2)) == [("bandwidth of a process", "look here")]
    assert judge_sums("processes", {2**20: 0.001}, 4)[1].value == "1.57 GB/s"  # 2 x 3/4 x 1.05 MB in a millisecond
    assert not_good(judge_machines("machines", {"a": 1e9, "b": 9e8, "c": 1e8})) == [
        ("machines to rank zero's", "look here")
    ]


def test_what_differs_between_machines_stands_in_front() -> None:
    def node(torch: str, free: str, verdict: Any = "good") -> list[Finding]:
        return [
            Finding("software", "Python", "3.12"),
            Finding("software", "torch", torch),
            Finding("disk", "runs", free, verdict, "make room" if verdict != "good" else "", same=False),
        ]

    nodes = {"n1": node("2.14", "9 GiB"), "n2": node("2.14", "0 GiB", "broken"), "n3": node("2.13", "8 GiB")}
    found = [(one.name, one.value, one.verdict, one.where) for one in merge(nodes)]
    assert found == [
        ("torch", "2.14", "broken", "n1, n2"),
        ("torch", "2.13", "broken", "n3"),
        ("Python", "3.12", "good", ""),
        ("runs", "0 GiB", "broken", "n2"),
        ("runs", "9 GiB", "good", "n1; 1 more are like it"),
    ]
    assert merge({"n1": nodes["n1"]}) == nodes["n1"]


def test_clocks_and_gpus_of_processes() -> None:
    one, two = Process("a", 0, (0,), "", 100.0), Process("b", 1, (0,), "", 100.2)
    assert judge_clocks([one, two]).verdict == "good"
    assert judge_clocks([one, replace(two, seconds=160.0)]).verdict == "look here"
    assert judge_gpus_of_processes("processes", [one, two]) is None
    shared = judge_gpus_of_processes("processes", [replace(one, gpu="GPU-1"), replace(two, gpu="GPU-1")])
    assert shared is not None
    assert shared.verdict == "broken"


def test_the_last_line_says_what_to_do_first() -> None:
    found = [
        Finding("a", "b", "c"),
        Finding("d", "e", "f", "look here", "g"),
        Finding("h", "i", "j", "broken", "k", where="n7"),
    ]
    assert worst(found) == "broken"
    assert first_to_do(found) is found[2]
    assert last_line(found) == "1 broken; first mend h, i: j [n7]; k"
    assert last_line(found[:2]) == "nothing is broken; 1 to look at"
    assert lines(found)[:2] == ["a", "  good       b: c"]


# what is really here


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("# tested\ntorch==2.0.0  # old\nnumpy==1.2.3\n")
    read = read_software(tmp_path / "pins")
    assert read.tested == {"torch": "2.0.0", "numpy": "1.2.3"}
    assert read.installed["torch"] == torch.__version__.partition("+")[0]
    assert read_processor(None, 1).memory > 0


def test_quick_facts_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--{name}={tmp_path / name}" for name in ("runs", "shards", "cache")]
    main(["doctor", "--quick", "--json", *words])
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] in ("good", "look here")
    assert {"software", "machine", "disk", "network", "data"} <= {one["group"] for one in told["findings"]}
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_gives_exit_code_1_and_what_to_do_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--quick", "--runs", str(tmp_path), "--cache", str(tmp_path)])
    assert ended.value.code == 1
    assert "GLOO_SOCKET_IFNAME=nosuch0; unset it, or name one of lo" in capsys.readouterr().out.splitlines()[-1]


# the proof


def told_by_srun(rank: int) -> dict[str, str]:
    """What srun says to one of two tasks on this host."""
    told = {**SLURM, "SLURM_JOB_ID": str(os.getpid() * 10 + 3), "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_END_TIME": ""}
    told |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1"}
    return {**told, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "CUDA_VISIBLE_DEVICES": ""}


def test_tasks_of_srun_prove_that_they_work_together(tmp_path: Path) -> None:
    words = [f"--{name}={tmp_path / name}" for name in ("runs", "shards", "cache")]
    launched = launch(tmp_path, 2, "doctor", "--json", "--patience=60", *words, told=told_by_srun)
    assert launched.wait() == [0, 0], launched.text()
    found = {(one["group"], one["name"]): one for one in json.loads(launched.text())["findings"]}
    assert found["processes", "number of processes"]["value"].startswith("2 on ")
    for name in ("MLP", "conv net"):
        for what in ("gradients", "parameters, fast", "parameters, exact", "exact against one alone"):
            assert found["processes", f"{name}: {what}"]["verdict"] == "good"
    assert found["processes", "bandwidth of a process"]["value"].endswith(" GB/s")
    assert found["SLURM", "job"]["value"] == f"{told_by_srun(0)['SLURM_JOB_ID']}: 1 nodes, 2 tasks"
    assert launched.text(1) == ""


def test_it_starts_processes_of_its_own(tmp_path: Path) -> None:
    words = [f"--{name}={tmp_path / name}" for name in ("runs", "shards", "cache")]
    launched = launch(tmp_path, 1, "doctor", "--patience=60", *words)
    assert launched.wait() == [0], launched.text()
    assert re.search(r"good +number of processes: 2 on cpu", launched.text())
    assert launched.text().splitlines()[-1].startswith("nothing is broken")


def as_peers(folder: Path, first: Callable[[], None] | None = None, patience: float = 60, **more: Any) -> Launched:
    """Two processes of the proof, which find faults in what ``first`` did to them."""
    folder.mkdir(exist_ok=True)
    (folder / "own.json").write_text(json.dumps({"group": "processes", "own": []}))
    words = ("doctor", "--peer", folder / "own.json", "--patience", patience)
    return launch(folder, 2, *words, first=first, **more)


def broken_in(launched: Launched) -> dict[str, str]:
    """What rank zero found broken, by name."""
    assert launched.wait() == [0, 0], launched.text()
    found = json.loads(launched.text().splitlines()[-1])["findings"]
    return {one["name"]: one["value"] for one in found if one["verdict"] == "broken"}


def test_processes_that_work_together_are_not_found_broken(tmp_path: Path) -> None:
    assert broken_in(as_peers(tmp_path)) == {}


def make_one_disagree() -> None:
    """Process 1 takes larger steps."""
    from aedist.doctor import exercise

    usual = exercise.make_optimizer
    if os.environ["RANK"] == "1":
        exercise.make_optimizer = lambda optim, model: usual(optim.model_copy(update={"lr": 0.1}), model)


def test_a_process_with_other_parameters_is_found(tmp_path: Path) -> None:
    broken = broken_in(as_peers(tmp_path, make_one_disagree))
    assert broken["MLP: parameters, fast"] == "after 3 steps process 1 has other parameters than process 0"
    assert "conv net: parameters, exact" in broken


def make_one_see_other_images() -> None:
    """Process 1 takes images of other micro-batches: all still agree, but on what no process alone would get."""
    from aedist.doctor import exercise

    usual = exercise.made_images
    if os.environ["RANK"] == "1":
        exercise.made_images = lambda shape, step, slot: usual(shape, step + 100, slot)


def test_a_process_that_computes_something_else_is_found(tmp_path: Path) -> None:
    broken = broken_in(as_peers(tmp_path, make_one_see_other_images))
    assert "MLP: exact against one alone" in broken
    assert "MLP: fast against one alone" in broken
    assert "MLP: parameters, exact" not in broken


def add_what_nothing_uses() -> None:
    """The models get a parameter that takes no part."""
    from aedist.doctor import exercise

    usual = exercise.build_model

    def build(*words: Any) -> nn.Module:
        model = usual(*words)
        model.register_parameter("unused", nn.Parameter(torch.zeros(3)))
        return model

    exercise.build_model = build


def test_a_parameter_without_a_gradient_is_found(tmp_path: Path) -> None:
    broken = broken_in(as_peers(tmp_path, add_what_nothing_uses))
    assert "process 0: the gradient of unused is zero" in broken["MLP: gradients"]


def test_a_process_that_never_comes_is_named(tmp_path: Path) -> None:
    launched = as_peers(tmp_path, patience=1, environment={"WORLD_SIZE": "3"})
    assert launched.wait() == [1, 1]
    for rank in (0, 1):
        assert "process 2 of 3 did not come within 1 s" in launched.text(rank)


def die_in_the_proof() -> None:
    from aedist.doctor import peer

    if os.environ["RANK"] == "1":
        peer.prove = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    launched = as_peers(tmp_path, die_in_the_proof)
    assert launched.wait() == [1, -signal.SIGKILL]
    assert "process 1 is gone without a word" in launched.text()


def stop_in_the_proof() -> None:
    from aedist.doctor import peer

    peer.STALL_SECONDS = 1.0
    if os.environ["RANK"] == "1":
        peer.prove = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)


def test_a_process_that_hangs_is_named(tmp_path: Path) -> None:
    launched = as_peers(tmp_path, stop_in_the_proof)
    launched.processes[0].join(60)
    launched.processes[1].kill()
    assert launched.wait() == [1, -signal.SIGKILL]
    assert "process 1 gives no sign of life" in launched.text()


@pytest.mark.parametrize(
    ("body", "says", "advises"),
    [
        ("os.kill(os.getpid(), 9)", "process 1 was ended by SIGKILL", "dmesg"),
        ("sys.exit('aedist: process 1: it has no luck')", "process 1: it has no luck", "mend what the line says"),
        ("time.sleep(60)", "process 1 did not end in time and was killed", "py-spy"),
    ],
)
def test_whatever_becomes_of_a_process_there_is_a_line(body: str, says: str, advises: str) -> None:
    body = f"import os, sys, time\nif os.environ['RANK'] == '1': {body}"
    tell = environments(2, dict(os.environ), gpus=False)
    proof, (finding,) = run_peers([sys.executable, "-c", body], tell, 0, 2.0, "processes")
    assert proof is None
    assert (finding.value, finding.verdict) == (says, "broken")
    assert advises in finding.fix


def test_processes_of_its_own_know_nothing_of_another_launcher() -> None:
    base = {"SLURM_PROCID": "3", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "x", "HOME": "/home", "OMP_NUM_THREADS": "9"}
    one, two = environments(2, base, gpus=False)
    assert (one["RANK"], two["RANK"], one["WORLD_SIZE"], one["CUDA_VISIBLE_DEVICES"]) == ("0", "1", "2", "")
    assert one["MASTER_PORT"] == two["MASTER_PORT"]
    assert not {"SLURM_PROCID", "TORCHELASTIC_RUN_ID", "OMP_NUM_THREADS"} & set(one)
    assert "CUDA_VISIBLE_DEVICES" not in environments(1, base, gpus=True)[0]


def test_advice_follows_from_what_was_said() -> None:
    assert "dmesg" in advice("process 1 is gone without a word, killed or cut off")
    assert "GLOO_SOCKET_IFNAME" in advice("process 0: the connection to the other processes is lost")


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf"])
def test_a_patience_that_is_no_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", f"--patience={seconds}"])
    assert f"aedist: --patience: {seconds} is not a time" in capsys.readouterr().err
