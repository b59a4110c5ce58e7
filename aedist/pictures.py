"""Pictures of images: grids with labelled rows, columns and cells, as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SMALLEST_CELL = 72
_LEAST_CELL = 32
_TITLE_ROOM = 800  # a title may make a narrow picture so wide, in pixels
_WIDEST = 2300  # eight images of 256 pixels as they are, with their labels
_GAP = 4
_MARGIN = 8
_FONT_SIZE, _LARGEST_FONT_SIZE = 13, 21
_LINES_A_CELL = 12  # so that labels can be read where a picture of large images is shown smaller
_PALE = "#444444"


def grid(
    rows: Sequence[NDArray[np.uint8]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    cell_labels: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """One row of images above another.

    Labels may have several lines. A column is as wide as its images; a cell's label that is wider is wrapped. Small
    images are enlarged by whole pixels; images that would make the picture wider than about 2,000 pixels are made
    smaller.

    Args:
        rows: each uint8 (n, H, W, C), all of one (H, W, C); C is 1 or 3. A row may have fewer images than another.
        row_labels: a word for each row, or none.
        column_labels: a word for each column, or none.
        title: a line above all.
        cell_labels: for each row, a word below each of its images; or none.
    """
    count, (height, width, _) = max(len(row) for row in rows), rows[0].shape[1:]
    size = max(_FONT_SIZE, min(_LARGEST_FONT_SIZE, width // _LINES_A_CELL))
    font, line_height = ImageFont.load_default(size=size), size + 3
    row_labels = row_labels or [""] * len(rows)
    widest = max((font.getlength(line) for label in row_labels for line in label.split("\n")), default=0)
    left = _MARGIN + int(widest) + (_MARGIN if widest else 0)
    cell_width, cell_height = _cell_size(width, height, (_WIDEST - left - _MARGIN) // count - _GAP)
    resampling = Image.Resampling.NEAREST if cell_width >= width else Image.Resampling.LANCZOS
    labels = [[wrap(label, cell_width, size) for label in row] for row in cell_labels] or [[] for _ in rows]
    below = [max((_lines(label) for label in row), default=0) * line_height for row in labels]
    heads = [wrap(label, cell_width, size) for label in column_labels]
    head = max((_lines(label) for label in heads), default=0) * line_height
    columns_width = left + count * (cell_width + _GAP) + _MARGIN
    title = wrap(title, max(columns_width, _TITLE_ROOM) - 2 * _MARGIN, size)
    top = _MARGIN + (_lines(title) * line_height + 6 if title else 0) + (head + 2 if head else 0)
    title_width = max(int(font.getlength(line)) for line in title.split("\n"))
    wide = max(columns_width, title_width + 2 * _MARGIN)
    tall = top + sum(cell_height + _GAP + room for room in below) + _MARGIN
    picture = Image.new("RGB", (wide, tall), "white")
    draw = ImageDraw.Draw(picture)

    def write(text: str, x: float, y: float, *, centred: bool = False, colour: str = _PALE) -> None:
        for number, line in enumerate(text.split("\n")):
            back = font.getlength(line) / 2 if centred else 0
            draw.text((x - back, y + number * line_height), line, fill=colour, font=font)

    write(title, _MARGIN, _MARGIN, colour="black")
    middles = [left + column * (cell_width + _GAP) + cell_width / 2 for column in range(count)]
    for middle, label in zip(middles, heads, strict=False):
        write(label, middle, top - _lines(label) * line_height - 2, centred=True)
    y = top
    for images, label, under, room in zip(rows, row_labels, labels, below, strict=True):
        write(label, _MARGIN, y + (cell_height - _lines(label) * line_height) / 2)
        for column, image in enumerate(images):
            cell = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
            cell = cell.resize((cell_width, cell_height), resampling)
            picture.paste(cell, (left + column * (cell_width + _GAP), y))
        for middle, text in zip(middles, under, strict=False):
            write(text, middle, y + cell_height, centred=True)
        y += cell_height + _GAP + room
    return picture


def in_rows(images: NDArray[np.uint8], columns: int) -> list[NDArray[np.uint8]]:
    """Images (n, H, W, C) as the rows of a grid, ``columns`` in each but perhaps the last."""
    return [images[first : first + columns] for first in range(0, len(images), columns)]


def wrap(text: str, pixels: int, size: int = _FONT_SIZE) -> str:
    """Text broken into lines that fit ``pixels``: at spaces, and within a word only where it alone is too wide."""
    font = ImageFont.load_default(size=size)
    lines = list[str]()
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and font.getlength(f"{line} {word}") > pixels:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
            while len(line) > 1 and font.getlength(line) > pixels:
                fits = next((end for end in range(len(line) - 1, 1, -1) if font.getlength(line[:end]) <= pixels), 1)
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return "\n".join(lines)


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")
    return path


def _cell_size(width: int, height: int, room: int) -> tuple[int, int]:
    """The width and height in which images are shown where a column has ``room``, in pixels."""
    times = -(-_SMALLEST_CELL // width)
    if times > 1:
        times = max(1, min(times, room // width))
    if width * times <= room:
        return width * times, height * times
    narrower = max(_LEAST_CELL, room)
    return narrower, max(1, round(height * narrower / width))


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0
