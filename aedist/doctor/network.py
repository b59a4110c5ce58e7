"""Whether processes could reach each other: loopback, this machine's own name, and interfaces named to the libraries.

gloo and NCCL ask the system which address belongs to the machine's own name, and tell the others that one. Where the
name leads nowhere, or to loopback on a machine that is to work with others, nothing comes together.
"""

import ipaddress
import resource
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.finding import Finding, Verdict, judged

_GROUP = "network"
_SLOW_SECONDS = 1.0


@dataclass(frozen=True)
class Network:
    """What was read."""

    name: str
    """This machine's."""
    addresses: tuple[str, ...]
    """What its name stands for."""
    bindable: tuple[str, ...]
    """Those of them that are this machine's."""
    lookup_seconds: float
    loopback: bool
    """Whether a port can be opened on it."""
    interfaces: tuple[str, ...]
    gloo_interface: str | None = None
    """GLOO_SOCKET_IFNAME."""
    nccl_interface: str | None = None
    """NCCL_SOCKET_IFNAME."""
    infiniband: tuple[str, ...] = ()
    """Its devices."""
    locked_memory: int = -1
    """Bytes that a process may lock in memory; -1 for any number."""


def read_network(gloo_interface: str | None, nccl_interface: str | None) -> Network:
    """Read it; a name server that does not answer may take its time."""
    name, start = socket.gethostname(), time.monotonic()
    try:
        told = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in told))
    except (OSError, UnicodeError):
        addresses = ()
    seconds = time.monotonic() - start
    devices = Path("/sys/class/infiniband")
    return Network(
        name=name,
        addresses=addresses,
        bindable=tuple(address for address in addresses if _can_open(address)),
        lookup_seconds=seconds,
        loopback=_can_open("127.0.0.1"),
        interfaces=tuple(interface for _, interface in socket.if_nameindex()),
        gloo_interface=gloo_interface,
        nccl_interface=nccl_interface,
        infiniband=tuple(sorted(path.name for path in devices.iterdir())) if devices.is_dir() else (),
        locked_memory=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
    )


def judge_network(read: Network, nodes: int = 1) -> list[Finding]:
    """The verdicts, for a job on so many machines."""
    found = [
        Finding(_GROUP, "loopback", "127.0.0.1 can be opened")
        if read.loopback
        else Finding(_GROUP, "loopback", "no port can be opened on 127.0.0.1", "broken", "ip link set lo up, as root"),
        _judge_name(read, nodes),
    ]
    exists = ", ".join(read.interfaces)
    if read.gloo_interface:
        wrong = [word for word in read.gloo_interface.split(",") if word not in read.interfaces]
        fix = f"unset it, or name one of {exists}"
        value = f"GLOO_SOCKET_IFNAME={read.gloo_interface}"
        found.append(judged(_GROUP, "gloo's interface", value, "broken" if wrong else "good", fix))
    if read.nccl_interface:
        fix = f"unset it, or name the beginning of one of {exists}"
        value = f"NCCL_SOCKET_IFNAME={read.nccl_interface}"
        wrong = not any(nccl_takes(read.nccl_interface, interface) for interface in read.interfaces)
        found.append(judged(_GROUP, "NCCL's interface", value, "broken" if wrong else "good", fix))
    if read.infiniband:
        value = ", ".join(read.infiniband)
        if read.locked_memory >= 0:
            fix = "ulimit -l unlimited (of slurmd, too): NCCL locks the memory that it sends from"
            value = f"{value}; {read.locked_memory:,} bytes may be locked"
            found.append(Finding(_GROUP, "InfiniBand", value, "look here", fix))
        else:
            found.append(Finding(_GROUP, "InfiniBand", value))
    return found


def nccl_takes(words: str, interface: str) -> bool:
    """Whether NCCL_SOCKET_IFNAME lets NCCL use an interface.

    It lists beginnings of names; ``^`` in front leaves these out, ``=`` means whole names.
    """
    excludes, exact = words.startswith("^"), words.lstrip("^").startswith("=")
    names = words.lstrip("^").removeprefix("=").split(",")
    hit = any(interface == name if exact else interface.startswith(name) for name in names if name)
    return hit != excludes


def _judge_name(read: Network, nodes: int) -> Finding:
    name = "own name"
    value = f"{read.name}: {', '.join(read.addresses) or 'stands for no address'}"
    together: Verdict = "broken" if nodes > 1 else "look here"
    if read.gloo_interface:  # the name is not asked then
        return Finding(_GROUP, name, value, same=False)
    if not read.bindable:
        fix = f"add '127.0.1.1 {read.name}' to /etc/hosts, or export GLOO_SOCKET_IFNAME=lo (one machine)"
        if nodes > 1:
            fix = "have it stand for an address on the network, or export GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
        value += " of this machine" if not read.addresses else ", which is not this machine"
        return Finding(_GROUP, name, value, together, fix, same=False)
    if nodes > 1 and all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in read.bindable):
        fix = "it is told to the others as this machine's: export GLOO_SOCKET_IFNAME=INTERFACE, or mend /etc/hosts"
        return Finding(_GROUP, name, value, "broken", fix, same=False)
    if read.lookup_seconds > _SLOW_SECONDS:
        fix = f"add it to /etc/hosts: each look-up takes {read.lookup_seconds:.0f} s"
        return Finding(_GROUP, name, value, "look here", fix, same=False)
    return Finding(_GROUP, name, value, same=False)


def _can_open(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as server:
            server.bind((address, 0))
            server.listen()
    except OSError:
        return False
    return True
