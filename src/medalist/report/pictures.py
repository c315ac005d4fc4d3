"""Pictures of images, truths and answers: outlines, errors in colour, grids. The functions take and return arrays.

Pictures are RGB uint8[H, W, 3]. They are first resized (`side` is the longer side in pixels), and lines are drawn
afterwards. So a line is one or two pixels wide, for an image of 16 pixels and for one of 16,000.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medalist.records import Answer, Instances, Mask
from medalist.report.labels import judged, matched, object_labels, pieces, void_of

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Window = tuple[slice, slice]
"""A part of an image: its rows and its columns, both with a start and an end inside the image."""

FOUND: Colour = (38, 214, 92)
MISSED: Colour = (255, 68, 51)
FALSE: Colour = (255, 54, 226)
GAP: Colour = (128, 132, 138)
INK: Colour = (32, 36, 42)
PAPER: Colour = (250, 250, 249)

HATCH = 9
"""The stripes of void pixels are as far apart, in pixels of a picture."""
SIDE = 448  # pixels of a panel's longer side: three panels fill a page, and 24 such pictures need a few megabytes
CAPTION = 15  # height of a caption's letters in pixels


def stretched(image: Picture) -> Picture:
    """Return the image with its brightness stretched to 0..255, only for people to look at.

    The percentiles 0.5 and 99.8 of all values become black and white. All channels are changed alike, so hues stay the
    same. An image of only one value is returned unchanged.
    """
    low, high = (float(edge) for edge in np.percentile(image, (0.5, 99.8)))
    if high <= low:
        return image
    table = np.clip((np.arange(256) - low) * (255.0 / (high - low)), 0, 255).round().astype(np.uint8)
    spread: Picture = table[image]
    return spread


def fit_image(image: Picture, side: int = SIDE) -> Picture:
    """Return the image resized so that its longer side has `side` pixels; the shorter side is as in `fitted_size`."""
    height, width = fitted_size(image.shape[:2], side)
    shrinks = height * width < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), dtype=np.uint8)


def fit_labels(labels: NDArray[np.int32], side: int = SIDE) -> NDArray[np.int32]:
    """Return int32[H, W] labels, resized as `fit_image` does; nearly every label keeps at least one pixel.

    Nearest-neighbour resizing loses objects that are smaller than its step. Each lost object is put back as one pixel;
    where two lost objects need the same pixel, the later one gets it.
    """
    height, width = fitted_size(labels.shape, side)
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    fitted: NDArray[np.int32] = labels[rows[:, None], columns[None, :]].astype(np.int32)
    if height * width < labels.size:
        present, first = np.unique(labels, return_index=True)
        lost = ~np.isin(present, fitted)
        row, column = np.divmod(first[lost], labels.shape[1])
        fitted[row * height // labels.shape[0], column * width // labels.shape[1]] = present[lost]
    return fitted


def edges(labels: NDArray[np.int32], thickness: int = 1) -> NDArray[np.bool_]:
    """Return bool[H, W]: the pixels of objects that are within `thickness` pixels of background or another object.

    The line is inside each object, so two touching objects have two lines side by side. The border of the image is no
    edge: an object that is cut by it has no line there.
    """
    assert thickness >= 1, f"thickness must be at least 1, not {thickness}"
    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), dtype=np.uint8)
    values = labels.astype(np.float32)  # cv2 cannot erode int32; float32 is exact for labels up to 2**24
    lowest = cv2.erode(values, kernel)
    highest = cv2.dilate(values, kernel)
    line: NDArray[np.bool_] = (labels > 0) & (lowest != highest)
    return line


def outline(image: Picture, answer: Answer, colour: Colour = FOUND, thickness: int = 1, side: int = SIDE) -> Picture:
    """Draw the outline of each object of `answer` on the image; void pixels are hatched.

    Args:
        image: uint8[H, W, 3].
        answer: an answer of the same height and width.
        colour: RGB, 0..255.
        thickness: thickness of the line, in pixels of the returned picture.
        side: longer side of the returned picture; smaller images are enlarged, larger ones reduced.

    Returns:
        uint8[h, w, 3] with max(h, w) == side.
    """
    check_sizes(image, answer)
    picture, void = fit_image(image, side), void_of(answer)
    if void is not None:
        picture = hatched(picture, void, side)
    picture[edges(fit_labels(object_labels(answer), side), thickness)] = colour
    return picture


def side_by_side(image: Picture, truth: Answer, answer: Answer, caption: str = "", side: int = SIDE) -> Picture:
    """Draw the three panels of `panels` beside each other. caption: one line above them; no line where it is empty."""
    picture = joined(panels(image, truth, answer, side))
    return captioned(picture, caption) if caption else picture


def panels(
    image: Picture, truth: Answer, answer: Answer, side: int = SIDE, window: Window | None = None
) -> tuple[Picture, Picture, Picture]:
    """Draw the image, the truth on the image, and the answer on the image; errors have strong colours.

    Instances are outlined: green for an object that is matched at IoU > 0.5 (at most one other object can match it),
    red for a missed true object, magenta for a false answered object. Masks are tinted by pixel: green where classes
    agree, red for truth that is not in the answer, magenta for answers that are not in the truth. Void pixels are
    hatched. The last two panels are gray, so that only right and wrong have colours. Brightness is stretched in all
    three.

    Args:
        image: uint8[H, W, 3].
        truth: answer of the same height and width.
        answer: answer of the same type and size as `truth`.
        side: longer side of one panel, in pixels.
        window: the rows and columns that are drawn; None draws all. Objects are matched by all of their pixels, also
            where the window shows only a part of them.
    """
    check_sizes(image, truth)
    check_sizes(image, answer)
    part = window or (slice(None), slice(None))
    shown = stretched(fit_image(image[part], side))
    gray = grayed(shown)
    match truth, answer:
        case Instances(), Instances():
            found, right = matched(truth.labels, answer.labels)
            return (
                shown,
                _drawn(gray, truth.labels[part], found, MISSED, side),
                _drawn(gray, answer.labels[part], right, FALSE, side),
            )
        case Mask(), Mask():
            there, said = object_labels(truth), object_labels(judged(truth, answer))
            agree, void = (there == said) & (there > 0), void_of(truth)
            drawn = (
                _tinted(gray, _verdict(there, agree)[part], MISSED, side),
                _tinted(gray, _verdict(said, agree)[part], FALSE, side),
            )
            if void is not None:
                drawn = (hatched(drawn[0], void[part], side), hatched(drawn[1], void[part], side))
            return (shown, *drawn)
        case _:
            raise AssertionError(f"truth is {type(truth).__name__} but answer is {type(answer).__name__}")


def hatched(picture: Picture, void: NDArray[np.bool_], side: int) -> Picture:
    """Return the picture with falling stripes, white beside black, where `void`, bool[H, W] of the image, is true."""
    fitted = fit_labels(pieces(void), side) > 0
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    stripe = (columns - rows) % HATCH
    striped = picture.copy()
    striped[fitted & (stripe < 2)] = 255
    striped[fitted & (stripe >= 2) & (stripe < 4)] = 0
    return striped


def joined(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Join pictures of one size, with thin bars between them: all in one row, or row by row with `columns` in a row."""
    wide = columns or len(pictures)
    blank = np.full_like(pictures[0], GAP)
    rows = []
    for first in range(0, len(pictures), wide):
        row = [*pictures[first : first + wide], *[blank] * (first + wide - len(pictures))]
        upright = np.full((row[0].shape[0], 3, 3), GAP, dtype=np.uint8)
        rows.append(np.concatenate([part for picture in row for part in (upright, picture)][1:], axis=1))
    level = np.full((3, rows[0].shape[1], 3), GAP, dtype=np.uint8)
    return np.concatenate([part for row in rows for part in (level, row)][1:])


