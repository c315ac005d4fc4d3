"""Pictures of samples, from answers that are drawn here: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.metrics.classes import mean_iou
from medalist.metrics.masks import mean_dice
from medalist.records import Answer, MapPrediction, Mask, Sample
from medalist.report.classes import COLOURS, WRONG, Classes
from medalist.report.zoom import FRAME
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof
from medalist.tasks.segment.classes import class_pixels
from medalist.tasks.segment.drawing import Drawing, StoredMaps, class_picture_of, sample_picture, worst_places
from medalist.tasks.segment.objects import Compared, compared

SIZE = (120, 200)
PIT, SPOT = (10, 10, 16, 16), (100, 150, 103, 154)
STREET = Classes(("road", "pole", "car"))


def mask(*boxes: tuple[int, int, int, int], number: int = 1) -> Mask:
    classes = np.zeros(SIZE, np.uint8)
    for top, left, bottom, right in boxes:
        classes[top:bottom, left:right] = number
    return Mask(classes)


def drawing(
    tmp_path: Path, truth: Mask, answer: Mask, classes: Classes | None, maps: StoredMaps | str = "no maps"
) -> tuple[Drawing, Sample, Compared]:
    """Return what is needed to draw one sample `a` with a truth and an answer."""
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).save(path)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    contest: Any = SimpleNamespace(competition=SimpleNamespace(image=lambda path: pixels))
    sample = Sample("a", (path,), SIZE)
    truths: dict[str, Answer] = {"a": truth}
    answers: dict[str, Answer] = {"a": answer}
    metric = mean_iou(classes.names) if classes else mean_dice
    oof = Oof((sample,), truths, answers, metric({"a": truth}, {"a": answer}))
    return Drawing(contest, oof, classes, maps), sample, compared(truth, answer, not classes or classes.background)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour)).all(axis=2).any())


class Maps(MapStore):
    """A store of one sample."""

    def __init__(self, prediction: MapPrediction) -> None:
        self.prediction = prediction

    def read(self, name: str, channels: Any, known: Any = None) -> MapPrediction:
        return self.prediction


def test_the_worst_objects_are_enlarged_and_framed(tmp_path: Path) -> None:
    made, sample, found = drawing(tmp_path, mask(PIT, SPOT), mask(), None)
    picture = sample_picture(made, sample, 0, found, 2)
    words = [words for words, _ in picture.details]
    assert words == ["a: a missed object of 36 px", "b: a missed object of 12 px"]
    assert picture.note == "2 objects in the truth (48 px); the answer is empty; 2 missed"
    assert (picture.picture[:, :640] == np.array(FRAME)).all(axis=2).sum() > 100
    assert not sample_picture(made, sample, 0, found, 0).details


def test_neighbours_share_one_place() -> None:
    truth = mask(PIT, (18, 18, 20, 20), SPOT)
    places = worst_places(compared(truth, mask()), SIZE, 2)
    assert [flaw.pixels for flaw, _ in places] == [36, 12]
    assert [flaw.pixels for flaw, _ in worst_places(compared(truth, mask()), SIZE, 1)] == [36]
    assert worst_places(compared(truth, truth), SIZE, 2) == []


def test_a_missed_piece_of_a_class_says_what_is_answered_there(tmp_path: Path) -> None:
    answer = mask((0, 0, 13, 200), number=2)
    made, sample, found = drawing(tmp_path, mask(PIT), answer, STREET)
    (words, picture), *_ = sample_picture(made, sample, 0, found, 2).details
    assert words == "a: a missed piece of pole, 36 px; the answer there is road (18 px), car (18 px)"
    assert has(picture, COLOURS[1]) and has(picture, WRONG)


def test_a_false_piece_says_what_is_true_there(tmp_path: Path) -> None:
    made, sample, found = drawing(tmp_path, mask(), mask(SPOT, number=2), STREET)
    (words, _), *_ = sample_picture(made, sample, 0, found, 2).details
    assert words == "a: a false piece of car, 12 px; the truth there is road (12 px)"


def test_the_probability_of_a_class_is_that_of_its_channel(tmp_path: Path) -> None:
    planes = np.zeros((2, *SIZE), np.uint8)
    planes[0], planes[1, 10:16, 10:16] = 7, 51
    maps = StoredMaps(Maps(MapPrediction(planes, ("car", "pole"))), ("car", "pole"), "car", {}, (2, 1))
    made, sample, found = drawing(tmp_path, mask(PIT), mask(), STREET, maps)
    shown = sample_picture(made, sample, 0, found, 1)
    ((words, picture),) = shown.details
    assert words.endswith("the answer there is road (36 px); the probability of pole is 0.20 on average, 0.20 at most")
    without, *_ = drawing(tmp_path, mask(PIT), mask(), STREET)
    assert picture.shape[1] > sample_picture(without, sample, 0, found, 1).details[0][1].shape[1]
    assert maps.of_class("a", 0) is None


@pytest.mark.parametrize("number", [0, 1])
def test_the_worst_place_of_a_class_is_framed(tmp_path: Path, number: int) -> None:
    void = np.zeros(SIZE, np.bool_)
    void[:, 60:140] = True
    truth = Mask(mask(PIT, SPOT).classes, void)
    made, sample, _ = drawing(tmp_path, truth, mask((0, 60, 120, 140)), STREET)
    (image,) = class_pixels(made.oof.truths, made.oof.answers, STREET.names).worst(number, 1)
    picture = class_picture_of(made, sample, 3, image, number)
    assert picture.score == image.iou and picture.fold == 3
    assert picture.note == ("0 px missed, 48 px false" if number == 0 else "48 px missed, 0 px false")
    ((words, enlarged),) = picture.details
    assert words == "a: the largest error, 36 px"
    assert has(picture.picture[:, :320], FRAME) and has(enlarged, WRONG)


def test_an_error_that_fills_the_image_is_not_enlarged(tmp_path: Path) -> None:
    made, sample, _ = drawing(tmp_path, mask((0, 0, 120, 200)), mask(), STREET)
    (image,) = class_pixels(made.oof.truths, made.oof.answers, STREET.names).worst(1, 1)
    assert not class_picture_of(made, sample, 0, image, 1).details
