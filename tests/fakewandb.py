"""A server that W&B takes for its own, on the loopback: it keeps what it is sent, or refuses to.

It knows as much as a run of the pinned version asks for: to be made or found (GraphQL), rows of history by their
offset (the file stream), files by upload. As the service does, it lets rows that come for an offset replace what was
there from that offset on.
"""

import gzip
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass
class FakeRun:
    """What the server was sent of a run."""

    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """The variables of the last request to make or change it."""
    files: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes by name."""
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        return {name: entry["value"] for name, entry in json.loads(self.facts["config"]).items()}


@dataclass
class FakeServer:
    url: str
    runs: dict[str, FakeRun] = field(default_factory=dict[str, FakeRun])
    requests: list[str] = field(default_factory=list[str])
    mode: Literal["well", "error", "hang"] = "well"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:mutation|query)\s+(\w+)", query)
        name = found[1] if found else ""
        self.requests.append(name)
        if name == "UpsertBucket":
            known = variables["name"] in self.runs
            run = self.runs.setdefault(variables["name"], FakeRun())
            run.facts.update({key: value for key, value in variables.items() if value is not None})
            return {"upsertBucket": {"bucket": self._bucket(variables["name"]), "inserted": not known}}
        if name == "RunResumeStatus":
            bucket = self._bucket(variables["name"]) if variables["name"] in self.runs else None
            return {"model": {"id": "model", "name": "a", "entity": {"id": "entity", "name": "e"}, "bucket": bucket}}
        if name == "CreateRunFiles":
            files = [
                {"name": file, "uploadUrl": f"{self.url}/upload/{variables['run']}/{file}"}
                for file in variables["files"]
            ]
            return {"createRunFiles": {"runID": "id", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        run = self.runs.setdefault(name, FakeRun())
        for file, chunk in body.get("files", {}).items():
            if file == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]
            elif file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if body.get("complete"):
            run.exit_code = body["exitcode"]

    def _bucket(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        return {
            "id": f"id of {name}",
            "name": name,
            "displayName": run.facts.get("displayName") or name,
            "description": "",
            "sweepName": run.facts.get("sweep"),
            "project": {"id": "project", "name": run.facts["project"], "entity": {"id": "entity", "name": "e"}},
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary),
            "config": run.facts.get("config") or "{}",
            "tags": run.facts.get("tags") or [],
            "notes": "",
            "wandbConfig": json.dumps({"t": {"value": 1}}),
        }


@contextmanager
def serving(mode: Literal["well", "error", "hang"] = "well") -> Generator[FakeServer]:
    """A server on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._reply({})

        def do_PUT(self) -> None:
            body = self._body()
            _, _, run, name = self.path.split("/", 3)
            if server.mode == "well":
                server.runs[run].files[name] = len(body)
            self._reply({})

        def do_POST(self) -> None:
            body = self._body()
            if server.mode == "hang":
                while not ended.wait(0.1) and server.mode == "hang":
                    pass
            if server.mode != "well":
                self._reply({}, 500)
            elif self.path == "/graphql":
                asked = json.loads(body)
                self._reply({"data": server.answer(asked["query"], asked.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                server.stream(self.path.split("/")[-2], json.loads(body))
                self._reply({})
            else:
                self._reply({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, body: dict[str, Any], code: int = 200) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed."""

    ended = threading.Event()
    http = Quiet(("127.0.0.1", 0), Handler)
    server = FakeServer(f"http://127.0.0.1:{http.server_port}", mode=mode)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        ended.set()
        http.shutdown()
        http.server_close()
        thread.join()
