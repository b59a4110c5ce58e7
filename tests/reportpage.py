"""What tests of the report share: a made run's directory, and a page taken apart."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from aedist.configfile import parse_config, to_yaml
from aedist.report import write_report
from aedist.report.read import EVALUATION_FORMAT

STEPS_PER_EPOCH = 100
EPOCHS = 3


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, and its text (styles and scripts left out)."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open, self.faults = [], [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def strip(path, brightness):
    """A picture of two images above their reconstructions, 2 pixels of frame around each as in a grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.full((2 * 8 + 6, 2 * 8 + 6), 255, np.uint8)
    for column in (2, 12):
        cells[2:10, column : column + 8] = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
        cells[12:20, column : column + 8] = brightness
    Image.fromarray(cells).save(path)


def train_record(step, attempt=1, loss=None):
    return {
        "kind": "train", "step": step, "images": step * 32, "epoch": step / STEPS_PER_EPOCH,
        "loss": 1000 / (step + 10) if loss is None else loss, "terms": {"squared_error": 1.0},
        "learning_rate": 0.001, "gradient_norm": 2.0, "images_per_second": 5000.0, "data_wait": 0.02,
        "skipped_steps": 0, "attempt": attempt,
    }  # fmt: skip


def make_run(folder, *, data_name="shapes", attempts=((1, 0),), evaluated=True):
    """A finished run of ``EPOCHS`` epochs, as train and evaluate leave it."""
    folder.mkdir(parents=True)
    config = parse_config(
        {"data": {"shards": "shards/x"}, "model": {"kind": "mlp", "latent_dim": 7}, "train": {"epochs": EPOCHS}}, "test"
    )
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    environment = {
        "run_id": "shapes-1",
        "data": {
            "name": data_name, "split": "train", "fingerprint": "fee1" * 16, "num_samples": STEPS_PER_EPOCH * 32 + 5,
            "classes": ["a"], "image_shape": [8, 8, 1],
        },
        "model": {"parameters": 12345},
        "attempts": [
            {
                "attempt": attempt, "step": step, "started": "2026-01-02T03:04:05+02:00", "world": 2, "device": "cpu",
                "host": "node-a", "versions": {"torch": "2.14"}, "git": "abc123", "command": "aedist train c.yaml",
            }
            for attempt, step in attempts
        ],
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    records = []
    for epoch in range(1, EPOCHS + 1):
        end = epoch * STEPS_PER_EPOCH
        records += [train_record(step) for step in range(end - 90, end + 1, 10)]
        head = {"step": end, "images": end * 32, "attempt": 1}
        records.append(
            {"kind": "epoch", "epoch": epoch, "sums": {"squared_error": 64000.5 / epoch}, "seconds": 40.0} | head
        )
        metrics = {"mse": 0.04 / epoch, "psnr": 14.0 + epoch, "ssim": 0.5 + epoch / 10}
        records.append(
            {"kind": "evaluation", "epoch": float(epoch), "split": "test", "num_images": 250, "metrics": metrics}
            | {"best": True} | head
        )  # fmt: skip
        strip(folder / "images" / "reconstructions" / f"step-{end:09d}.png", brightness=40 * epoch)
    write_records(folder, records)
    if evaluated:
        evaluation = {
            "format": EVALUATION_FORMAT, "run_id": "shapes-1",
            "step": EPOCHS * STEPS_PER_EPOCH, "images_seen": 9600, "checkpoint": "step-000000300",
            "data": {"name": data_name, "split": "test", "fingerprint": "beef" * 16, "num_images": 250},
            "definitions": {"mse": "Mean squared difference.", "psnr": "Peak signal to noise.", "ssim": "Likeness."},
            "metrics": {
                "mse": {"mean": 0.01, "std": 0.002, "min": 0.001, "median": 0.009, "max": 0.08},
                "psnr": {"mean": 20.125, "std": 1.5, "min": 11.0, "median": 20.5, "max": 30.25},
                "ssim": {"mean": 0.75, "std": 0.05, "min": -0.25, "median": 0.8, "max": 0.95},
            },
            "model": {"kind": "mlp", "parameters": 12345},
        }  # fmt: skip
        for name in ("worst", "best", "median", "reconstructions"):
            strip(folder / "evaluation" / f"{name}.png", brightness=90)
        path = folder / "evaluation" / "comprehensive_evaluation.json"
        path.write_text(json.dumps(evaluation), encoding="utf-8")
    return folder


def write_records(folder, records):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def report(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.faults == []
    assert page.open == [], "every tag is closed"
    return page
