"""Pictures of images: grids with labelled rows and columns, as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SMALLEST_CELL = 72
_GAP = 4
_MARGIN = 8


def grid(
    rows: Sequence[NDArray[np.uint8]], row_labels: Sequence[str], column_labels: Sequence[str] = (), title: str = ""
) -> Image.Image:
    """One row of images above another.

    Args:
        rows: each uint8 (n, H, W, C), all of one shape; C is 1 or 3.
        row_labels: a word for each row.
        column_labels: a word for each column, or none.
        title: a line above all.
    """
    count, height, width, _ = rows[0].shape
    times = max(1, -(-_SMALLEST_CELL // width))  # small images are enlarged by whole pixels
    cell_width, cell_height = width * times, height * times
    font = ImageFont.load_default(size=13)
    left = _MARGIN + max((int(font.getlength(label)) for label in row_labels), default=0) + _MARGIN
    top = _MARGIN + (22 if title else 0) + (18 if column_labels else 0)
    wide = max(left + count * (cell_width + _GAP) + _MARGIN, int(font.getlength(title)) + 2 * _MARGIN)
    picture = Image.new("RGB", (wide, top + len(rows) * (cell_height + _GAP) + _MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, fill="black", font=font)
    for column, label in enumerate(column_labels):
        x = left + column * (cell_width + _GAP) + (cell_width - font.getlength(label)) / 2
        draw.text((x, top - 18), label, fill="#444444", font=font)
    for row, (images, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = top + row * (cell_height + _GAP)
        draw.text((_MARGIN, y + cell_height / 2 - 8), label, fill="#444444", font=font)
        for column, image in enumerate(images):
            cell = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
            cell = cell.resize((cell_width, cell_height), Image.Resampling.NEAREST)
            picture.paste(cell, (left + column * (cell_width + _GAP), y))
    return picture


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")
    return path
