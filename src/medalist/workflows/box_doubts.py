"""Look for boxes that are odd: without an area, outside, doubled, not judged, or of no class; and images without any.

Each finding is one line with the number of boxes or images and the first ids. Nothing is dropped without such a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medalist.codecs.boxes import with_area
from medalist.contest import Contest
from medalist.formats.submission import shortened
from medalist.layouts.box_files import CROWD, DIFFICULT, AnnotatedBox, annotated
from medalist.records import Answer, Boxes, Sample

_NAMED = 5
"""Ids that a line names."""
_MANY = 0.2  # a share of boxes over the edge that rather comes from numbers that mean something else
_ENOUGH = 10
"""Images with boxes from which a line about where boxes lie is said."""
_CORNER = 0.6
"""The share of both sides that boxes of whole images go beyond."""
_SHARES = 2
"""Corners up to this number of pixels are rather shares of the sides."""


class _Seen(NamedTuple):
    """The boxes of one image, as its annotation or else its truth has them."""

    sample: Sample
    boxes: Sequence[AnnotatedBox]
    truth: Boxes


def implausible_boxes(contest: Contest, truths: Mapping[str, Answer]) -> Iterator[str]:
    """Yield a line for each sort of odd boxes; none where the contest has no boxes.

    truths: by the id of the sample.
    """
    classes: Sequence[str] = getattr(contest.competition.submission, "classes", ())
    seen = []
    for sample in contest.split.train:
        truth = truths.get(sample.id)
        if isinstance(truth, Boxes):
            boxes = annotated(sample) if sample.annotation else []
            seen.append(_Seen(sample, _from_truth(truth, classes) if boxes is None else boxes, truth))
    if seen:
        yield from _left_out(seen, set(classes))
        yield from _renamed(seen, classes)
        yield from _over_the_edge(seen)
        yield from _in_a_corner(seen)
        yield from _doubled(seen)
        yield from _marked(seen)
        yield from _without(seen, classes)


def _from_truth(truth: Boxes, classes: Sequence[str]) -> list[AnnotatedBox]:
    ignored = np.zeros(truth.count, np.bool_) if truth.ignored is None else truth.ignored
    rows = zip(truth.xyxy.tolist(), truth.labels.tolist(), ignored.tolist(), strict=True)
    return [AnnotatedBox((*corners,), DIFFICULT if passed else "-", classes[label]) for corners, label, passed in rows]


def _left_out(seen: Sequence[_Seen], classes: set[str]) -> Iterator[str]:
    """Boxes without an area inside their image, and boxes of no class."""
    empty, outside, unknown = list[str](), list[str](), list[str]()
    labels: Counter[str] = Counter()
    for sample, boxes, _ in seen:
        for (x1, y1, x2, y2), _, label in boxes:
            if label not in classes:
                unknown.append(sample.id)
                labels[label] += 1
            elif x1 >= x2 or y1 >= y2:
                empty.append(f"{sample.id} ({shortened(label)} at {x1:g}, {y1:g})")
            elif not with_area(np.array([[x1, y1, x2, y2]]), sample.size)[0]:
                outside.append(f"{sample.id} ({shortened(label)} at {x1:g}, {y1:g})")
    if empty:
        yield f"{_counted(len(empty), 'has', 'have')} no area, not in the truth: {_named(empty)}"
    if outside:
        yield f"{_counted(len(outside), 'lies', 'lie')} outside the image, not in the truth: {_named(outside)}"
    if unknown:
        common = ", ".join(f"'{shortened(label)}' {count}" for label, count in labels.most_common(_NAMED))
        yield f"{_counted(len(unknown), 'is', 'are')} of no class, not in the truth ({common}): {_named(unknown)}"


def _counted(count: int, one: str, several: str) -> str:
    return f"1 box {one}" if count == 1 else f"{count:,} boxes {several}"


def _named(found: Sequence[str]) -> str:
    ids = list(dict.fromkeys(found))
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{', '.join(map(shortened, ids[:_NAMED]))}{more}"


def _renamed(seen: Sequence[_Seen], classes: Sequence[str]) -> Iterator[str]:
    """Truths with a class that their annotation does not have: the classes of `truth` are in another order."""
    renamed = []
    for sample, boxes, truth in seen:
        said = {box.label for box in boxes}
        other = [classes[label] for label in np.unique(truth.labels).tolist() if classes[label] not in said]
        if said and other and said <= set(classes):
            renamed.append(f"{sample.id} ({shortened(other[0])})")
    if renamed:
        yield (
            f"{len(renamed):,} truths have a class that their annotations do not have: {_named(renamed)}; give `truth` "
            "the classes of the submission format, in the same order"
        )


def _over_the_edge(seen: Sequence[_Seen]) -> Iterator[str]:
    over, most, count = list[str](), 0.0, 0
    for sample, _, truth in seen:
        count += truth.count
        sides = np.array(sample.size[::-1], np.float32)
        by = np.maximum(-truth.xyxy[:, :2], truth.xyxy[:, 2:] - sides).max(axis=1, initial=0.0)
        over += [sample.id] * int((by > 0).sum())
        most = max(most, float(by.max(initial=0.0)))
    if over:
        hint = "; perhaps the numbers mean something else: see `coordinates`" if len(over) > _MANY * count else ""
        said = _counted(len(over), "reaches", "reach")
        yield f"{said} over the edge of the image, by {most:g} pixels at most: {_named(over)}{hint}"
    largest = max((float(truth.xyxy.max(initial=0.0)) for _, _, truth in seen), default=0.0)
    if count and largest <= _SHARES:
        yield (
            f"no corner of {count:,} boxes is beyond {largest:g} pixels; if they are shares of the image's sides, type "
            "normalised=True in their coordinates"
        )


def _in_a_corner(seen: Sequence[_Seen]) -> Iterator[str]:
    """Boxes that all lie in the upper left corner of their images, as those of smaller images do."""
    ends = [truth.xyxy[:, 2:] / np.array(sample.size[::-1], np.float32) for sample, _, truth in seen if truth.count]
    if len(ends) < _ENOUGH:
        return
    corners = np.concatenate(ends)
    right, lower = corners.max(axis=0).tolist()
    if max(right, lower) <= _CORNER and max(float(truth.xyxy.max(initial=0.0)) for _, _, truth in seen) > _SHARES:
        yield (
            f"none of {len(corners):,} boxes reaches beyond {right:.0%} of the width and {lower:.0%} of the height of "
            "its image; if they were drawn on images of another size, multiply them in `read`"
        )


def _doubled(seen: Sequence[_Seen]) -> Iterator[str]:
    doubled = []
    for sample, boxes, _ in seen:
        doubled += [sample.id] * sum(count - 1 for count in Counter(boxes).values())
    if doubled:
        said = _counted(len(doubled), "is", "are")
        yield f"{said} there twice, with the same label and corners, and counted twice: {_named(doubled)}"


def _marked(seen: Sequence[_Seen]) -> Iterator[str]:
    for mark in (CROWD, DIFFICULT):
        found = [sample.id for sample, boxes, _ in seen for box in boxes if box.mark == mark]
        if found:
            yield f"{_counted(len(found), 'is', 'are')} marked {mark} and not judged: {_named(found)}"


def _without(seen: Sequence[_Seen], classes: Sequence[str]) -> Iterator[str]:
    empty = [sample.id for sample, boxes, _ in seen if not boxes]
    if empty:
        yield (
            f"{len(empty):,} of {len(seen):,} training images without a box, taken for images without objects: "
            f"{_named(empty)}"
        )
    there = {label for _, _, truth in seen for label in np.unique(truth.labels).tolist()}
    missing = [name for place, name in enumerate(classes) if place not in there]
    if missing and there:
        yield f"no training image has a box of {_named([repr(name) for name in missing])}"
