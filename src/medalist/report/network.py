"""The page of `medalist debug`: what looks wrong, the network's parts, batches as pictures, losses over steps.

The functions take plain data and read nothing from disk. Ids, class names and paths may be hostile, so the page escapes
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from medalist.files import write_text, written
from medalist.report.charts import ACCENT, INK, LINES, legend, plain_axes, svg
from medalist.report.classes import Classes, fit_classes, legend_picture, overlaid, swatch
from medalist.report.page import rendered
from medalist.report.pictures import CAPTION, Colour, Picture, captioned, edges, fit_image, grid, hatched, png_base64

CHANNEL_COLOURS: tuple[Colour, ...] = (
    (38, 214, 92),
    (255, 68, 51),
    (64, 156, 255),
    (255, 214, 10),
    (255, 54, 226),
    (20, 230, 230),
    (255, 149, 0),
    (175, 130, 255),
)
"""The contour colours of a target's channels, in their order. After the last colour they start again."""

SIDE = 224
FAINT = 0.42
"""The share of a class's colour in its area: less than in the report, because the colours of the image matter here."""
STRIP = CAPTION + 9


@dataclass(frozen=True, eq=False)
class BatchPicture:
    """A batch as the network sees it, except for normalisation.

    images: uint8[B, h, w, C] with C = 1 or 3. targets: values 0..1 [B, channels, h, w], None where the target is no
    map. ids, captions: those of each sample; a caption is the target as text (a class), or empty where `targets` show
    it. void: bool[B, h, w], pixels that are not judged; None where all are. numbers: of the class of each channel,
    where channels are classes of masks; `classes` are then the contest's.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.float32] | None
    ids: Sequence[str]
    captions: Sequence[str]
    void: NDArray[np.bool_] | None = None
    classes: Classes | None = None
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    note: how to read the table. figures: numbers of the columns that are aligned to the right. folded: whether the
    table is hidden until the reader opens it, because it is long.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[int] = ()
    folded: bool = False


@dataclass(frozen=True, eq=False)
class DebugReport:
    """The content of the page.

    wrong: what looks wrong, worst first; empty where nothing does. facts: (name, text) of what was examined.
    channels: names of the target's channels. pictures: (title, picture) of batches. charts: (title, note, svg).
    classes: of masks; the pictures show them in the colours of the report. void: whether a picture has void pixels.
    """

    run: str
    competition: str
    wrong: Sequence[str]
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Grid]
    channels: Sequence[str]
    pictures: Sequence[tuple[str, Picture]]
    charts: Sequence[tuple[str, str, Markup]]
    config: str
    classes: Classes | None = None
    void: bool = False


def write_debug(path: Path, report: DebugReport) -> None:
    """Write the page, whole or not at all."""
    styles = report.classes.styles if report.classes else ()
    values = {
        "report": report,
        "colours": dict(zip(report.channels, channel_colours(len(report.channels)), strict=True)),
        "classes": [(f"{style.number} {style.name}", png_base64(swatch(style))) for style in styles],
        "void": png_base64(swatch(None)) if report.void else "",
    }
    text = rendered("network.html.j2", values)
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def channel_colours(count: int) -> list[Colour]:
    """Return a colour for each of `count` channels."""
    return [CHANNEL_COLOURS[number % len(CHANNEL_COLOURS)] for number in range(count)]


def batch_grid(batch: BatchPicture, most: int = 16, columns: int = 4, side: int = SIDE) -> Picture:
    """Draw the first `most` samples of a batch: the contours of each channel of the target, and id and class below.

    Channels are drawn in their order, with the last one on top. A target with values between 0 and 1, as mixing makes
    them, has its contour at 0.5. Classes of masks are areas in the colours of the report: at each pixel the class with
    the highest value, if this is 0.5 or more. Void pixels are hatched. Returns uint8[H, W, 3].
    """
    count = min(most, len(batch.ids))
    pictures = [_sample(batch, number, side) for number in range(count)]
    return grid(pictures, min(columns, max(1, count)))


def _sample(batch: BatchPicture, number: int, side: int) -> Picture:
    image = batch.images[number]
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    picture = fit_image(np.ascontiguousarray(colour), side)
    target = None if batch.targets is None else batch.targets[number]
    if target is not None and batch.classes is not None:
        places = np.array(batch.numbers, np.int32) + (0 if batch.classes.background else 1)
        shown = np.where(target.max(axis=0) >= 0.5, places[target.argmax(axis=0)], 0).astype(np.int32)
        picture = overlaid(picture, fit_classes(shown, side), batch.classes.styles, FAINT)
    elif target is not None:
        height, width = picture.shape[:2]
        for plane, ink in zip(target, channel_colours(len(target)), strict=True):
            # enlarged with interpolation, so that the contour is smooth and does not follow the steps of the pixels
            fitted = cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            picture[edges((fitted >= 0.5).astype(np.int32))] = ink
    if batch.void is not None:
        picture = hatched(picture, batch.void[number], side)
    for line in [text for text in (batch.ids[number], batch.captions[number]) if text]:
        strip = captioned(picture, line)[:STRIP]
        picture = np.concatenate([picture, strip])
    return picture


def legend_of(channels: Sequence[str]) -> Picture:
    """Return a strip with the name of each channel and the colour of its contour: uint8[h, w, 3]."""
    cells = []
    for name, colour in zip(channels, channel_colours(len(channels)), strict=True):
        cell = captioned(np.zeros((1, 150, 3), np.uint8), f"  {name}")[:STRIP].copy()
        cell[4:-4, :4] = colour
        cells.append(cell)
    return np.concatenate(cells, axis=1) if cells else np.full((1, 1, 3), 255, np.uint8)


def write_batch(path: Path, batch: BatchPicture, channels: Sequence[str]) -> Picture:
    """Write the grid of a batch as PNG, with a legend of its channels or classes; return the grid alone."""
    picture = batch_grid(batch)
    shown = picture
    if channels and batch.targets is not None:
        has_void = batch.void is not None and bool(batch.void.any())
        classes = batch.classes
        strip = legend_picture(classes, picture.shape[1], has_void) if classes else legend_of(channels)
        width = max(strip.shape[1], picture.shape[1])
        shown = np.concatenate([_widened(strip, width), _widened(picture, width)])
    with written(path) as temporary:
        Image.fromarray(shown).save(temporary, format="PNG")
    return picture


def _widened(picture: Picture, width: int) -> Picture:
    paper = np.full((picture.shape[0], width, 3), picture[-1, -1], np.uint8)
    paper[:, : picture.shape[1]] = picture
    return paper


def overfit_figure(losses: Sequence[float], goal: float) -> Figure:
    """Draw the loss of one batch over steps, and the goal."""
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    ax = figure.subplots()
    ax.plot(range(len(losses)), _drawable(losses), color=ACCENT, linewidth=1.5)
    ax.axhline(goal, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    finite = [goal, *(loss for loss in losses if np.isfinite(loss))]
    if min(finite) > 0 and max(finite) > 30 * min(finite):
        ax.set_yscale("log")
    ax.annotate(
        f"goal {goal:.3g}",
        (1.0, goal),
        (0, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        size=8,
        color=INK,
    )
    plain_axes(ax, "loss of one batch", "step")
    return figure


def lr_range_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    steepest: float | None,
    tenth: float | None,
    config: float,
) -> Figure:
    """Draw the losses of a learning-rate range test over the learning rate.

    Lines mark the learning rates that the test suggests (steepest, tenth) and the one of the config.
    """
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.plot(rates, _drawable(losses), color=LINES[0], linewidth=0.9, alpha=0.45, label="loss")
    ax.plot(rates, _drawable(smoothed), color=LINES[0], linewidth=1.8, label="smoothed")
    marks = (("steepest", steepest, LINES[1]), ("a tenth of the minimum", tenth, LINES[2]), ("config", config, INK))
    for name, rate, colour in marks:
        if rate is not None:
            ax.axvline(rate, color=colour, linewidth=1.3, linestyle=(0, (4, 3)), label=f"{name} {rate:.1e}")
    finite = [loss for loss in (*losses, *smoothed) if np.isfinite(loss)]
    start = next((value for value in smoothed if np.isfinite(value)), None)
    if finite and start is not None and min(finite) < start:  # losses that explode would make the other part flat
        ax.set_ylim(min(finite) - 0.08 * abs(start), min(max(finite), start + 1.2 * abs(start - min(finite))) * 1.02)
    plain_axes(ax, "loss by learning rate", "learning rate")
    legend(ax, 4)
    return figure


def _drawable(values: Sequence[float]) -> list[float]:
    return [value if np.isfinite(value) else np.nan for value in values]


def write_chart(path: Path, figure: Figure) -> Markup:
    """Write a figure as PNG, and return it as an SVG element."""
    with written(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white")
    return svg(figure)
