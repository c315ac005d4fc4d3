"""The classes of masks as people see them: a colour, a texture and a number for each, the same in all pictures.

The colours are the eight of Okabe and Ito, which people with any colour vision can tell apart. Further classes have the
same colours with a texture: the 9th to the 16th class stripes, the 17th to the 24th dots, the 25th to the 32nd level
lines; then all starts again. Every large area has the number of its class, so that no class is known by colour alone.

Source of the colours: M. Okabe, K. Ito: Color Universal Design, 2002, https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from medalist.competition import Competition
from medalist.records import Answer, Mask
from medalist.report.labels import Bools, Numbers, judged, object_labels, pieces, void_of
from medalist.report.pictures import (
    CAPTION,
    PAPER,
    SIDE,
    Colour,
    Picture,
    Window,
    captioned,
    check_sizes,
    edges,
    fit_image,
    fit_labels,
    grayed,
    hatched,
    stretched,
)

BACKGROUND = "background"
"""The name of class 0 in contests whose images have pixels of no class."""
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 0),
)
"""Orange, sky blue, bluish green, yellow, blue, vermilion, reddish purple and black, of Okabe and Ito."""
TEXTURES: tuple[Literal["plain", "stripes", "dots", "lines"], ...] = ("plain", "stripes", "dots", "lines")
WRONG: Colour = (255, 255, 255)
"""The colour of wrong pixels, on an image that is made dark."""

TINT, DARK = 0.62, 0.4
"""The share of a class's colour in its area, and the share that is left of the image below wrong pixels."""
LIFT = 60
"""The gray that black becomes under a class's colour, so that colours are seen everywhere; white becomes less white."""
INK = 0.75
"""The share of the ink's colour in a texture."""
LETTER = 9
"""A number is drawn where a circle of this radius, in pixels of the picture, fits into the area of its class."""


@dataclass(frozen=True)
class ClassStyle:
    """How a class is drawn. number: as in masks. name: data of the contest, to be escaped."""

    number: int
    name: str
    colour: Colour
    texture: Literal["plain", "stripes", "dots", "lines"]


