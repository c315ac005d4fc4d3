from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from medalist.data.fitting import fit_image, kept_size, middle_crop, trimmed
from medalist.data.items import reader
from medalist.data.settings import FitConfig, ImageConfig

Pixels = NDArray[np.uint8]


def gray(*rows: list[int]) -> Pixels:
    return np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=2)


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng((height, width)).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "size", "fit", "expected"),
    [
        (gray([0, 100], [50, 250]), (1, 1), "squash", gray([100])),  # the mean
        (gray([0, 100, 50, 250]), (1, 2), "squash", gray([50, 150])),  # means of pairs
        (gray([0, 100]), (1, 4), "squash", gray([0, 25, 75, 100])),  # centres lie at -1/4, 1/4, 3/4, 5/4
        (
            gray([0, 100, 40], [20, 120, 60]),
            (1, 6),
            "squash",
            gray([10, 35, 85, 95, 65, 50]),
        ),  # rows shrink, columns grow
        (gray([10, 20, 30, 40]), (2, 4), "pad", gray([10, 20, 30, 40], [7, 7, 7, 7])),  # the odd row lies below
        (gray([10], [20], [30]), (3, 4), "pad", gray([7, 10, 7, 7], [7, 20, 7, 7], [7, 30, 7, 7])),
        (gray([0, 100, 50, 250], [0, 100, 50, 250]), (2, 2), "pad", gray([50, 150], [7, 7])),
        (gray([9]), (2, 4), "pad", gray([7, 9, 9, 7], [7, 9, 9, 7])),
        (gray([1, 2, 3, 4], [5, 6, 7, 8]), (2, 2), "crop", gray([2, 3], [6, 7])),
        (gray([1, 2, 3]), (1, 2), "crop", gray([1, 2])),  # half a pixel nearer the left
        (gray([9, 0, 100, 9, 9], [9, 20, 40, 9, 9]), (1, 1), "crop", gray([40])),
        (gray([0, 100, 0], [9, 9, 9], [9, 9, 9]), (1, 3), "crop", gray([9, 9, 9])),
    ],
)
def test_worked_by_hand(
    image: Pixels, size: tuple[int, int], fit: Literal["squash", "pad", "crop"], expected: Pixels
) -> None:
    before = image.copy()
    image.flags.writeable = False
    out = fit_image(image, size, fit, 7)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(image, before)


def weights(side: int, wanted: int) -> NDArray[np.float64]:
    """[wanted, side]: how much each pixel of a line counts; areas where it shrinks, straight lines where it grows."""
    out = np.zeros((wanted, side))
    for place in range(wanted):
        for pixel in range(side):
            if wanted <= side:
                start, end = place * side / wanted, (place + 1) * side / wanted
                out[place, pixel] = max(0.0, min(end, pixel + 1) - max(start, pixel))
            else:
                at = min(max((place + 0.5) * side / wanted - 0.5, 0), side - 1)
                out[place, pixel] = max(0.0, 1 - abs(at - pixel))
    return out / out.sum(axis=1, keepdims=True)


def plain_resize(image: Pixels, size: tuple[int, int]) -> NDArray[np.float64]:
    """The slow twin."""
    rows, columns = weights(image.shape[0], size[0]), weights(image.shape[1], size[1])
    return np.einsum("ah,bw,hwc->abc", rows, columns, image.astype(np.float64))


sides = st.integers(1, 40)


@given(sides, sides, sides, sides)
def test_squash_equals_plain_sums(height: int, width: int, h: int, w: int) -> None:
    out = fit_image(noise(height, width), (h, w), "squash")
    assert out.shape == (h, w, 3)
    assert np.abs(out - plain_resize(noise(height, width), (h, w))).max() <= 1.6  # rounded once, or twice


@given(sides, sides, sides, sides)
def test_pad_keeps_the_shape_and_the_whole_image(height: int, width: int, h: int, w: int) -> None:
    image = np.maximum(noise(height, width), 1)  # 0 is the fill
    out = fit_image(image, (h, w), "pad", 0)
    assert out.shape == (h, w, 3)
    inside = np.argwhere(out.min(axis=2) > 0)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    assert (bottom - top == h) or (right - left == w)
    assert 0 <= (h - bottom) - top <= 1 and 0 <= (w - right) - left <= 1  # centred
    scale = min(h / height, w / width)
    assert abs((bottom - top) - max(1, height * scale)) <= 0.5
    assert abs((right - left) - max(1, width * scale)) <= 0.5
    twin = plain_resize(image, (bottom - top, right - left))
    assert np.abs(out[top:bottom, left:right] - twin).max() <= 1.6
    assert len(inside) == (bottom - top) * (right - left)


