"""The scripts of launch/, slurm/ and .ci/ as they stand on disk: that they parse, agree with pyproject.toml and each
other, and say nothing of the machine they were written on. Running them is CI's and the cluster's part.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch"
SLURM = ROOT / "slurm"
TEMPLATES = sorted(SLURM.glob("*.sbatch"))
COMMANDS = [LAUNCH / "demo", LAUNCH / "test", LAUNCH / "environment.sh", ROOT / ".ci" / "run"]
SCRIPTS = [*COMMANDS, *TEMPLATES, SLURM / "accelerate.sh"]
SOURCED = [SLURM / "job.sh", SLURM / "site.sh"]
WRITTEN = [*SCRIPTS, *SOURCED, *sorted(LAUNCH.glob("*.*")), *sorted(SLURM.glob("*.md"))]


def name_of(path):
    return str(path.relative_to(ROOT))


def pins():
    """The version that constraints.txt gives each package."""
    lines = (LAUNCH / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(set(names)) == len(names), "a package is pinned twice"
    return dict(zip(names, (version for _, version in pairs), strict=True))


def requirements():
    """Every requirement of pyproject.toml: to run, to test, to build."""
    record = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = record["project"]
    extras = [word for words in project["optional-dependencies"].values() for word in words]
    return [Requirement(word) for word in [*project["dependencies"], *extras, *record["build-system"]["requires"]]]


@pytest.mark.parametrize("script", [*SCRIPTS, *SOURCED], ids=name_of)
def test_every_script_is_bash_that_parses(script):
    assert (script.read_text().splitlines()[0] in {"#!/usr/bin/env bash", "#!/bin/bash"}) == (script in SCRIPTS)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_every_command_may_be_executed(command):
    assert command.stat().st_mode & 0o111 == 0o111


def test_every_requirement_is_pinned_to_a_version_that_pyproject_allows():
    pinned = pins()
    for requirement in requirements():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} does not allow {version}"


@pytest.mark.parametrize(
    ("name", "kind", "processes"), [("cpu", "MULTI_GPU", 2), ("workstation", "NO", 1), ("node", "MULTI_GPU", 8)]
)
def test_accelerate_reads_the_topologies_as_they_are_meant(name, kind, processes):
    """``accelerate`` itself loads each file, and none of them decides anything that belongs to the configuration."""
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert (loaded.distributed_type.value, loaded.num_processes, loaded.num_machines) == (kind, processes, 1)
    assert loaded.mixed_precision == "no"
    assert loaded.use_cpu is False
    assert not any([loaded.deepspeed_config, loaded.fsdp_config, loaded.dynamo_config, loaded.parallelism_config])


def test_the_cpu_topology_hides_every_gpu_and_takes_any_free_port():
    values = yaml.safe_load((LAUNCH / "cpu.yaml").read_text())
    ids = values["gpu_ids"].split(",")
    assert set(ids) == {"-1"}
    assert len(ids) >= 2  # accelerate refuses one id for several processes
    assert values["main_process_port"] == 0


@pytest.mark.parametrize("template", TEMPLATES, ids=name_of)
def test_sbatch_options_stand_before_the_first_command(template):
    """SLURM ignores, without a word, every #SBATCH line after the first command."""
    lines = template.read_text().splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert len(options) >= 6
    assert max(options) < min(commands)


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_nothing_names_a_machine_or_a_package_index(path):
    names = r"/(?:home|root|work|opt|tmp|Users|mnt|scratch)/\S*|--(?:extra-)?index-url\S*|https?://\S+"
    assert re.findall(names, path.read_text()) == []


def test_the_site_is_edited_in_one_place():
    """No template asks for an account or partition, or loads a module: what a site needs stands in site.sh alone."""
    for template in TEMPLATES:
        assert not re.search(r"--account|--partition|--qos|^\s*module ", template.read_text(), re.MULTILINE)
        assert "source slurm/job.sh" in template.read_text()
    assert "source slurm/site.sh" in (SLURM / "job.sh").read_text()
