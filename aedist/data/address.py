"""Addresses of shards: which there may be, and what none of them may hold.

An address is written into config.yaml, logs and reports, so that it may not carry a password or a signature. It is
never given to a shell or opened by anything but the readers of this package, and it names one place: patterns, pipes
and chains of file systems, as other libraries read them, are refused.
"""

import re
from urllib.parse import quote, urlsplit

from aedist.errors import UserError

SCHEMES = ("http", "https", "s3", "gs", "hf")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without the space


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address, good or bad, and not as a folder."""
    return _SCHEME.fullmatch(text) is not None


def check_address(text: str, key: str = "data.shards") -> str:
    """The address without slashes at its end.

    Args:
        text: what ``is_address`` takes for one.
        key: where it was given, for messages.

    Raises:
        UserError: in one line that does not show what is secret in it.
    """
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text)
    problem = _problem(scheme, rest)
    if problem:
        raise UserError(f"{key}: {redacted(text)} is refused: {problem}")
    return f"{scheme}:{rest.rstrip('/')}"


def join(address: str, name: str) -> str:
    """The address of something below another, by its plain name."""
    return f"{address}/{quote(name, safe='') if is_on_web(address) else name}"


def is_on_web(address: str) -> bool:
    """Whether it is read over http or https, and not by a cloud's library."""
    return scheme_of(address) in ("http", "https")


def scheme_of(address: str) -> str:
    """``https`` and the like."""
    return address.partition(":")[0]


def redacted(text: str) -> str:
    """An address as it may be shown: without what may be a password, a signature or a control character."""
    shown = re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
    shown = re.sub(r"[?#].*", "?***", shown, flags=re.DOTALL)
    return shown if shown.isprintable() else ascii(shown)


def _problem(scheme: str, rest: str) -> str | None:
    """What is wrong with an address, with the fix behind a semicolon."""
    host, _, path = rest[2:].partition("/")
    parts = path.rstrip("/").split("/") if path else []
    known = ", ".join(f"{name}://" for name in SCHEMES)
    # of a repository in the hub, @ marks the revision
    problems = (
        (
            scheme not in SCHEMES,
            f"shards are read from {known} only; give a folder's path without a scheme ('./a:b' for one 'a:b')",
        ),
        (not rest.startswith("//") or not host, f"it names no place; write {scheme}://HOST/PATH"),
        (
            "@" in (host if scheme == "hf" else rest),
            "a name and a password would end in config.yaml; leave them out: credentials come from the environment or "
            "the configuration of the cloud's own library",
        ),
        (
            "?" in rest or "#" in rest,
            "what follows ? or # may be a signature, which would end in config.yaml; leave it out, and give the "
            "cloud's own address with credentials from the environment",
        ),
        (
            not _PLAIN.fullmatch(rest) or "\\" in rest,
            "it holds a space, a backslash or a character outside ASCII; write those percent-encoded",
        ),
        (
            any(part in ("", ".", "..") for part in parts),
            "a part of its path is empty, . or ..; name the place itself",
        ),
    )
    found = next((problem for is_so, problem in problems if is_so), None)
    return found or (_host_problem(f"{scheme}:{rest}") if scheme in ("http", "https") else None)


def _host_problem(url: str) -> str | None:
    try:
        split = urlsplit(url)
        return None if split.hostname and split.port != 0 else "it names no host; write one"
    except ValueError:
        return "its host or port is none; correct it"