@given(sides, sides, sides, sides)
def test_crop_is_the_largest_middle_of_the_wanted_shape(height: int, width: int, h: int, w: int) -> None:
    image = noise(height, width)
    out = fit_image(image, (h, w), "crop")
    assert out.shape == (h, w, 3)
    if height * w <= width * h:
        rows, columns = height, min(width, max(1, round(height * w / h)))
    else:
        rows, columns = min(height, max(1, round(width * h / w))), width
    top, left = (height - rows) // 2, (width - columns) // 2
    twin = plain_resize(image[top : top + rows, left : left + columns], (h, w))
    assert np.abs(out - twin).max() <= 1.6


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("shape", [(1, 60000), (60000, 1), (1, 1)])
def test_extreme_shapes(fit: Literal["squash", "pad", "crop"], shape: tuple[int, int]) -> None:
    assert fit_image(np.full((*shape, 3), 8, np.uint8), (64, 48), fit, 8).tolist() == np.full((64, 48, 3), 8).tolist()


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_channels(channels: int) -> None:
    image = noise(20, 30, channels)
    for size in ((10, 15), (40, 60), (10, 60)):
        alone = [fit_image(image[..., [number]], size, "squash")[..., 0] for number in range(channels)]
        apart = fit_image(image, size, "squash").astype(int) - np.stack(alone, axis=-1)
        assert np.abs(apart).max() <= 1  # OpenCV rounds in another order


def test_what_fits_already_is_not_copied_and_a_part_keeps_nothing_else() -> None:
    image = noise(8, 8)
    for fit in ("squash", "pad", "crop"):
        assert fit_image(image, (8, 8), fit) is image  # type: ignore[arg-type]
    assert fit_image(image, (4, 8), "crop").base is None
    assert middle_crop(image, (3, 4)).tolist() == image[2:5, 2:6].tolist()
    with pytest.raises(AssertionError):
        middle_crop(image, (9, 4))


def config(**settings: Any) -> FitConfig:
    return FitConfig(**{"size": (8, 8), **settings})


def test_the_kept_size_has_room_for_crops() -> None:
    assert kept_size(config(size=(100, 60))) == (100, 60)
    assert kept_size(config(size=(100, 64), margin=1.14)) == (114, 73)


def test_reading_inverts_stretches_and_fits_in_this_order(tmp_path: Path) -> None:
    """Ink 100 on paper 200: inverted 155 on 55, stretched 255 on 0; what is padded stays `fill`."""
    page = np.full((8, 4, 3), 200, np.uint8)
    page[2:4] = 100
    Image.fromarray(page).save(tmp_path / "a.png")

    def rows(settings: ImageConfig) -> list[int]:
        image = reader(65535, settings)(tmp_path / "a.png")
        assert (image == image[:, :1, :1]).all()
        return image[:, 0, 0].tolist()

    assert rows(ImageConfig(invert=True)) == [55, 55, 155, 155, 55, 55, 55, 55]
    assert rows(ImageConfig(invert=True, contrast="stretch")) == [0, 0, 255, 255, 0, 0, 0, 0]
    fitted = {"size": (8, 8), "invert": True, "contrast": "stretch"}
    assert rows(FitConfig(**fitted)) == [0, 0, 255, 255, 0, 0, 0, 0]
    image = reader(65535, FitConfig(**fitted, fit="pad", fill=9))(tmp_path / "a.png")
    assert image[2].tolist() == [[9] * 3] * 2 + [[255] * 3] * 4 + [[9] * 3] * 2
    assert reader(65535, FitConfig(**fitted, fit="crop", margin=1.5))(tmp_path / "a.png").shape == (12, 12, 3)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 12), st.integers(1, 12), st.floats(0.2, 1))
def test_a_sign_is_framed_wherever_it_stands(top: int, left: int, height: int, width: int, share: float) -> None:
    image = np.full((48, 48, 3), 10, np.uint8)
    image[top : top + height, left : left + width] = 200
    image[47, 47] = 60  # a fleck that is no part of it
    found = trimmed(image, share, fill=10)
    longer = max(height, width)
    margin = round((longer / share - longer) / 2)
    assert found.shape == (height + 2 * margin, width + 2 * margin, 3)
    inside = np.zeros(found.shape[:2], bool)
    inside[margin : margin + height, margin : margin + width] = True
    assert (found[inside] == 200).all() and (found[~inside] == 10).all()


def test_an_even_image_has_no_sign() -> None:
    image = np.full((5, 7, 3), 255, np.uint8)
    assert trimmed(image, 0.5, fill=255) is image
    assert trimmed(np.full((5, 7, 3), 30, np.uint8), 0.5).shape == (5, 7, 3)