@dataclass(frozen=True)
class Classes:
    """The names of a contest's classes, in the order of their numbers in masks.

    Where the first name is `background`, class 0 is drawn as nothing, and has no style.
    """

    names: tuple[str, ...]

    @property
    def background(self) -> bool:
        """Whether class 0 is background."""
        return self.names[:1] == (BACKGROUND,)

    @property
    def styles(self) -> tuple[ClassStyle, ...]:
        """The styles of all classes but the background, in the order of their numbers."""
        first = int(self.background)
        return tuple(
            ClassStyle(at + first, name, COLOURS[at % len(COLOURS)], TEXTURES[at // len(COLOURS) % len(TEXTURES)])
            for at, name in enumerate(self.names[first:])
        )

    def style(self, number: int) -> ClassStyle | None:
        """Return the style of a class by its number; None for the background."""
        at = number - int(self.background)
        return self.styles[at] if at >= 0 else None


def classes_in(competition: Competition, answers: Iterable[Answer]) -> Classes | None:
    """Return the classes of a contest; None where answers are no masks, or masks of one class without a name.

    answers: truths and answers.
    """
    highest = max((int(mask.classes.max(initial=0)) for mask in answers if isinstance(mask, Mask)), default=None)
    return None if highest is None else classes_up_to(competition, highest)


def classes_up_to(competition: Competition, highest: int) -> Classes | None:
    """Return the classes of a contest of masks; None where they have one class without a name.

    highest: the largest number in masks. Numbers without a name are called "class 7".
    """
    names = competition.classes
    if not names and (highest < 2 or getattr(competition.submission, "one_class", False)):
        return None
    known = names or (BACKGROUND,)
    return Classes((*known, *(f"class {number}" for number in range(len(known), highest + 1))))


def fit_classes(numbers: Numbers, side: int) -> Numbers:
    """Return int32[h, w], numbers of classes resized as `fit_labels` does: nearly every piece keeps at least a pixel.

    numbers: int32[H, W], 0 for nothing.
    """
    parts = pieces(numbers)
    class_of = np.zeros(int(parts.max(initial=0)) + 1, np.int32)
    class_of[parts] = numbers
    fitted: Numbers = class_of[fit_labels(parts, side)]
    return fitted


def overlaid(picture: Picture, fitted: Numbers, styles: Sequence[ClassStyle], tint: float = TINT) -> Picture:
    """Return the picture with its classes in their colours and textures, and the number of each in its largest area.

    Args:
        picture: uint8[h, w, 3].
        fitted: int32[h, w], 0 for nothing, else 1 + the place of a style in `styles`.
        styles: of the classes.
        tint: the share of a class's colour in its area.
    """
    colours = np.array([(0, 0, 0), *(style.colour for style in styles)], np.float32)
    weight = np.where(fitted > 0, tint, 0.0).astype(np.float32)[:, :, np.newaxis]
    tinted: Picture = (picture * (1 - weight) + colours[fitted] * weight).round().astype(np.uint8)
    shown = np.flatnonzero(np.bincount(fitted.ravel(), minlength=len(styles) + 1)[1:]).tolist()
    for texture in TEXTURES[1:]:
        for dark in (False, True):
            with_it = [1 + at for at in shown if styles[at].texture == texture and is_dark(styles[at].colour) == dark]
            if with_it:
                where = np.isin(fitted, with_it) & textured(texture, fitted.shape)
                tinted[where] = (tinted[where] * (1 - INK) + (255 * INK if dark else 0)).astype(np.uint8)
    line = edges(fitted)
    tinted[line] = colours[fitted[line]].astype(np.uint8)
    for at in shown:
        _written(tinted, fitted == 1 + at, str(styles[at].number))
    return tinted


def textured(texture: str, size: tuple[int, ...]) -> Bools:
    """Return bool[h, w]: the pixels of a texture's ink. Its places do not depend on what is drawn."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    match texture:
        case "stripes":
            ink = (rows + columns) % 10 < 2
        case "dots":
            ink = (rows % 8 < 3) & (columns % 8 < 3)
        case "lines":
            ink = np.broadcast_to(rows % 8 < 2, size)
        case _:
            ink = np.zeros(size, np.bool_)
    found: Bools = ink
    return found


def is_dark(colour: Colour) -> bool:
    """Return whether white can be seen better on a colour than black, by its relative luminance (WCAG 2.1)."""
    red, green, blue = (math.pow(value / 255, 2.2) for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18


def _written(picture: Picture, where: Bools, text: str) -> None:
    """Write a text into the widest part of an area, where there is room for it; the picture is changed."""
    inside = np.pad(where.astype(np.uint8), 1)  # so that the border of the picture ends an area
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    radius = float(distance.max(initial=0.0))
    if radius < LETTER:
        return
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    left, below = int(column) - width // 2, int(row) + height // 2
    cv2.rectangle(picture, (left - 2, below - height - 2), (left + width + 1, below + 2), (0, 0, 0), cv2.FILLED)
    cv2.putText(picture, text, (left, below), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def class_picture(
    image: Picture, mask: Mask, classes: Classes, side: int = SIDE, window: Window | None = None
) -> Picture:
    """Draw a mask on its image in gray: classes in their colours, void pixels hatched.

    Args:
        image: uint8[H, W, 3].
        mask: of the same height and width.
        classes: of the contest.
        side: longer side of the picture, in pixels.
        window: the rows and columns that are drawn; None draws all.
    """
    check_sizes(image, mask)
    part = window or (slice(None), slice(None))
    return _coloured(grayed(stretched(fit_image(image[part], side))), mask, classes, part, side)


def class_panels(
    image: Picture,
    truth: Mask,
    answer: Mask,
    classes: Classes,
    side: int = SIDE,
    window: Window | None = None,
    only: int | None = None,
) -> tuple[Picture, Picture, Picture, Picture]:
    """Draw the image, the truth and the answer in the colours of the classes, and the wrong pixels.

    Wrong pixels are white on the darkened image. Void pixels are hatched in the last three. The arguments are those of
    `class_picture`; the answer has the size of the truth. only: the number of a class, whose missed and false pixels
    alone are wrong; None for all classes.
    """
    check_sizes(image, truth)
    check_sizes(image, answer)
    part = window or (slice(None), slice(None))
    said = judged(truth, answer)
    assert isinstance(said, Mask)
    shown = stretched(fit_image(image[part], side))
    gray = grayed(shown)
    there, found = truth.classes[part], said.classes[part]
    wrong = there != found if only is None else (there == only) != (found == only)
    errors: Picture = (gray * DARK).astype(np.uint8)
    errors[fit_classes(wrong.astype(np.int32), side) > 0] = WRONG
    void = void_of(truth)
    return (
        shown,
        _coloured(gray, truth, classes, part, side),
        _coloured(gray, said, classes, part, side),
        errors if void is None else _hatched_softly(errors, void[part], side),
    )


def _coloured(gray: Picture, mask: Mask, classes: Classes, part: Window, side: int) -> Picture:
    numbers = object_labels(
        Mask(mask.classes[part], None if mask.void is None else mask.void[part]), classes.background
    )
    fitted = fit_classes(numbers, side)
    lifted = np.where(fitted[:, :, np.newaxis] > 0, LIFT + (1 - LIFT / 128) * gray, gray).astype(np.uint8)
    picture = overlaid(lifted, fitted, classes.styles)
    void = void_of(mask)
    return picture if void is None else hatched(picture, void[part], side)


def _hatched_softly(picture: Picture, void: Bools, side: int) -> Picture:
    """Hatch void pixels in gray, so that their stripes are not taken for wrong pixels."""
    striped = hatched(picture, void, side)
    return np.where(striped == picture, picture, striped // 2).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------- legends


def swatch(style: ClassStyle | None, side: int = 28) -> Picture:
    """Return a square in the colour and texture of a class, without tint; None gives the hatching of void pixels."""
    paper = np.full((side, side, 3), 128, np.uint8)
    if style is None:
        return hatched(paper, np.ones((side, side), np.bool_), side)
    paper[:] = style.colour
    paper[textured(style.texture, (side, side))] = 255 if is_dark(style.colour) else 0
    return paper


def legend_picture(classes: Classes, width: int, void: bool = False) -> Picture:
    """Return a strip, `width` pixels wide, with the swatch, the number and the name of each class.

    void: whether the hatching of void pixels is in it.
    """
    cells = [_cell(swatch(style, CAPTION), f"{style.number} {style.name}", width) for style in classes.styles]
    cells += [_cell(swatch(None, CAPTION), "void", width)] if void else []
    rows: list[list[Picture]] = [[]]
    for cell in cells:
        if rows[-1] and sum(one.shape[1] for one in (*rows[-1], cell)) > width:
            rows.append([])
        rows[-1].append(cell)
    strips = [np.concatenate(row, axis=1) for row in rows if row]
    paper = np.full((max(1, sum(strip.shape[0] for strip in strips)), width, 3), PAPER, np.uint8)
    top = 0
    for strip in strips:
        paper[top : top + strip.shape[0], : strip.shape[1]] = strip
        top += strip.shape[0]
    return paper


def _cell(square: Picture, words: str, most: int) -> Picture:
    """Return a swatch with words beside it, at most `most` pixels wide."""
    room = max(1, min(most, 170) - square.shape[1] - 14)
    text = captioned(np.zeros((1, room, 3), np.uint8), words)[:-1]
    cell = np.full((text.shape[0], square.shape[1] + 14 + room, 3), PAPER, np.uint8)
    cell[4 : 4 + square.shape[0], 4 : 4 + square.shape[1]] = square
    cell[:, square.shape[1] + 10 : square.shape[1] + 10 + room] = text
    return cell[:, :most]