def grid(images: Sequence[Picture], columns: int, captions: Sequence[str] = ()) -> Picture:
    """Return a grid of pictures, row by row on a light background, each centred in its cell with its caption above.

    Args:
        images: pictures of any sizes.
        columns: pictures in a row, at least 1; fewer pictures make a narrower grid.
        captions: one for each picture, or an empty sequence.
    """
    assert columns >= 1, f"columns must be at least 1, not {columns}"
    assert len(captions) in (0, len(images)), f"{len(captions)} captions for {len(images)} images"
    if not images:
        return np.full((1, 1, 3), PAPER, dtype=np.uint8)
    columns = min(columns, len(images))
    pairs = zip(images, captions or [""] * len(images), strict=True)
    cells = [captioned(image, caption) if caption else image for image, caption in pairs]
    gap = 10
    width = max(cell.shape[1] for cell in cells) + gap
    bands = [np.full((gap, columns * width + gap, 3), PAPER, dtype=np.uint8)]
    for first in range(0, len(cells), columns):
        row = cells[first : first + columns]
        band = np.full((max(cell.shape[0] for cell in row) + gap, columns * width + gap, 3), PAPER, np.uint8)
        for place, cell in enumerate(row):
            left = gap + place * width + (width - gap - cell.shape[1]) // 2
            band[: cell.shape[0], left : left + cell.shape[1]] = cell
        bands.append(band)
    return np.concatenate(bands)


