"""Pictures of images with true and answered boxes. The rules of `pictures` hold: lines are drawn after resizing."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.records import Boxes
from medalist.report.box_errors import ERRORS, IGNORED, Outcome
from medalist.report.box_errors import FOUND as RIGHT
from medalist.report.classes import COLOURS
from medalist.report.pictures import (
    FALSE,
    FOUND,
    GAP,
    MISSED,
    SIDE,
    Colour,
    Picture,
    Window,
    fit_image,
    grayed,
    printable,
    stretched,
)
from medalist.report.zoom import holds, window_around

MOST_WORDS = 30
"""Boxes of a picture that have words at most: those of errors first, then those with the highest scores."""
LETTER = 0.38
"""The scale of the letters beside a box."""


def box_picture(image: Picture, boxes: Boxes, classes: Sequence[str], side: int = SIDE) -> Picture:
    """Draw boxes on the image, each in the colour of its class (those of Okabe and Ito, in turn) and with its name.

    Args:
        image: uint8[H, W, 3].
        boxes: in pixels of the image; those that are ignored are gray.
        classes: the names of the contest's classes.
        side: longer side of the picture, in pixels.
    """
    passed = np.zeros(boxes.count, np.bool_) if boxes.ignored is None else boxes.ignored
    colours = [GAP if skip else COLOURS[label % len(COLOURS)] for label, skip in zip(boxes.labels, passed, strict=True)]
    words = [printable(classes[label], 24) for label in boxes.labels.tolist()]
    return _drawn(grayed(stretched(fit_image(image, side))), image, boxes, colours, words)


def box_panels(
    image: Picture,
    truth: Boxes,
    answer: Boxes,
    outcome: Outcome,
    classes: Sequence[str],
    side: int = SIDE,
    window: Window | None = None,
) -> tuple[Picture, Picture, Picture]:
    """Draw the image, the truth on the image and the answer on the image; errors have strong colours.

    True boxes are green where they are found, else red; answered boxes are green where they are right, else magenta,
    and the word for the error is beside their class and score. What the contest does not judge is gray. The last two
    panels are gray, so that only right and wrong have colours.

    Args:
        image: uint8[H, W, 3].
        truth: true boxes, in pixels of the image.
        answer: answered boxes.
        outcome: of `truth` and `answer`.
        classes: the names of the contest's classes.
        side: longer side of one panel, in pixels.
        window: the rows and columns that are drawn; None draws all.
    """
    part = window or (slice(0, image.shape[0]), slice(0, image.shape[1]))
    shown = stretched(fit_image(image[part], side))
    gray = grayed(shown)
    panels = [shown]
    for boxes, kinds, wrong in ((truth, outcome.truths, MISSED), (answer, outcome.answers, FALSE)):
        colours = [FOUND if kind == RIGHT else GAP if kind == IGNORED else wrong for kind in kinds]
        words = [printable(classes[label], 24) for label in boxes.labels.tolist()]
        if boxes is answer:
            said = zip(words, boxes.scores.tolist(), kinds, strict=True)
            words = [f"{name} {score:.2f} {kind if kind in ERRORS else ''}".strip() for name, score, kind in said]
        panels.append(_drawn(gray, image, boxes, colours, words, part))
    return panels[0], panels[1], panels[2]


def _drawn(
    paper: Picture,
    image: Picture,
    boxes: Boxes,
    colours: Sequence[Colour],
    words: Sequence[str],
    part: Window | None = None,
) -> Picture:
    """Return `paper`, a picture of a part of the image, with boxes: errors last, so that they lie on top."""
    rows, columns = part or (slice(0, image.shape[0]), slice(0, image.shape[1]))
    scale = np.array([paper.shape[1] / (columns.stop - columns.start), paper.shape[0] / (rows.stop - rows.start)] * 2)
    corners = (boxes.xyxy - np.array([columns.start, rows.start] * 2)) * scale
    seen = (corners[:, 2:] > 0).all(axis=1) & (corners[:, :2] < (paper.shape[1], paper.shape[0])).all(axis=1)
    strong = np.array([colour not in (FOUND, GAP) for colour in colours], np.bool_)
    order = np.lexsort((boxes.scores, strong))
    order = order[seen[order]]
    named = set(order[::-1][:MOST_WORDS].tolist())
    # One pixel inside, so that a box at the border of the image is seen; the last pixel is that before x2.
    limits = np.array([paper.shape[1], paper.shape[0]] * 2) - 1
    pixels = np.clip(np.floor(corners - np.array([0, 0, 1e-3, 1e-3])), 0, limits).astype(int)
    picture = np.ascontiguousarray(paper.copy())
    for at in order.tolist():
        x1, y1, x2, y2 = pixels[at].tolist()
        cv2.rectangle(picture, (x1, y1), (x2, y2), colours[at], 2 if strong[at] else 1)
    for at in order.tolist():
        if at in named:
            _written(picture, words[at], pixels[at], colours[at])
    return picture


def _written(picture: Picture, words: str, box: NDArray[np.int64], colour: Colour) -> None:
    """Write words above a box, or inside it where there is no room above; the picture is changed."""
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, LETTER, 1)
    left, top = max(0, min(int(box[0]), picture.shape[1] - width)), int(box[1])
    base = top - 3 if top > height + 4 else top + height + 4
    spot = picture[max(0, base - height - 2) : base + 3, left : left + width]
    spot //= 3  # so that letters are seen on bright images
    cv2.putText(picture, words, (left, base), cv2.FONT_HERSHEY_SIMPLEX, LETTER, colour, 1, cv2.LINE_AA)


def flaw_windows(
    truth: Boxes, answer: Boxes, outcome: Outcome, size: tuple[int, int], most: int = 2
) -> list[tuple[str, Window]]:
    """Return places of an image to be enlarged, at most `most`, each with words: missed truths and wrong answers.

    Missed truths come first, the smallest first, because a small picture hides them; then wrong answers, the highest
    score first. A place that an earlier window shows has none of its own. size: (height, width) of the image.
    """
    missed = [at for at, kind in enumerate(outcome.truths) if kind == "missed"]
    wrong = [at for at, kind in enumerate(outcome.answers) if kind in ERRORS]
    missed.sort(key=lambda at: (float((truth.xyxy[at, 2:] - truth.xyxy[at, :2]).prod()), at))
    wrong.sort(key=lambda at: (-float(answer.scores[at]), at))
    places = [(ERRORS["missed"], truth.xyxy[at]) for at in missed]
    words_of: dict[str, str] = dict(ERRORS.items())
    places += [(f"{words_of[outcome.answers[at]]}, score {answer.scores[at]:.2f}", answer.xyxy[at]) for at in wrong]
    found: list[tuple[str, Window]] = []
    for words, (x1, y1, x2, y2) in places:
        if len(found) == most:
            break
        box = (slice(floor(max(0.0, y1)), ceil(min(y2, size[0]))), slice(floor(max(0.0, x1)), ceil(min(x2, size[1]))))
        if any(part.start >= part.stop for part in box) or any(holds(window, box) for _, window in found):
            continue
        window = window_around(box, size)
        if window is not None:
            found.append((words, window))
    return found
