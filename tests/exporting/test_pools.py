"""Pooling to cells by products, against torch's own."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medalist.exporting.pools import CellMeans, exportable


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 20), st.integers(1, 20))
def test_means_of_cells_are_those_of_torch(rows: int, columns: int, height: int, width: int) -> None:
    maps = torch.rand(2, 3, height, width)
    right = nn.AdaptiveAvgPool2d((rows, columns))(maps)
    assert torch.allclose(CellMeans(rows, columns)(maps), right, atol=1e-6)


def test_only_poolings_to_several_cells_are_changed_in_a_copy() -> None:
    one = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1))
    assert exportable(one) is one
    for size in (3, (2, 4)):
        several = nn.Sequential(nn.Sequential(nn.AdaptiveAvgPool2d(size)), nn.AdaptiveAvgPool2d((None, 2)))
        changed = exportable(several)
        assert isinstance(several[0][0], nn.AdaptiveAvgPool2d)  # type: ignore[index]
        assert isinstance(changed[0][0], CellMeans)  # type: ignore[index]
        assert isinstance(changed[1], nn.AdaptiveAvgPool2d)  # type: ignore[index]
        maps = torch.rand(1, 1, 9, 7)
        assert torch.allclose(changed(maps), several(maps), atol=1e-6)
