"""The report page of a retrieval run: the page of every run, with queries and their hits, a map and similarities.

The data are rendered by `retrieval.html.j2`, which extends `page.html.j2`; the rules of `report/page.py` for hostile
names hold here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medalist.files import write_text
from medalist.report.charts import finite, svg
from medalist.report.page import RunReport, few_strata, page_values, rendered
from medalist.report.pictures import FOUND, GAP, MISSED, PAPER, Colour, Picture, captioned, fit_image
from medalist.tasks.embed.likeness import EqualError, Pairs

SIDE = 168
"""Longer side of a picture in a row of hits, in pixels."""
MOST_HITS = 6
"""Hits of one query on the page at most."""
WORST, OTHERS = 12, 6
"""Queries on the page at most: `WORST` of the worst; `OTHERS` of the typical and again `OTHERS` of the best."""
MOST_STRATA = 12
"""Strata on the page at most; where strata are identities, there may be thousands."""

RIGHT, WRONG = FOUND, MISSED
OVERLOOKED: Colour = (63, 127, 214)
"""Colour of the frame of a right answer that was missed."""

Hit = tuple[Picture, str, bool | None]
"""A picture, the lines below it, and whether the hit is right; None where this is not asked or not known."""

_Cell = tuple[Picture, str, Colour | None]
_FRAME, _GAP, _APART, _LINE = 5, 8, 26, 20


@dataclass(frozen=True, eq=False)
class QueryPicture:
    """One OOF query on the page.

    what: a note on the query, for example "12 right answers". picture: uint8[H, W, 3], from `hits_grid`.
    """

    id: str
    identity: str
    fold: int | str
    score: float
    what: str
    picture: Picture


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """A map of embeddings. how: the method, as text. samples: the number of samples on it, all held out by `fold`."""

    figure: Figure
    how: str
    samples: int
    fold: int


@dataclass(frozen=True, eq=False)
class Similarities:
    """The figure of the cosines of pairs, the pairs, and their equal error (None where it does not exist)."""

    figure: Figure
    pairs: Pairs
    error: EqualError | None


@dataclass(frozen=True, eq=False)
class RetrievalReport:
    """The data of the report page of a retrieval run: plain values; nothing else is read from disk.

    run: the parts that the page of every run has, without pictures. `run.scores["retrieval"]` may have `threshold`,
        `thresholds` {fold: value}, and `honest`, `naive` and `without_threshold`: the scores of answers with and
        without new identities.
    worst, typical, best: queries in the order in which they are shown.
    facts: rows (name, value) of a small table. new: the name of a new identity, None where the contest has none.
    """

    run: RunReport
    worst: Sequence[QueryPicture] = ()
    typical: Sequence[QueryPicture] = ()
    best: Sequence[QueryPicture] = ()
    map: EmbeddingMap | None = None
    similarities: Similarities | None = None
    facts: Sequence[tuple[str, str]] = field(default=())
    new: str | None = None


def write_retrieval_report(path: Path, report: RetrievalReport) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render_retrieval(report).encode("utf-8", "backslashreplace").decode("utf-8"))


def render_retrieval(report: RetrievalReport) -> str:
    """Return the page as HTML text."""
    shortened, left_out = few_strata(report.run.scores, MOST_STRATA)
    values = page_values(replace(report.run, scores=shortened), ("query", "queries"))
    tuned = report.run.scores.get("retrieval")
    tuned = tuned if isinstance(tuned, Mapping) else {}
    gains = [float(tuned[name]) for name in ("honest", "without_threshold") if finite(tuned.get(name))]
    thresholds = tuned.get("thresholds")
    parts: Mapping[str, Any] = values["oof"].get("parts") or {}
    values |= {
        # Without `thresholds`, recall@1 and recall@5 are not drawn as a curve over thresholds. `unanswerable` is left
        # out, because the table of facts shows it.
        "parts": {name: part for name, part in parts.items() if name != "unanswerable"},
        "thresholds": None,
        "left_out_strata": left_out,
        "tuned": tuned,
        "gain": gains[0] - gains[1] if len(gains) == 2 else None,
        "by_fold": list(thresholds.items()) if isinstance(thresholds, Mapping) else [],
        "shown": report,
        "map": svg(report.map.figure) if report.map else None,
        "similar": svg(report.similarities.figure) if report.similarities else None,
        "equal": report.similarities.error if report.similarities else None,
        "frames": {"right": RIGHT, "wrong": WRONG, "overlooked": OVERLOOKED},
    }
    return rendered("retrieval.html.j2", values, __package__)


def shown_queries(by_sample: Mapping[str, float]) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of the worst, of typical, and of the best queries; no id is in two of them.

    The typical queries are the middle of those that are neither worst nor best. Queries often have equal scores. They
    are sorted by a hash, so that they are not all of one identity.
    """

    def place(name: str) -> tuple[float, str]:
        return by_sample[name], sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    ordered = sorted(by_sample, key=place)
    worst = ordered[: min(WORST, -(-len(ordered) // 2))]
    best = ordered[len(worst) :][::-1][:OTHERS]
    rest = ordered[len(worst) : len(ordered) - len(best)]
    start = max(0, (len(rest) - OTHERS) // 2)
    return worst, rest[start : start + OTHERS], best


def hits_grid(
    query: Picture,
    hits: Sequence[Hit],
    caption: str = "query",
    *,
    missed: tuple[Picture, str] | None = None,
    columns: int | None = None,
    side: int = SIDE,
) -> Picture:
    """Draw a query and its hits, with a green frame for right hits, a red one for wrong hits, and text below each.

    Args:
        query: uint8[H, W, 3]; it has no frame. Hits that are not known to be right or wrong have no frame either.
        hits: pictures of any size, the lines below each (separated by line breaks), and whether it is right.
        caption: the lines below the query.
        missed: a right answer that is not among the hits; it is drawn last, with a gap before it and a blue frame.
        columns: hits in a row; None puts all hits into one row.
        side: longer side of each picture, in pixels.
    """
    assert columns is None or columns >= 1, f"columns must be at least 1, not {columns}"
    wide = max(1, columns or len(hits))
    colours = {True: RIGHT, False: WRONG, None: None}
    rows = [hits[at : at + wide] for at in range(0, len(hits), wide)] or [()]
    bands = []
    for place, row in enumerate(rows):
        cells: list[_Cell | None] = [(query, caption, None) if place == 0 else None]
        cells += [(picture, words, colours[right]) for picture, words, right in row]
        cells += [None] * (wide - len(row))
        if missed is not None:
            cells.append((*missed, OVERLOOKED) if place == 0 else None)
        bands.append(_band(cells, side, missed is not None))
    return np.concatenate(bands)


def text_tile(text: str, side: int = SIDE) -> Picture:
    """Draw a gray tile with text, for an answer that has no picture, such as the name of a new identity."""
    tile = np.full((side // 2, side, 3), 225, np.uint8)
    line = captioned(np.zeros((0, side - 24, 3), np.uint8), text)
    ink = line.astype(np.int16) - np.array(PAPER, np.int16)
    top = (len(tile) - len(line)) // 2
    spot = tile[top : top + len(line), 12 : 12 + line.shape[1]]
    spot[:] = np.clip(spot + ink, 0, 255).astype(np.uint8)
    return tile


def _band(cells: Sequence[_Cell | None], side: int, apart: bool) -> Picture:
    """Draw one row: the query, the hits and, where `apart`, a missed answer in the last cell; None is an empty cell."""
    width, last = side + 2 * _FRAME, len(cells) - 1
    lefts = [_GAP + place * (width + _GAP) + (place > 0) * (_APART - _GAP) for place in range(len(cells))]
    lefts[last] += (_APART - _GAP) * apart
    drawn = [(left, _framed(one[0], one[2], side), one[1]) for left, one in zip(lefts, cells, strict=True) if one]
    top = max((frame.shape[0] for _, frame, _ in drawn), default=1)
    text = _LINE * max((1 + words.count("\n") for _, _, words in drawn), default=0)
    band = np.full((top + text + 2 * _GAP, lefts[last] + width + _GAP, 3), PAPER, np.uint8)
    for left, frame, words in drawn:
        down, right = _GAP + (top - frame.shape[0]) // 2, left + (width - frame.shape[1]) // 2
        band[down : down + frame.shape[0], right : right + frame.shape[1]] = frame
        strip = _strip(words, width)
        band[_GAP + top : _GAP + top + len(strip), left : left + width] = strip
    for left in (lefts[1], *([lefts[last]] if apart else [])):
        band[_GAP : _GAP + top, left - _APART // 2] = GAP
    return band


def _framed(picture: Picture, colour: Colour | None, side: int) -> Picture:
    fitted = fit_image(picture, side)
    edge = PAPER if colour is None else colour
    frame = np.full((fitted.shape[0] + 2 * _FRAME, fitted.shape[1] + 2 * _FRAME, 3), edge, np.uint8)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = fitted
    return frame


def _strip(text: str, width: int) -> Picture:
    """Draw lines of text one below the other, uint8[h, width, 3]."""
    empty = np.zeros((0, width, 3), np.uint8)
    lines = [captioned(empty, line)[:_LINE] for line in text.split("\n")]
    return np.concatenate(lines)