def captioned(picture: Picture, caption: str) -> Picture:
    """Return the picture with one line above it. A long line is cut with "…"; unprintable letters become spaces."""
    text = printable(caption)
    font = ImageFont.load_default(CAPTION)
    width = picture.shape[1]
    if font.getlength(text) > width:
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    strip = Image.new("RGB", (width, CAPTION + 9), PAPER)
    ImageDraw.Draw(strip).text((0, 2), text, fill=INK, font=font)
    return np.concatenate([np.asarray(strip, dtype=np.uint8), picture])


def printable(text: str, most: int = 400) -> str:
    """Return the text on one line, cut at `most` letters; unprintable letters become spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:most])


def png_base64(picture: Picture) -> str:
    """Return the picture as a lossless PNG in base64, without the `data:` head."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode("ascii")


def jpeg_base64(picture: Picture, quality: int = 84) -> str:
    """Return the picture as a JPEG in base64; colours keep their full resolution, because thin lines need it."""
    data = io.BytesIO()
    # optimize=True is not used: it fails for noise at full colour resolution, because Pillow's buffer is too small.
    Image.fromarray(picture).save(data, format="JPEG", quality=quality, subsampling=0)
    return base64.b64encode(data.getvalue()).decode("ascii")


def grayed(picture: Picture) -> Picture:
    """Return the picture without colour, still with three channels."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.repeat(gray[:, :, None], 3, axis=2).astype(np.uint8)


def fitted_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return (height, width) in the proportion of `size`, the longer one `side`.

    The shorter one is at least a 32nd of `side`, so that an image of one column can still be looked at.
    """
    height, width = size
    scale, least = side / max(height, width), max(1, side // 32)
    return max(least, round(height * scale)), max(least, round(width * scale))


def check_sizes(image: Picture, answer: Answer) -> None:
    """Raise AssertionError where the image is no uint8[H, W, 3], or the answer has another size."""
    size = object_labels(answer).shape
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, (
        f"image must be uint8[H, W, 3], not {image.dtype}{list(image.shape)}"
    )
    assert image.shape[:2] == size, f"image is {image.shape[:2]} but its answer is {size}"


def _drawn(gray: Picture, labels: NDArray[np.int32], good: NDArray[np.bool_], bad: Colour, side: int) -> Picture:
    fitted = fit_labels(labels, side)
    picture = gray.copy()
    for colour, line in ((FOUND, good[fitted]), (bad, ~good[fitted])):
        thickness = 1 if colour == FOUND else 2  # errors have thicker lines, so that they are seen first
        picture[edges(fitted, thickness) & line] = colour
    return picture


def _verdict(classes: NDArray[np.int32], agree: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return int32[H, W]: 0 background, 1 right, 2 wrong."""
    return np.where(agree, 1, np.where(classes > 0, 2, 0)).astype(np.int32)


def _tinted(gray: Picture, verdict: NDArray[np.int32], bad: Colour, side: int) -> Picture:
    fitted = fit_labels(verdict, side)
    tint = np.array([(0, 0, 0), FOUND, bad], dtype=np.float32)[fitted]
    weight = np.array([0.0, 0.35, 0.55], dtype=np.float32)[fitted][:, :, None]
    return (gray * (1 - weight) + tint * weight).round().astype(np.uint8)
