"""A run's directory made by hand, W&B without a trace of anybody's account, and what W&B's own files hold."""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

from aedist.tracking.tracker import Record

IMAGES_A_STEP = 10
RUN_ID = "abc123"


def leave_no_account(home: Path, monkeypatch: pytest.MonkeyPatch, **words: str) -> None:
    """A home without any trace of W&B; then ``words`` are set."""
    home.mkdir(exist_ok=True)
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    folders = {"HOME": home, "WANDB_CACHE_DIR": home / "cache", "WANDB_CONFIG_DIR": home / "config"}
    for name, value in {**{name: str(folder) for name, folder in folders.items()}, **words}.items():
        monkeypatch.setenv(name, value)


def train(step: int, attempt: int = 1, **more: Any) -> Record:
    return {
        "kind": "train",
        **_clock(step),
        "window_steps": 2,
        "loss": 100.0 / step,
        "terms": {"squared_error": 100.0 / step},
        "learning_rate": 1e-3,
        "gradient_norm": 0.25,
        "skipped_steps": 0,
        "images_per_second": 48.0,
        "data_wait": 0.125,
        "memory_bytes": 2**20,
        "ranks": {"images_per_second": [20.0, 28.0], "data_wait": [0.125, 0.25], "memory_bytes": [2**20, 2**19]},
        "attempt": attempt,
        **more,
    }


def evaluation(step: int, mse: float, attempt: int = 1) -> Record:
    return {
        "kind": "evaluation",
        **_clock(step),
        "split": "test",
        "num_images": 23,
        "metrics": {"mse": mse, "psnr": 10 / mse, "ssim": None},
        "best": True,
        "histograms": {"latents": {"low": -1.0, "high": 1.0, "counts": [1, 2, 1, 0]}},
        "attempt": attempt,
    }


@dataclass(frozen=True)
class MadeRun:
    folder: Path

    def add(self, *records: Record) -> None:
        """Write records, and the pictures that an evaluation has."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            for record in records:
                file.write(json.dumps(record) + "\n")
                if record["kind"] == "evaluation":
                    picture = self.folder / "images" / "reconstructions" / f"step-{record['step']:09d}.png"
                    picture.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (30, 20), "red").save(picture)

    def begin_attempt(self, job: dict[str, str] | None = None) -> int:
        environment = json.loads((self.folder / "environment.json").read_text())
        attempts: list[Any] = environment["attempts"]
        attempts.append({"attempt": len(attempts) + 1, "git": "f00d+", "world": 2, **({"slurm": job} if job else {})})
        (self.folder / "environment.json").write_text(json.dumps(environment))
        return len(attempts)


def make_run(folder: Path, **track: Any) -> MadeRun:
    """A run with one attempt and no record yet."""
    folder.mkdir(parents=True)
    config = {"data": {"shards": "shards/x"}, "model": {"kind": "mlp"}, "run": {"dir": str(folder)}, "track": track}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    data = {"name": "x", "split": "train", "fingerprint": "f" * 64}
    environment = {"run_id": RUN_ID, "data": data, "fingerprints": {"train": "f" * 64}, "attempts": []}
    (folder / "environment.json").write_text(json.dumps(environment))
    run = MadeRun(folder)
    run.begin_attempt()
    return run


def transaction_log(path: Path) -> list[WandbRecord]:
    """The records of an offline run's .wandb file: LevelDB's log format behind a header of seven bytes."""
    body, place, parts, found = path.read_bytes(), 7, b"", list[WandbRecord]()
    assert body[:6] == b":W&B" + struct.pack("<H", 0xBEE1)
    while place + 7 <= len(body):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        checksum, length, kind = struct.unpack_from("<IHB", body, place)
        piece = body[place + 7 : place + 7 + length]
        assert zlib.crc32(bytes([kind]) + piece) == checksum
        parts = parts + piece if kind in (3, 4) else piece  # 1 whole, 2 first, 3 middle, 4 last
        if kind in (1, 4):
            found.append(WandbRecord.FromString(parts))
        place += 7 + length
    return found


def of_type(records: Sequence[WandbRecord], name: str) -> list[Any]:
    return [getattr(record, name) for record in records if record.WhichOneof("record_type") == name]


def rows_of(records: Sequence[WandbRecord]) -> list[dict[str, Any]]:
    """The history, nested names joined by a slash."""
    return [
        {"/".join([item.key] if item.key else item.nested_key): json.loads(item.value_json) for item in history.item}
        for history in of_type(records, "history")
    ]


def _clock(step: int) -> Record:
    return {"step": step, "images": IMAGES_A_STEP * step, "epoch": step / 8}
