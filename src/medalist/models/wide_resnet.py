"""The first five stages of WideResNet-38, with batch norms and leaky ReLUs."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512, 1024)
"""The channels after the first convolution and after the stages `mod2` … `mod5`."""

_BLOCKS = {"mod2": (3, 128, 128), "mod3": (3, 256, 256), "mod4": (6, 512, 512), "mod5": (3, 512, 1024)}
"""For each stage: the number of its blocks, and the channels of their two convolutions."""

_SLOPE = 0.01


class NormLeaky(nn.BatchNorm2d):
    """A batch norm and a leaky ReLU of slope 0.01, in place of the published in-place activated batch norm."""

    def forward(self, input: Tensor) -> Tensor:
        """Return float[B, C, h, w] normalised and activated."""
        return functional.leaky_relu(super().forward(input), _SLOPE)


class PreActivated(nn.Module):
    """A residual block whose norms come before its two 3×3 convolutions: [B, in, h, w] -> [B, out, h, w]."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        self.bn1 = NormLeaky(in_channels)
        self.convs = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, middle, 3, padding=1, bias=False),
                bn2=NormLeaky(middle),
                conv2=nn.Conv2d(middle, out_channels, 3, padding=1, bias=False),
            )
        )
        self.proj_conv = nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolutions' output added to the input, which is projected where the widths differ."""
        normed = self.bn1(image)
        shortcut = image if self.proj_conv is None else self.proj_conv(normed)
        return shortcut + self.convs(normed)  # type: ignore[no-any-return]


def wide_resnet_features(in_channels: int) -> nn.Sequential:
    """Return `conv1`, one convolution, and the stages `mod2` … `mod5` of WideResNet-38 (arXiv 1611.10080).

    No stage changes the size of its input: a max pool belongs before each of `mod2` … `mod5`. The published network has
    two more stages, which a segmentation network of this shape does not use.
    """
    first = nn.Sequential(OrderedDict(conv1=nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)))
    stages: OrderedDict[str, nn.Module] = OrderedDict(conv1=first)
    width = WIDTHS[0]
    for name, (count, middle, out) in _BLOCKS.items():
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(1, count + 1):
            blocks[f"block{number}"] = PreActivated(width, middle, out)
            width = out
        stages[name] = nn.Sequential(blocks)
    made = nn.Sequential(stages)
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, mode="fan_out", nonlinearity="leaky_relu")
    return made
