"""Other libraries that read images for training, each in an environment of its own, or the reason why it is not there.

An environment is made once and kept. It sees the packages of this one (torch, numpy) behind its own, so that a peer
brings what it alone needs, and its own versions of what it pins. pip is asked as it is configured on this machine.
"""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from material import Material, cache_folder
from measuring import Repeat, from_plain
from peerloops import CALIBRATION_BYTES

_INSTALL_SECONDS = 900
_RUN_SECONDS = 300


@dataclass(frozen=True)
class Peer:
    """A library, and how pip knows it."""

    name: str
    title: str
    requirements: tuple[str, ...]


PEERS = (
    Peer("litdata", "LitData", ("litdata==0.2.76",)),
    Peer("mosaic", "MosaicML Streaming", ("mosaicml-streaming==0.13.0",)),
    Peer("ffcv", "FFCV", ("ffcv==1.0.2", "setuptools<81")),
    Peer("dali", "DALI, CPU", ("nvidia-dali-cuda120",)),
)


def install(peer: Peer) -> Path | str:
    """The Python of a peer's environment, or in a few words why there is none. A failure is not tried again."""
    folder = cache_folder() / "environments" / peer.name
    python, failed = folder / "bin" / "python", folder / "failed"
    if failed.exists():
        return failed.read_text(encoding="utf-8")
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        own = next(folder.glob("lib/python*/site-packages"))
        (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        print(f"installing {peer.title} into {folder}", file=sys.stderr)
        said = _quietly([python, "-m", "pip", "install", *peer.requirements], _INSTALL_SECONDS)
        if said is not None:
            failed.write_text(f"cannot be installed: {said}", encoding="utf-8")
            return failed.read_text(encoding="utf-8")
        (folder / "installed").touch()
    return python


def run_peer(peer: Peer, material: Material, repeats: int) -> list[Repeat] | str:
    """What its repeats took, or in a few words why it did not run."""
    python = install(peer)
    if isinstance(python, str):
        return python
    material.folder.mkdir(parents=True, exist_ok=True)
    job, out = (material.folder / f"{peer.name}-{name}.json" for name in ("job", "out"))
    out.unlink(missing_ok=True)
    told = {
        "files": str(material.files),
        "tars": [str(path) for path in material.tars],
        "extension": material.extension,
        "channels": material.split.index.image_shape[2],
        "folder": str(material.folder),
        "repeats": repeats,
        "calibration_images": material.images_of(CALIBRATION_BYTES),
        "out": str(out),
    }
    print(f"{material.name}: {peer.title}", file=sys.stderr)
    job.write_text(json.dumps(told), encoding="utf-8")
    said = _quietly([python, Path(__file__).with_name("peerloops.py"), peer.name, job], _RUN_SECONDS)
    return f"does not run: {said}" if said is not None else from_plain(json.loads(out.read_text(encoding="utf-8")))


def _quietly(command: list[str | Path], seconds: float) -> str | None:
    """Run it. None if it went well, else the last line that says an error."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"took longer than {seconds:.0f} s"
    if not done.returncode:
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    telling = (
        [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        or lines
        or [f"exit code {done.returncode}"]
    )
    return telling[-1].replace("|", "/")[:160]
