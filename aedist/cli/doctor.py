"""The verb that looks at this machine, and proves that processes work together on it."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import asked_of_launcher, cache_folder
from aedist.cli.terminal import at_work
from aedist.errors import EXIT_FAULT, UserError

if TYPE_CHECKING:
    from aedist.asked import Asked
    from aedist.doctor.finding import Finding
    from aedist.doctor.peer import Proof
    from aedist.doctor.rollcall import Address

_MARGIN_SECONDS = 120.0
"""What a proof may take besides waiting for those who come late."""
_LONGEST_PATIENCE_SECONDS = 86_400.0
_SECONDS_FOR_RANK_ZERO = 5.0
_COLOURS = {"good": "green", "look here": "yellow", "broken": "bold red"}


def add_verbs(verbs: Any) -> None:
    """The verb doctor."""
    doctor = verbs.add_parser(
        "doctor",
        help="say what is wrong with this machine, and prove that processes work together",
        description="Under srun, torchrun or accelerate launch: the same of all machines. Exit code 1 if something is "
        "broken.",
    )
    doctor.add_argument("--quick", action="store_true", help="facts alone, without starting processes")
    doctor.add_argument("--json", action="store_true", help="the same for programs")
    doctor.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (runs)")
    doctor.add_argument("--shards", type=Path, default=Path("shards"), help="where shards are built (shards)")
    doctor.add_argument("--cache", type=Path, help="where weights and fetched shards are kept")
    doctor.add_argument(
        "--patience", type=float, default=120.0, metavar="SECONDS", help="how long processes wait for each other (120)"
    )
    doctor.add_argument("--peer", type=Path, help=argparse.SUPPRESS)  # be a process of the proof; FILE: what it tells
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    if not 0 < arguments.patience <= _LONGEST_PATIENCE_SECONDS:
        raise UserError(f"--patience: {arguments.patience:g} is not a time of at most a day; give seconds, such as 120")
    environment = dict(os.environ)  # before srun's words are put into others'
    asked = asked_of_launcher()
    if arguments.peer is not None:
        _be_peer(arguments, asked)
        return
    import aedist
    from aedist.doctor.facts import Folders, find_facts
    from aedist.doctor.nodes import merge

    checkout = Path(aedist.__file__).parents[1]
    folders = Folders(
        arguments.runs,
        arguments.shards,
        arguments.cache or asked.cache or cache_folder(),
        checkout / "launch" / "constraints.txt",
    )
    with at_work("looking at this machine") if asked.world == 1 else nullcontext():
        own = find_facts(folders, environment, asked.local_world) if asked.local_rank == 0 else []
    if arguments.quick:
        if asked.rank == 0:
            _tell(own, as_json=arguments.json)
        return
    if asked.world == 1:
        with at_work("proving that processes work together"):
            proved = _prove_here(arguments, environment)
        _tell([*own, *proved], as_json=arguments.json)
        return
    proof, troubles = _prove(arguments, [environment], own, asked.rank, "processes")
    if asked.rank == 0:
        facts = merge(proof.by_host) if proof is not None else own
        found = proof.findings if proof is not None else []
        _tell([*facts, *found, *troubles], as_json=arguments.json)
    elif troubles:
        for trouble in troubles:
            print(f"aedist: process {asked.rank}: {trouble.value}; {trouble.fix}", file=sys.stderr)
        sys.stderr.flush()
        time.sleep(_SECONDS_FOR_RANK_ZERO)  # a launcher ends all when one leaves so, and rank zero has more to say
        sys.exit(EXIT_FAULT)


def _prove_here(arguments: argparse.Namespace, environment: Mapping[str, str]) -> "list[Finding]":
    """The proof on this machine alone: two processes on the CPU, and one a GPU."""
    import torch

    from aedist.doctor.peers import environments

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found: list[Finding] = []
    for world, on_gpus in ((2, False), (gpus, True)):
        if world:
            group = "processes on GPUs" if on_gpus else "processes"
            proof, troubles = _prove(arguments, environments(world, environment, gpus=on_gpus), [], 0, group)
            found += [*(proof.findings if proof is not None else []), *troubles]
    return found


def _prove(
    arguments: argparse.Namespace,
    environments: Sequence[Mapping[str, str]],
    own: "Sequence[Finding]",
    first_rank: int,
    group: str,
) -> "tuple[Proof | None, list[Finding]]":
    from dataclasses import asdict

    from aedist.doctor.peers import run_peers

    with tempfile.TemporaryDirectory(prefix="aedist-doctor-") as scratch:
        told = Path(scratch) / "own.json"
        told.write_text(json.dumps({"group": group, "own": [asdict(finding) for finding in own]}), encoding="utf-8")
        command = [sys.executable, "-m", "aedist", "doctor", "--peer", str(told)]
        command += ["--patience", str(arguments.patience)]
        return run_peers(command, environments, first_rank, arguments.patience + _MARGIN_SECONDS, group)


def _be_peer(arguments: argparse.Namespace, asked: "Asked") -> None:
    from dataclasses import replace

    from aedist.doctor.finding import Finding
    from aedist.doctor.peer import take_part

    told = json.loads(arguments.peer.read_text(encoding="utf-8"))
    own = [Finding(**finding) for finding in told["own"]]
    asked = replace(asked, parent=os.getppid())
    proof = take_part(asked, _address(), own, arguments.patience, told["group"])
    if asked.rank == 0:
        print(json.dumps(proof.record()))


def _address() -> "Address | None":
    from aedist.doctor.rollcall import Address

    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if not port:
        return None
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"MASTER_PORT: the environment has {port!r}; a launcher sets it to a port, or unset it")
    return Address(host, int(port), is_served=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True")


def _tell(findings: "Sequence[Finding]", *, as_json: bool) -> None:
    """Say it, and exit with 1 if something is broken."""
    from aedist.doctor.finding import worst
    from aedist.doctor.telling import last_line, lines, record

    if as_json:
        print(json.dumps(record(findings), indent=1))
    elif sys.stdout.isatty():
        _show(findings)
        print(last_line(findings))
    else:
        for line in [*lines(findings), last_line(findings)]:
            print(line)
    sys.stdout.flush()
    if worst(findings) == "broken":
        sys.exit(EXIT_FAULT)


def _show(findings: "Sequence[Finding]") -> None:
    """As a table, for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aedist.doctor.telling import spell

    table, before = Table(box=None, pad_edge=False, show_header=False), ""
    for finding in findings:
        name, value = spell(finding)
        text = Text(value)
        if finding.fix:
            text.append(f"\n-> {finding.fix}", style="cyan")
        group = Text(finding.group if finding.group != before else "", style="bold")
        before = finding.group
        table.add_row(group, Text(finding.verdict, style=_COLOURS[finding.verdict]), Text(name), text)
    Console().print(table)
