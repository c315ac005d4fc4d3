from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.report.classes import COLOURS, Classes
from medalist.report.network import (
    CHANNEL_COLOURS,
    BatchPicture,
    DebugReport,
    Grid,
    batch_grid,
    channel_colours,
    lr_range_figure,
    overfit_figure,
    write_batch,
    write_chart,
    write_debug,
)

HOSTILE = '<script>alert("x")</script>\u202e'


def batch(count: int = 3, channels: int = 3, targets: bool = True) -> BatchPicture:
    images = np.full((count, 32, 32, channels), 90, np.uint8)
    maps = np.zeros((count, 2, 32, 32), np.float32)
    maps[:, 0, 8:24, 8:24] = 1
    maps[0, 1, 12:20, 12:20] = 1
    return BatchPicture(images, maps if targets else None, [f"s{k}" for k in range(count)], [""] * count)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=2).any())


def test_contours_have_the_colours_of_their_channels() -> None:
    picture = batch_grid(batch(1))
    body, border = CHANNEL_COLOURS[:2]
    assert has(picture, body) and has(picture, border)
    assert not has(batch_grid(batch(1, targets=False)), body)
    rows, columns = np.nonzero((picture == np.array(body, np.uint8)).all(axis=2))
    # 8..24 of 32 pixels at seven times the size, after the grid's gap of 10
    assert abs(rows.min() - (10 + 8 * 7)) <= 2 and abs(rows.max() - (10 + 24 * 7)) <= 2
    assert abs(columns.max() - columns.min() - 16 * 7) <= 3
    assert len(channel_colours(20)) == 20


def classes_batch(void: bool = True) -> BatchPicture:
    """Return a batch whose two channels are the classes 2 and 1, in this order."""
    plain = batch(2)
    where = np.zeros((2, 32, 32), np.bool_)
    where[:, :, 28:] = void
    maps = np.zeros((2, 2, 32, 32), np.float32)
    maps[:, 0, 2:20, 2:20], maps[:, 1, 20:30, 2:20] = 1, 0.6
    return replace(plain, targets=maps, void=where, classes=Classes(("background", "car", HOSTILE)), numbers=(2, 1))


def test_classes_are_areas_in_the_colours_of_the_report() -> None:
    picture = batch_grid(classes_batch())
    above, below = picture[10 + 3 * 7 : 10 + 18 * 7, 10 : 10 + 224], picture[10 + 21 * 7 : 10 + 29 * 7, 10 : 10 + 224]
    edge = picture[10 + 2 * 7, 10 + 5 * 7]  # of the upper area
    assert (edge == COLOURS[1]).all() and has(picture, COLOURS[0])
    assert not has(picture, CHANNEL_COLOURS[0])
    assert has(above[:, 28 * 7 :], (0, 0, 0)) and has(below[:, 28 * 7 :], (255, 255, 255))  # void is hatched
    assert (picture[10 + 25 * 7, 10 + 22 * 7] == 90).all()


def test_a_class_that_is_less_than_half_mixed_in_is_not_drawn() -> None:
    faint = classes_batch(void=False)
    assert faint.targets is not None
    picture = batch_grid(replace(faint, targets=faint.targets * 0.8))
    assert has(picture, COLOURS[1]) and not has(picture, COLOURS[0])


def test_without_a_background_every_class_is_drawn() -> None:
    street = replace(classes_batch(void=False), classes=Classes(("road", "car")), numbers=(0, 1))
    assert has(batch_grid(street), COLOURS[0]) and has(batch_grid(street), COLOURS[1])


def test_a_batch_of_classes_is_written_with_their_legend(tmp_path: Path) -> None:
    picture = write_batch(tmp_path / "batch0.png", classes_batch(), ["b", "a"])
    with Image.open(tmp_path / "batch0.png") as made:
        written = np.asarray(made)
    height = written.shape[0] - picture.shape[0]
    assert 20 < height < 80 and has(written[:height], COLOURS[0]) and has(written[:height], COLOURS[1])
    np.testing.assert_array_equal(written[height:, : picture.shape[1]], picture)


def test_the_page_has_the_legend_of_the_classes(tmp_path: Path) -> None:
    classes = Classes(("background", "car", HOSTILE))
    write_debug(tmp_path / "index.html", report(classes=classes, void=True))
    page = (tmp_path / "index.html").read_text()
    assert "Areas are the target; void pixels are hatched." in page and page.count('class="square"') == 3
    assert "<script" not in page and "1 car" in page and "Contours" not in page


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_holds_the_first_samples_and_no_more(channels: int) -> None:
    few, many = batch_grid(batch(3, channels)), batch_grid(batch(40, channels))
    assert few.shape[1] == 3 * 234 + 10 and many.shape[1] == 4 * 234 + 10
    assert many.shape[0] == 4 * (224 + 24 + 10) + 10


def test_a_batch_is_written_whole(tmp_path: Path) -> None:
    picture = write_batch(tmp_path / "batch0.png", batch(), ["body", HOSTILE])
    with Image.open(tmp_path / "batch0.png") as made:
        written = np.asarray(made)
    assert written.shape[0] == picture.shape[0] + 24 and written.dtype == np.uint8
    np.testing.assert_array_equal(written[24:, : picture.shape[1]], picture)
    assert [path.name for path in tmp_path.iterdir()] == ["batch0.png"]


@pytest.mark.parametrize(
    "values", [[1.0, 0.5, 0.1], [1.0, float("nan")], [0.0, 0.0], [-1.0, -2.0]], ids=["falls", "nan", "zero", "negative"]
)
def test_charts_take_any_losses(values: list[float], tmp_path: Path) -> None:
    assert "<svg" in write_chart(tmp_path / "a.png", overfit_figure(values, 0.1))
    rates = [10.0**power for power in range(len(values))]
    figure = lr_range_figure(rates, values, values, None, 1.0, 1e-3)
    assert figure.axes[0].get_xscale() == "log"
    assert "<svg" in write_chart(tmp_path / "b.png", figure)
    with Image.open(tmp_path / "b.png") as made:
        assert made.size[0] > 500


def report(**changed: Any) -> DebugReport:
    values: dict[str, Any] = {
        "run": HOSTILE,
        "competition": "toy",
        "wrong": [f"dead: {HOSTILE}"],
        "facts": [("one batch", "learned")],
        "tables": [
            Grid("Parts", HOSTILE, ("a", "b"), [[HOSTILE, "2"]], (1,)),
            Grid("All", "", ("a",), [["x"]], (), True),
        ],
        "channels": ["body", HOSTILE],
        "pictures": [(HOSTILE, batch_grid(batch()))],
        "charts": [],
        "config": HOSTILE,
    }
    return DebugReport(**{**values, **changed})


def test_the_page_escapes_and_needs_nothing_else(tmp_path: Path) -> None:
    write_debug(tmp_path / "index.html", report())
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "Warnings, worst first" in page and "Nothing looks wrong" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page) and "default-src 'none'" in page
    assert page.count("<details>") == 1


def test_the_page_of_a_sound_network(tmp_path: Path) -> None:
    write_debug(tmp_path / "index.html", report(wrong=[], pictures=[], channels=[]))
    page = (tmp_path / "index.html").read_text()
    assert "Nothing looks wrong" in page and "<img" not in page
