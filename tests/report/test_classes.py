"""Classes of masks as colours, textures and numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from medalist.records import Instances, Mask
from medalist.report.classes import (
    COLOURS,
    WRONG,
    Classes,
    class_panels,
    class_picture,
    classes_in,
    fit_classes,
    is_dark,
    legend_picture,
    overlaid,
    swatch,
    textured,
)

STREET = Classes(tuple(f"class {number}" for number in range(19)))
PARTS = Classes(("background", "shaft", "wrist", "clasper"))
HOSTILE = "<script>\n\u202e\x00" + "x" * 5000

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009: matrices
# on linear RGB for a whole deficiency.
EYES = {
    "all": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def gray(height: int, width: int, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def contest(names: tuple[str, ...], **submission: Any) -> Any:
    return SimpleNamespace(classes=names, submission=SimpleNamespace(**submission))


# ----------------------------------------------------------------------------------------------------------- styles


@pytest.mark.parametrize("eyes", EYES)
def test_the_colours_are_far_apart_for_every_eye(eyes: str) -> None:
    """CIEDE2000 of 2.3 is a difference that is just noticed."""
    linear = (np.array(COLOURS) / 255) ** 2.2
    seen = np.clip(linear @ EYES[eyes].T, 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen[np.newaxis])[0]
    distance = deltaE_ciede2000(lab[:, np.newaxis], lab[np.newaxis])
    assert distance[np.triu_indices(len(COLOURS), 1)].min() > 9


def test_classes_of_one_colour_have_different_textures() -> None:
    looks = [(style.colour, style.texture) for style in STREET.styles]
    assert len(set(looks)) == 19 and looks[0][0] == looks[8][0] == looks[16][0]
    many = Classes(tuple(map(str, range(40)))).styles
    assert len({(style.colour, style.texture) for style in many[:32]}) == 32
    inks = [textured(name, (64, 64)) for name in ("plain", "stripes", "dots", "lines")]
    assert not inks[0].any() and all(0.1 < ink.mean() < 0.4 for ink in inks[1:])
    pairs = [(one, other) for at, one in enumerate(inks[1:]) for other in inks[at + 2 :]]
    assert all((one != other).mean() > 0.2 for one, other in pairs)


def test_a_class_has_the_same_look_whatever_else_there_is() -> None:
    assert PARTS.styles == Classes((*PARTS.names, "thread")).styles[:3]
    assert [style.number for style in PARTS.styles] == [1, 2, 3] and PARTS.style(0) is None
    assert PARTS.style(2).name == "wrist" and STREET.style(0).name == "class 0"  # type: ignore[union-attr]
    assert PARTS.background and not STREET.background


def test_ink_can_be_seen_on_every_colour() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        return float(np.dot((np.array(colour) / 255) ** 2.2, (0.2126, 0.7152, 0.0722)))

    for colour in COLOURS:
        ink = 1.0 if is_dark(colour) else 0.0
        high, low = sorted((ink, luminance(colour)), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 4.5, colour  # the contrast that WCAG 2.1 wants of text


def test_which_contests_have_classes() -> None:
    mask, two = Mask(np.zeros((2, 2), np.uint8)), Mask(np.full((2, 2), 2, np.uint8))
    assert classes_in(contest(()), [mask]) is None
    assert classes_in(contest(()), [mask, two]) == Classes(("background", "class 1", "class 2"))
    assert classes_in(contest((), one_class=True), [Mask(two.classes * 127)]) is None
    assert classes_in(contest(("road", "car")), [mask]) == Classes(("road", "car"))
    assert classes_in(contest(("road", "car")), [mask, two]) == Classes(("road", "car", "class 2"))
    assert classes_in(contest(("road", "car")), [Instances(np.zeros((2, 2), np.int32))]) is None
    assert classes_in(contest(("road", "car")), []) is None


# --------------------------------------------------------------------------------------------------------- pictures


def test_areas_have_the_colour_of_their_class_and_its_number() -> None:
    fitted = np.zeros((60, 80), np.int32)
    fitted[10:50, 10:40], fitted[10:50, 40:70] = 2, 3
    picture = overlaid(gray(60, 80), fitted, PARTS.styles)
    assert (picture[0:10] == 100).all()
    tinted = np.round(0.38 * 100 + 0.62 * np.array(COLOURS[1]))
    assert np.abs(picture[12, 15] - tinted).max() <= 1
    assert (picture[20, 10] == COLOURS[1]).all() and (picture[20, 39] == COLOURS[1]).all()  # edges are pure
    assert (picture[20, 40] == COLOURS[2]).all()
    middle = picture[22:38, 17:33].reshape(-1, 3)
    assert (middle > 230).all(axis=1).any() and (middle < 25).all(axis=1).any()  # a white number on black


def test_textures_are_drawn_in_the_area_of_their_class_alone() -> None:
    fitted = np.zeros((80, 40), np.int32)
    fitted[:, :20], fitted[:, 20:] = 1, 9
    picture = overlaid(gray(80, 40), fitted, STREET.styles)
    ink = textured("stripes", (80, 40))
    inside = np.zeros((80, 40), np.bool_)
    inside[60:76, 24:38] = True
    assert picture[inside & ink].max() < picture[inside & ~ink].max(axis=1).min()
    assert (picture[60:76, 2:18] == picture[60, 2]).all()


def test_small_pieces_survive_reduction() -> None:
    numbers = np.zeros((1000, 1000), np.int32)
    numbers[500:, :] = 1
    numbers[5:500:97, 3::97] = 1  # the class is also elsewhere, so its number alone would not be lost
    fitted = fit_classes(numbers, 50)
    assert (fitted[:25] == 1).sum() == len(range(5, 500, 97)) * len(range(3, 1000, 97))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 700), (700, 1), (2000, 31), (300, 450)])
@pytest.mark.parametrize("classes", [STREET, PARTS], ids=["street", "parts"])
def test_any_size_is_drawn(size: tuple[int, int], classes: Classes) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(classes.names), size).astype(np.uint8)
    void = rng.random(size) < 0.1
    truth[void] = 0
    shown = class_panels(gray(*size), Mask(truth, void), Mask(truth), classes, 64)
    assert len({panel.shape for panel in shown}) == 1 and max(shown[0].shape) == 64
    assert all(panel.dtype == np.uint8 for panel in shown)
    assert not (shown[3] == WRONG).all(axis=2).any()  # no pixel is wrong
    assert np.array_equal(class_picture(gray(*size), Mask(truth, void), classes, 64), shown[1])


def test_wrong_pixels_are_white_and_void_pixels_are_not_wrong() -> None:
    truth, answer, void = np.zeros((40, 60), np.uint8), np.ones((40, 60), np.uint8), np.zeros((40, 60), np.bool_)
    truth[:, 40:], void[:, :20] = 1, True
    image, of_truth, of_answer, wrong = class_panels(gray(40, 60), Mask(truth, void), Mask(answer), PARTS, 60)
    white = (wrong == 255).all(axis=2)
    assert white[:, 20:40].all() and not white[:, :20].any() and not white[:, 40:].any()
    for panel in (of_truth, of_answer):
        assert (panel[:, :20].max(axis=2) == panel[:, :20].min(axis=2)).all()  # hatched, and without colour
        assert (panel[:, :20] == 255).any() and (panel[:, :20] == 0).any()
    assert (of_answer[:, 22:38].max(axis=2) != of_answer[:, 22:38].min(axis=2)).mean() > 0.8
    assert (image == 100).all()


def test_an_image_that_is_all_void_is_hatched_all_over() -> None:
    nothing, everywhere = np.zeros((30, 30), np.uint8), np.ones((30, 30), np.bool_)
    _, truth, answer, wrong = class_panels(gray(30, 30), Mask(nothing, everywhere), Mask(nothing + 3), STREET, 60)
    assert np.array_equal(truth, answer) and (truth == 255).any()
    assert not (wrong == 255).any()


def test_a_window_shows_its_part() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[40:60, 40:60] = 3
    window = (slice(40, 60), slice(40, 60))
    picture = class_picture(gray(100, 100), Mask(truth), PARTS, 80, window)
    assert picture.shape == (80, 80, 3) and (picture[:10].max(axis=2) != picture[:10].min(axis=2)).all()


# ---------------------------------------------------------------------------------------------------------- legends


def test_swatches_are_those_of_the_pictures() -> None:
    plain, striped, void = swatch(STREET.styles[0]), swatch(STREET.styles[8]), swatch(None)
    assert (plain == COLOURS[0]).all()
    ink = textured("stripes", (28, 28))
    assert (striped[ink] == 0).all() and (striped[~ink] == COLOURS[0]).all()
    assert (void == 255).all(axis=2).any() and (void == 0).all(axis=2).any()


@pytest.mark.parametrize("width", [60, 400, 1400])
def test_a_legend_holds_every_class_and_is_as_wide_as_asked(width: int) -> None:
    strip = legend_picture(STREET, width, void=True)
    assert strip.shape[1] == width and strip.dtype == np.uint8
    for colour in COLOURS:
        assert (strip == np.array(colour)).all(axis=2).any(), colour
    assert legend_picture(STREET, width).shape[0] <= strip.shape[0]
    hostile = legend_picture(Classes((HOSTILE, "\ud800", "", "核" * 300)), width)
    assert hostile.shape[1] == width
