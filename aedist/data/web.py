"""Files over http and https: ranges, no surprises.

Python's own client is used and not fsspec's: one blocking connection with a limit on every wait for bytes, which
survives a fork into loader workers, says when a body ends early, and asks for the rest by Range. fsspec's needs an
event loop in a thread of its own, which does not, and seven more packages. Proxies are taken from the environment as
everywhere. A redirection may lead to http and https alone, and never from https to http.
"""

import re
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from aedist.data.address import scheme_of
from aedist.data.transport import Body, Broken, Refused

_PIECE_BYTES = 2**18
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_RIGHTS = "make the files readable without a password, or give the cloud's own address with credentials"
_ABSENT = "correct data.shards, or put the file there"
_TRY_LATER = {408, 425, 429}
_NO_HEAD = {405, 501}


def open_web(url: str, start: int, stall_seconds: float) -> Body:
    """The file at ``url`` from byte ``start`` on.

    Raises:
        Refused: if the server says that there is no such file, or no right to it.
        Broken: if it does not answer, or with an error of its own.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    response = _answer(_request(url, headers), stall_seconds)
    if response.status != 206:
        return Body(0, _length(response), _pieces(response, stall_seconds))
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != start:
        response.close()
        raise Broken("answers with another range than was asked for")
    return Body(start, int(match[2]) if match[2] != "*" else None, _pieces(response, stall_seconds))


def length_on_web(url: str, stall_seconds: float) -> int | None:
    """How long the file at ``url`` is; None where the server does not say.

    Raises:
        Refused, Broken: as ``open_web``.
    """
    try:
        with _answer(_request(url, {}, "HEAD"), stall_seconds) as response:
            return _length(response)
    except _NotAsked:
        return None


def _request(url: str, headers: dict[str, str], method: str = "GET") -> Request:
    headers = {"Accept-Encoding": "identity", "User-Agent": "aedist"} | headers
    return Request(url, headers=headers, method=method)  # noqa: S310 (its scheme was checked, and the opener knows no other)


class _NotAsked(Exception):
    """The server does not answer such a question."""


class _Redirects(HTTPRedirectHandler):
    """Follows a redirection with the question unchanged, unless it leads to where nothing is read from."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        _check_redirection(req.full_url, newurl)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()  # Python before 3.13 asks for the whole file instead of its head
        return new


def _check_redirection(here: str, there: str) -> None:
    before, after = scheme_of(here), scheme_of(there).lower()
    if after not in ("http", "https") or (before == "https" and after == "http"):
        raise Refused(f"is redirected from {before} to {after[:20]}, which is refused", "give the address it leads to")


def _opener() -> OpenerDirector:
    """Knows http and https, and neither files nor ftp."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(), _Redirects()):
        opener.add_handler(handler)
    for handler in (HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    return opener


def _answer(request: Request, stall_seconds: float) -> HTTPResponse:
    try:
        return _opener().open(request, timeout=stall_seconds)
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            _check_redirection(request.full_url, urljoin(request.full_url, error.headers.get("Location", "")))
        if error.code == 416 and request.has_header("Range"):  # shorter than what is here: from its start again
            request.remove_header("Range")
            return _answer(request, stall_seconds)
        if error.code in _NO_HEAD and request.get_method() == "HEAD":
            raise _NotAsked from error
        said = f"answers {error.code} {_plain(error.reason)}".rstrip()
        if error.code >= 500 or error.code in _TRY_LATER:
            raise Broken(said) from error
        raise Refused(said, _RIGHTS if error.code in (401, 403, 407) else _ABSENT) from error
    except (OSError, HTTPException) as error:
        raise _broken(error, stall_seconds) from error


def _pieces(response: HTTPResponse, stall_seconds: float) -> Iterator[bytes]:
    with response:
        while True:
            try:
                piece = response.read1(_PIECE_BYTES)  # one wait, so that nothing that came is lost with a stall
            except (OSError, HTTPException) as error:
                raise _broken(error, stall_seconds) from error
            if not piece:
                return
            yield piece


def _length(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _broken(error: Exception, stall_seconds: float) -> Broken:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return Broken(f"no byte came for {stall_seconds:g} s")
    told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Broken(f"the connection failed ({_plain(told)})")


def _plain(text: object) -> str:
    """A server's or the system's words in one short line."""
    line = " ".join(str(text).split())[:100]
    return line if line.isprintable() else ascii(line)
