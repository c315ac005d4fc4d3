"""Pictures of samples for the report of a segmentation run: panels, enlarged places, words about them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.contest import Contest
from medalist.records import Answer, MapPrediction, Mask, Sample
from medalist.report.classes import Classes, class_panels
from medalist.report.labels import judged, pieces
from medalist.report.page import SamplePicture
from medalist.report.pictures import Picture, Window, joined, panels
from medalist.report.zoom import LETTERS, heat, holds, window_around, with_frames
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof
from medalist.tasks.segment.classes import ClassImage
from medalist.tasks.segment.objects import Compared, Flaw, flaws

WIDE = 1.5
"""Images that are this many times wider than high have two panels in a row, others have all in one row."""
SIDE, WIDE_SIDE, DETAIL_SIDE = 448, 640, 320
"""Longer side of a panel, in pixels: of whole images, of wide images, and of an enlarged place."""
MOST_NAMED = 3
"""Classes as which a missed piece is answered, named at most."""


@dataclass(frozen=True, eq=False)
class StoredMaps:
    """The maps of a run that its score was made from.

    decided: the map that is compared with the threshold. files: the hashes of their files, by name. numbers: the class
    of each channel, for masks of several classes; empty for others.
    """

    store: MapStore
    channels: tuple[str, ...]
    decided: str
    files: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()

    def read(self, name: str) -> MapPrediction:
        """Return the maps of a sample."""
        return self.store.read(name, self.channels, self.files)

    def probability(self, name: str) -> NDArray[np.float32]:
        """Return float32[H, W], the map that is compared with the threshold."""
        return self.read(name).channel(self.decided)

    def of_class(self, name: str, number: int) -> NDArray[np.float32] | None:
        """Return float32[H, W], the map of a class; None where no channel is of this class."""
        if number not in self.numbers:
            return None
        return self.read(name).channel(self.channels[self.numbers.index(number)])


@dataclass(frozen=True, eq=False)
class Drawing:
    """What the pictures of a run's samples are made from.

    classes: None for instances and for masks of one class. maps: or why there are none, as a sentence.
    """

    contest: Contest
    oof: Oof
    classes: Classes | None
    maps: StoredMaps | str

    @property
    def background(self) -> bool:
        """Whether class 0 of masks is background."""
        return self.classes is None or self.classes.background

    def image(self, sample: Sample) -> Picture:
        """Read the image of a sample."""
        return self.contest.competition.image(sample.images[0])

    def panels(
        self, image: Picture, name: str, side: int, window: Window | None = None, only: int | None = None
    ) -> tuple[Picture, ...]:
        """Draw image, truth and answer; for classes also the wrong pixels, of all of them or of `only` one."""
        truth, answer = self.oof.truths[name], self.oof.answers[name]
        if self.classes is None:
            return panels(image, truth, answer, side, window)
        assert isinstance(truth, Mask) and isinstance(answer, Mask), name
        return class_panels(image, truth, answer, self.classes, side, window, only)


@dataclass(frozen=True, eq=False)
class Place:
    """A part of a sample that is enlarged. words: what is there. map: a map of the whole image, and whose outline is
    drawn on it.
    """

    window: Window
    words: str
    map: tuple[NDArray[np.float32], Answer] | None = None


def sample_picture(drawing: Drawing, sample: Sample, fold: int, found: Compared, details: int) -> SamplePicture:
    """Draw one sample, with at most `details` of its worst places."""
    places = [
        Place(window, *_told_of(drawing, sample.id, flaw, found))
        for flaw, window in worst_places(found, sample.size, details)
    ]
    probability = None
    if drawing.classes is None and isinstance(drawing.maps, StoredMaps):
        probability = drawing.maps.probability(sample.id)
    picture, enlarged = _drawn(drawing, sample, places, probability)
    score = drawing.oof.score.by_sample[sample.id]
    return SamplePicture(sample.id, fold, score, sample.stratum, picture, found.in_words(), enlarged)


def class_picture_of(drawing: Drawing, sample: Sample, fold: int, found: ClassImage, number: int) -> SamplePicture:
    """Draw one sample, with the place of its largest error in one class. Its score is the IoU of the class."""
    assert drawing.classes is not None
    words = f"{found.missed:,} px missed, {found.false:,} px false"
    truth, answer = drawing.oof.truths[sample.id], drawing.oof.answers[sample.id]
    said = judged(truth, answer)
    assert isinstance(truth, Mask) and isinstance(said, Mask)
    wrong = pieces((truth.classes == number) != (said.classes == number))
    areas = np.bincount(wrong.ravel())
    areas[0] = 0
    largest = int(areas.argmax())
    rows, columns = ndimage.find_objects(wrong)[largest - 1]
    window = window_around((rows, columns), sample.size)
    places = []
    if window is not None:
        told = f"the largest error, {areas[largest]:,} px"
        places.append(Place(window, told, _map_of(drawing, sample.id, number)))
    picture, enlarged = _drawn(drawing, sample, places, None, number)
    return SamplePicture(sample.id, fold, found.iou, sample.stratum, picture, words, enlarged)


def _drawn(
    drawing: Drawing,
    sample: Sample,
    places: Sequence[Place],
    probability: NDArray[np.float32] | None,
    only: int | None = None,
) -> tuple[Picture, list[tuple[str, Picture]]]:
    """Draw a whole sample with frames at places, and each place enlarged; it is smaller for `only` one class."""
    image = drawing.image(sample)
    size = image.shape[:2]
    is_wide = size[1] >= WIDE * size[0]
    side = DETAIL_SIDE if only is not None else WIDE_SIDE if is_wide else SIDE
    shown = [*drawing.panels(image, sample.id, side, None, only)]
    enlarged = []
    for letter, place in zip(LETTERS, places, strict=False):
        parts = [*drawing.panels(image, sample.id, DETAIL_SIDE, place.window, only)]
        if place.map is not None:
            parts.append(heat(place.map[0], place.map[1], DETAIL_SIDE, place.window))
        enlarged.append((f"{letter}: {place.words}", joined(parts)))
    shown[0] = with_frames(shown[0], [place.window for place in places], size)
    if probability is not None:
        shown.append(heat(probability, drawing.oof.truths[sample.id], side))
    return joined(shown, 2 if is_wide and len(shown) > 3 and only is None else None), enlarged


def worst_places(found: Compared, size: tuple[int, int], most: int) -> list[tuple[Flaw, Window]]:
    """Return at most `most` missed or false objects, the largest first, each with the window around it.

    An object in the middle of an earlier window gets none of its own, nor does one whose window is most of the image.
    """
    places: list[tuple[Flaw, Window]] = []
    for flaw in flaws(found, 50) if most else []:
        window = window_around(flaw.box, size)
        if len(places) < most and window and not any(holds(other, flaw.box) for _, other in places):
            places.append((flaw, window))
    return places


def _told_of(
    drawing: Drawing, name: str, flaw: Flaw, found: Compared
) -> tuple[str, tuple[NDArray[np.float32], Answer] | None]:
    """Return what a place shows, in words, with the probability of its object; and the map with this probability."""
    where = (found.truth if flaw.kind == "missed" else found.answer).labels == flaw.number
    truth, answer = drawing.oof.truths[name], drawing.oof.answers[name]
    if drawing.classes is None:
        words = f"a {flaw.kind} object of {flaw.pixels:,} px"
        maps = drawing.maps
        shown = (maps.probability(name), truth) if isinstance(maps, StoredMaps) else None
        what = "its probability"
    else:
        assert isinstance(truth, Mask) and isinstance(answer, Mask), name
        own, other = (truth, answer) if flaw.kind == "missed" else (answer, truth)
        number = int(own.classes[where][0])
        called = drawing.classes.names[number]
        there = _others(flaw, other.classes[where], drawing.classes)
        words = f"a {flaw.kind} piece of {called}, {flaw.pixels:,} px; {there}"
        shown = _map_of(drawing, name, number)
        what = f"the probability of {called}"
    if shown is None:
        return words, None
    inside = shown[0][where]
    return f"{words}; {what} is {inside.mean():.2f} on average, {inside.max():.2f} at most", shown


def _others(flaw: Flaw, classes: NDArray[np.uint8], names: Classes) -> str:
    """Return which classes the other side has at a missed or false piece, the largest first, in words."""
    counts = np.bincount(classes)
    largest = np.argsort(-counts, kind="stable")[:MOST_NAMED]
    told = [f"{names.names[number]} ({counts[number]:,} px)" for number in largest.tolist() if counts[number]]
    return f"{'the answer' if flaw.kind == 'missed' else 'the truth'} there is {', '.join(told)}"


def _map_of(drawing: Drawing, name: str, number: int) -> tuple[NDArray[np.float32], Answer] | None:
    """Return the map of a class, and the truth of this class alone; None where there is no map."""
    if not isinstance(drawing.maps, StoredMaps):
        return None
    found = drawing.maps.of_class(name, number)
    truth = drawing.oof.truths[name]
    assert isinstance(truth, Mask), name
    return None if found is None else (found, Mask((truth.classes == number).astype(np.uint8), truth.void))
