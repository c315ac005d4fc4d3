"""The first convolution of a pretrained network, adapted to another number of input channels."""

from __future__ import annotations

import torch
from torch import Tensor

from medalist.errors import WeightsError

COLOURS = 3
"""The input channels of pretrained networks: red, green and blue."""


def adapted_input(weight: Tensor, in_channels: int, name: str = "the first convolution") -> Tensor:
    """Return the weight [out, 3, kh, kw] of a first convolution for `in_channels` channels: [out, in, kh, kw].

    Channel i gets the weight of colour i mod 3, divided by the number of channels that have this colour. The weight of
    a colour that no channel has is divided among all channels: one channel gets the sum of the three. So the response
    to a gray image, the same values in all channels, stays equal for every number of channels. (For 1 channel and for
    multiples of 3 this is timm's rule `adapt_input_conv`. For other numbers timm's rule changes the response to gray.)
    Raises WeightsError where the weight has not 3 channels. name: what an error calls the weight.
    """
    if weight.ndim != 4 or weight.shape[1] not in (COLOURS, in_channels):
        raise WeightsError(
            f"{name} has the shape {list(weight.shape)}: only weights of {COLOURS} input channels can be adapted to "
            f"{in_channels}"
        )
    if weight.shape[1] == in_channels:
        return weight
    exact = weight.double()
    if in_channels < COLOURS:
        left = exact[:, in_channels:].sum(dim=1, keepdim=True) / in_channels
        return (exact[:, :in_channels] + left).to(weight.dtype)
    colours = torch.arange(in_channels) % COLOURS
    counts = torch.bincount(colours, minlength=COLOURS).to(exact)
    return (exact[:, colours] / counts[colours].view(1, -1, 1, 1)).to(weight.dtype)
