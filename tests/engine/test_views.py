from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.engine.views import VIEWS, View, apply_view, invert_view

D4 = VIEWS["d4"]


def test_views_are_all_different() -> None:
    """Of the eight symmetries of the square; the four of `flips` keep height and width."""
    square = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(apply_view(square, view).flatten().tolist()) for view in D4}) == len(D4) == 8
    assert set(VIEWS["flips"]) < set(D4) and len(VIEWS["flips"]) == 4
    oblong = torch.arange(6.0).reshape(2, 3)
    seen = {tuple(apply_view(oblong, view).flatten().tolist()) for view in VIEWS["flips"]}
    flips = [oblong, oblong.flip(0), oblong.flip(1), oblong.flip(0, 1)]
    assert seen == {tuple(view.flatten().tolist()) for view in flips}
    assert VIEWS["none"] == ((0, False),)


@given(st.sampled_from(D4), st.integers(1, 5), st.integers(1, 5))
def test_inverting_a_view_undoes_it(view: View, height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    assert torch.equal(invert_view(apply_view(image, view), view), image)
    assert torch.equal(apply_view(invert_view(image, view), view), image)
