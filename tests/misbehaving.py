"""An HTTP server on loopback that gives the files of a folder, and misbehaves on purpose, by path and attempt."""

import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOREVER = 1_000


class Misbehaving:
    """The server. Entered, it serves; left, it is off and its port refuses connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        """By file name, what happens to the first GET, the second, ...; what comes after them is served well."""
        self.asked: defaultdict[str, list[int]] = defaultdict(list)
        """By file name, the first byte that each GET asked for."""
        self.heads: defaultdict[str, int] = defaultdict(int)
        self.lock, self.off = threading.Lock(), threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.told = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Misbehaving":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.off.set()
        self._server.shutdown()
        self._server.server_close()

    def misbehave(self, name: str, faults: Sequence[str]) -> None:
        self.faults[name] = list(faults)

    def next_fault(self, name: str, start: int) -> str:
        with self.lock:
            self.asked[name].append(start)
            faults = self.faults.get(name)
            return faults.pop(0) if faults else ""

    def gets(self, ending: str) -> dict[str, int]:
        """How often each file of that ending was asked for."""
        return {name: len(starts) for name, starts in sorted(self.asked.items()) if name.endswith(ending)}


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128
    told: Misbehaving


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        path = self.server.told.folder / self.path.lstrip("/")
        with self.server.told.lock:
            self.server.told.heads[path.name] += 1
        if not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()

    def do_GET(self) -> None:
        told, path = self.server.told, self.server.told.folder / self.path.lstrip("/")
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        fault = told.next_fault(path.name, start)
        if fault.isdigit() or not path.is_file():
            self.send_error(int(fault or 404))
            return
        if fault.startswith("to "):
            self.send_response(302)
            self.send_header("Location", fault[3:])
            self.end_headers()
            return
        content = path.read_bytes()
        total = len(content)
        if fault == "page":
            content, start, total = b"<html>Welcome!</html>", 0, 21
        if "flipped" in fault:
            content = content[: total // 3] + bytes([content[total // 3] ^ 1]) + content[total // 3 + 1 :]
        start = 0 if "no range" in fault else start
        if start >= total:
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        if "no length" not in fault:
            self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        half = any(word in fault for word in ("short", "stall", "reset"))
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()
        if "stall" in fault:
            told.off.wait(30)
        if "reset" in fault:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
