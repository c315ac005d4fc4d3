from __future__ import annotations

import pytest
import torch
from timm.models import adapt_input_conv
from torch.nn.functional import conv2d

from medalist.errors import WeightsError
from medalist.models.inputs import adapted_input

WEIGHT = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 8, 11])
def test_the_response_to_gray_stays(channels: int) -> None:
    gray = torch.rand(1, 1, 9, 9)
    three = conv2d(gray.expand(1, 3, 9, 9), WEIGHT)
    other = conv2d(gray.expand(1, channels, 9, 9), adapted_input(WEIGHT, channels))
    assert torch.allclose(three, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 6, 9])
def test_timms_rule_where_that_keeps_gray(channels: int) -> None:
    assert torch.allclose(adapted_input(WEIGHT, channels), adapt_input_conv(channels, WEIGHT), rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    weight = torch.tensor([2.0, 4.0, 6.0]).view(1, 3, 1, 1)
    assert adapted_input(weight, 5).flatten().tolist() == [1, 2, 6, 1, 2]
    assert adapted_input(weight, 2).flatten().tolist() == [5, 7]
    assert adapted_input(weight, 1).flatten().tolist() == [12]
    assert adapted_input(weight, 3) is weight


def test_other_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"conv1.weight has the shape \[8, 11, 3, 3\]: only weights of 3 input"):
        adapted_input(torch.zeros(8, 11, 3, 3), 4, "conv1.weight")
    assert adapted_input(torch.zeros(8, 11, 3, 3), 11).shape == (8, 11, 3, 3)
