"""The values of the sections about classes."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from medalist.records import Answer, Mask
from medalist.report.classes import Classes, swatch
from medalist.report.page import SamplePicture
from medalist.tasks.segment.class_section import MOST_MATRIX, ClassesReport, class_values
from medalist.tasks.segment.classes import class_pixels

NAMES = ("road", "car", "pole", "train")


def masks(*rows: list[int], void: bool = False) -> dict[str, Answer]:
    """Return one mask of one row for each list; 9 is void."""
    found: dict[str, Answer] = {}
    for at, row in enumerate(rows):
        numbers = np.array([row], np.uint8)
        found[f"s{at}"] = Mask(np.where(numbers == 9, 0, numbers).astype(np.uint8), numbers == 9 if void else None)
    return found


TRUTHS = masks([0, 0, 0, 0, 1, 1, 9, 9], [0, 0, 0, 0, 0, 0, 2, 2], void=True)
ANSWERS = masks([0, 0, 0, 1, 1, 0, 2, 2], [0, 0, 0, 0, 0, 0, 0, 2])


def shown(names: tuple[str, ...] = NAMES) -> ClassesReport:
    pixels = class_pixels(TRUTHS, ANSWERS, names)
    worst = SamplePicture("s0", 0, 0.25, None, np.zeros((4, 4, 3), np.uint8))
    return ClassesReport(Classes(names), pixels, {1: [worst], 2: [worst, worst]})


def test_a_class_that_no_image_has_shows_no_figure() -> None:
    values = class_values(shown())
    key, row, share = values["rows"][3]
    assert (key.name, row.iou, share) == ("train", None, 0.0) and values["absent"] == ["train"]
    assert [head.name for head in values["heads"]] == list(NAMES[:3])


def test_the_matrix_holds_shares_and_pixels() -> None:
    table = class_values(shown())["matrix"]
    cells = {(key.name, at): cell for key, _, row in table for at, cell in enumerate(row)}
    assert (cells["road", 0].share, cells["road", 0].pixels, cells["road", 0].right) == ("90", "9", True)
    assert (cells["road", 1].share, cells["road", 1].pixels, cells["road", 1].right) == ("10", "1", False)
    assert cells["road", 1].words == "road answered as car: 1 of 10 px, 10.00 %"
    assert cells["car", 0].share == "50" and cells["car", 2].share == "" and cells["car", 2].alpha == 0
    assert 0 < cells["road", 1].alpha < cells["car", 0].alpha < cells["road", 0].alpha < 0.7
    assert [whole for _, whole, _ in table] == ["10", "2", "2"]


def test_many_classes_are_put_together_without_losing_a_pixel() -> None:
    names = tuple(f"c{number}" for number in range(30))
    rng = np.random.default_rng(0)
    truth, answer = (rng.integers(0, 30, (40, 40)).astype(np.uint8) for _ in range(2))
    truth[:20] = answer[:20] = 7
    pixels = class_pixels({"a": Mask(truth)}, {"a": Mask(answer)}, names)
    values = class_values(ClassesReport(Classes(names), pixels))
    assert len(values["heads"]) == MOST_MATRIX + 1 and values["heads"][-1].name == "others" and values["others"] == 10
    assert all(len(row) == MOST_MATRIX + 1 for _, _, row in values["matrix"])
    assert sum(int(cell.pixels or 0) for _, _, row in values["matrix"] for cell in row) == 1600
    assert not values["matrix"][-1][2][-1].right  # within the others, an answer need not be right
    assert not values["named"] and class_values(shown())["named"]


def test_keys_have_the_swatches_of_the_pictures() -> None:
    for number, style in enumerate(Classes(NAMES).styles):
        with Image.open(io.BytesIO(base64.b64decode(class_values(shown())["rows"][number][0].image))) as image:
            assert np.array_equal(np.asarray(image), swatch(style))


def test_the_background_has_no_swatch() -> None:
    values = class_values(shown(("background", "car", "pole", "train")))
    assert values["rows"][0][0].image == "" and [key.number for key in values["legend"]] == [1, 2, 3]
