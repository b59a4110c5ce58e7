"""A hub of models on this machine: just the endpoints that huggingface_hub pushes to and loads from.

It keeps what it is given in memory: each commit is a dict of files. Tokens say who somebody is: ``writer-NAME`` may
write below NAME; any other token is nobody's.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Hub:
    """The repositories by ``owner/name``: whether private, and the commits by their names, the newest last."""

    url: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)

    def files(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit's name and its files."""
        known = self.commits[repository]
        name = next(reversed(known), "") if revision == "main" else revision
        return (name, known[name]) if name in known else None

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """A new commit on top of the newest one."""
        known = self.commits[repository]
        newest = known[next(reversed(known))] if known else {}
        name = hashlib.sha1(repr((repository, len(known))).encode()).hexdigest()
        known[name] = {**newest, **files}
        return name


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """A hub that answers on ``hub.url`` while this lasts."""
    hub = Hub()

    class Handler(_Handler):
        the_hub = hub

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    the_hub: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: PLR0911 (a line an endpoint)
        body, path = self._body(), urlsplit(self.path).path
        hub, token = self.the_hub, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith("writer-"):
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if token != f"writer-{asked['organization']}":
                return self._answer(403, {"error": "You don't have the rights"})
            there = repository in hub.commits
            if not there:
                hub.commits[repository] = {}
                hub.private[repository] = asked.get("private") is True or asked.get("visibility") == "private"
            return self._answer(409 if there else 200, {"url": f"{hub.url}/{repository}", "name": repository})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if match is None or match[1] not in hub.commits:
            return self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        if token != f"writer-{match[1].split('/')[0]}":
            return self._answer(403, {"error": "You don't have the rights"})
        if match[2] == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self._answer(200, {"files": files})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        oid = hub.commit(match[1], files)
        return self._answer(
            200,
            {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{match[1]}/commit/{oid}", "hookOutput": ""},
        )

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.the_hub, urlsplit(self.path).path
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = info or file
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if found is None or found[1] not in hub.commits:
            return self._answer(401 if not token else 404, {"error": "Repository not found"}, code="RepoNotFound")
        if hub.private[found[1]] and token != f"writer-{found[1].split('/')[0]}":
            return self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        commit = hub.files(found[1], found[2] or "main")
        if commit is None:
            return self._answer(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        name, files = commit
        if file is None:
            siblings = [{"rfilename": path} for path in files]
            told = {"id": found[1], "sha": name, "siblings": siblings, "tags": [], "private": hub.private[found[1]]}
            return self._answer(200, told)
        if file[3] not in files:
            return self._answer(404, {"error": "Entry not found"}, code="EntryNotFound", commit=name)
        return self._send(200, files[file[3]], {"X-Repo-Commit": name, "ETag": _etag(files[file[3]])})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: dict[str, Any], code: str = "", commit: str = "") -> None:
        heads = {"Content-Type": "application/json"}
        heads |= {"X-Error-Code": code, "X-Error-Message": content.get("error", "")} if code else {}
        heads |= {"X-Repo-Commit": commit} if commit else {}
        self._send(status, json.dumps(content).encode(), heads)

    def _send(self, status: int, content: bytes, heads: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**heads, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha1(content).hexdigest()}"'
