from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import interpolate

from medalist.data.items import Normalisation
from medalist.data.preparing import normalise
from medalist.engine.view_settings import TURNS, VIEWS, Tta, View, ViewConfig, views_of, work
from medalist.engine.views import apply_view, invert_view

D4 = VIEWS["d4"]
NORM = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TTA: TypeAdapter[object] = TypeAdapter(Tta)


def test_views_are_all_different() -> None:
    """Of the eight symmetries of the square; the four of `flips` keep height and width."""
    square = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(apply_view(square, view).flatten().tolist()) for view in D4}) == len(D4) == 8
    assert set(VIEWS["flips"]) < set(D4) and len(VIEWS["flips"]) == 4
    oblong = torch.arange(6.0).reshape(2, 3)
    seen = {tuple(apply_view(oblong, view).flatten().tolist()) for view in VIEWS["flips"]}
    flips = [oblong, oblong.flip(0), oblong.flip(1), oblong.flip(0, 1)]
    assert seen == {tuple(view.flatten().tolist()) for view in flips}
    assert VIEWS["none"] == (View(),)


@given(st.sampled_from(D4), st.integers(1, 5), st.integers(1, 5))
def test_inverting_a_view_undoes_it(view: View, height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    assert torch.equal(invert_view(apply_view(image, view), view), image)
    assert torch.equal(apply_view(invert_view(image, view), view), image)


def test_turns_are_what_their_words_say() -> None:
    """Against NumPy's functions of the same meaning."""
    image = np.arange(12.0).reshape(3, 4)
    slow = {
        "none": image,
        "hflip": image[:, ::-1],
        "vflip": image[::-1],
        "rot90": np.rot90(image),
        "rot180": np.rot90(image, 2),
        "rot270": np.rot90(image, 3),
        "transpose": image.T,
        "transverse": image[::-1, ::-1].T,
    }
    assert slow.keys() == TURNS.keys()
    for word, expected in slow.items():
        found = apply_view(torch.from_numpy(image), View(*TURNS[word]))
        np.testing.assert_array_equal(found.numpy(), expected, err_msg=word)


@given(
    st.sampled_from(D4),
    st.sampled_from([0.1, 0.5, 1.0, 1.25, 2.0]),
    st.integers(0, 40),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_maps_come_back_at_the_size_of_the_image(view: View, scale: float, shift: int, rows: int, columns: int) -> None:
    """The network takes each view, and of a shift without a scale each pixel comes back to its own place."""
    stride = 4
    image = torch.rand(2, 3, rows * stride, columns * stride)
    seen_from = View(view.turns, view.mirror, scale, shift)
    seen = apply_view(image, seen_from, stride)
    assert seen.shape[-2] % stride == seen.shape[-1] % stride == 0
    back = invert_view(seen, seen_from, (image.shape[-2], image.shape[-1]), stride)
    assert back.shape == image.shape
    if scale == 1:
        assert torch.equal(back, image)


def test_a_shift_moves_the_image_and_mirrors_what_comes_before() -> None:
    image = torch.arange(4.0)[None, None, None].expand(1, 1, 4, 4)
    seen = apply_view(image, View(shift=2), 4)
    assert seen.shape == (1, 1, 8, 8)
    assert seen[0, 0, 0].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    # A shift that is longer than the image mirrors it again and again.
    long = apply_view(image, View(shift=6), 4)[0, 0, 0].tolist()
    assert long == [2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2]


def test_a_scale_rounds_to_the_stride() -> None:
    image = torch.rand(1, 3, 8, 16)
    seen = apply_view(image, View(scale=0.4), 4)
    assert torch.equal(seen, interpolate(image, size=(4, 8), mode="bilinear", antialias=True))
    assert apply_view(image, View(scale=0.1), 4).shape[-2:] == (4, 4)


def test_clahe_acts_on_the_pixels_before_normalisation() -> None:
    """Against the equalisation of the 8-bit image, which is then normalised."""
    import cv2

    pixels = np.random.default_rng(0).integers(40, 90, (2, 24, 32, 3)).astype(np.uint8)
    image = torch.from_numpy(np.stack([normalise(one, NORM.mean, NORM.std) for one in pixels]))
    seen = apply_view(image, View(clahe=2.0), norm=NORM)
    method = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    for one, found in zip(pixels, seen, strict=True):
        lab = cv2.cvtColor(one, cv2.COLOR_RGB2LAB)
        lab[..., 0] = method.apply(lab[..., 0].copy())
        expected = normalise(np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)), NORM.mean, NORM.std)
        np.testing.assert_array_equal(found.numpy(), expected)
    assert not torch.equal(seen, image)
    told = torch.cat([image, torch.ones(2, 1, 24, 32)], dim=1)  # a network may be told more, behind the image
    assert torch.equal(apply_view(told, View(clahe=2.0), norm=NORM), torch.cat([seen, told[:, 3:]], dim=1))
    both = apply_view(image, View(turns=1, scale=2.0, clahe=2.0), 8, NORM)
    torch.testing.assert_close(both, apply_view(seen, View(turns=1, scale=2.0), 8), rtol=0, atol=0)


def test_a_list_has_the_image_itself_and_each_view_once() -> None:
    assert views_of(["hflip"]) == (View(), View(0, True))
    assert views_of(["d4"]) == D4 and views_of(["flips"]) == VIEWS["flips"]
    assert set(views_of(["hflip", "vflip", "rot90", "transpose", "d4"])) == set(D4)
    listed = (ViewConfig(scale=1.25), ViewConfig(shift=16), ViewConfig(clahe=2.0), ViewConfig(scale=1.25))
    views = (View(), View(scale=1.25), View(shift=16), View(clahe=2.0))
    assert views_of(listed) == views
    assert work(views) == 3 + 1.25**2
    twice = views_of(["hflip", ViewConfig(scale=1.25, turn="hflip")], (1.0, 2.0))
    assert twice == (
        *(View(), View(0, True), View(0, True, 1.25)),
        *(View(scale=2.0), View(0, True, 2.0), View(0, True, 2.5)),
    )


def test_words_and_lists_are_read_from_yaml_values() -> None:
    assert TTA.validate_python("flips") == "flips"
    read = TTA.validate_json('["hflip", {"scale": 1.25}, {"turn": "rot90", "shift": 8}]')
    assert read == ("hflip", ViewConfig(scale=1.25), ViewConfig(turn="rot90", shift=8))
    for wrong in ("mirror", [], ["flip"], [{}], [{"turn": "none"}], [{"scale": 9}], [{"zoom": 2}], [{"clahe": 0}], 3):
        with pytest.raises(ValidationError):
            TTA.validate_python(wrong)
