"""A real browser without a window, spoken to over pipes in the protocol of Chrome's developer tools."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from base64 import b64decode

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_SECONDS = 60.0


def find_browser():
    """The program, or None where there is none that runs: a distribution may have one that only names a package."""
    for path in filter(None, map(shutil.which, _NAMES)):
        if not subprocess.run([path, "--version"], check=False, capture_output=True).returncode:
            return path
    return None


class Browser:
    """One page of a browser that knows nobody: a fresh profile, and no host can be looked up."""

    def __init__(self, program, profile):
        ours, theirs = os.pipe(), os.pipe()  # commands to it, what it says
        words = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--force-device-scale-factor=1",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        fix = f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$@"'  # the protocol's file descriptors are 3 and 4
        self._process = subprocess.Popen(
            ["bash", "-c", fix, "browser", *words],
            pass_fds=(ours[0], theirs[1]), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from, self._buffer, self._id = ours[1], theirs[0], b"", 0
        self._session, self.events = None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """Send a command and return its result; events that come in between are kept."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._id:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self.events.append(found)

    def _read(self):
        until = time.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], max(0, until - time.monotonic()))[0], "the browser says nothing"
            piece = os.read(self._from, 2**20)
            assert piece, "the browser is gone"
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def run(self, script):
        """The value of an expression on the page, a promise's when it is there."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script):
        """Wait until an expression on the page is true."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)

    def look(self, path, width=1200, height=900, *, dark=False, is_paper=False, scripts=True):
        """Open a file, as wide a window as that, and wait until it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="print" if is_paper else "", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.events.clear()  # what the page before said to the change
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.until(f"document.readyState === 'complete' && location.href.endsWith({json.dumps(path.name)})")

    def screenshot(self, path, whole=True):
        """Save what is seen, or the whole page."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(b64decode(data))

    def pdf(self):
        """The page as paper, A4."""
        return b64decode(self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)["data"])

    @property
    def faults(self):
        """What the page's console and log told of errors and warnings, and exceptions nobody caught."""
        told = []
        for event in self.events:
            kind, content = event.get("method"), event.get("params", {})
            if kind == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
                told.append([part.get("value") for part in content["args"]])
            elif kind == "Runtime.exceptionThrown":
                told.append(content["exceptionDetails"])
            elif kind == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
                told.append(content["entry"])
        return told

    @property
    def requests(self):
        """The addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def close(self):
        """End it and all its processes."""
        with contextlib.suppress(OSError):
            os.close(self._to)
            os.close(self._from)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
