"""TernausNet-11 and -16: U-Nets over VGG encoders (arXiv 1801.05746), with the published names.

The encoder's convolutions are registered twice, as `encoder.N` (torchvision's `features.N`) and under their
stage's name; both names share one storage, so a state dict holds each of these tensors twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn import functional

from medalist.errors import WeightsError

VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg_features(stages: Sequence[Sequence[int]], in_channels: int) -> nn.Sequential:
    """The convolutions of a VGG (arXiv 1409.1556) numbered as torchvision's: conv, ReLU, …, a pool a stage.

    They start from Kaiming's normal distribution with zero bias; otherwise a VGG hardly learns from scratch.
    """
    layers: list[nn.Module] = []
    width = in_channels
    for stage in stages:
        for out in stage:
            conv = nn.Conv2d(width, out, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # a bias is there by default
            layers += [conv, nn.ReLU(inplace=True)]
            width = out
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def vgg_state(name: str, state: Mapping[str, Tensor], in_channels: int = 3) -> dict[str, Tensor]:
    """The encoder's state out of torchvision's (or timm's) state of the whole "vgg11" or "vgg16".

    The first convolution is adapted to `in_channels` as timm does. Raises WeightsError that names the first
    tensor that is missing or of another shape.
    """
    with torch.device("meta"):
        encoder = vgg_features(VGG11 if name.startswith("vgg11") else VGG16, in_channels=3)
    found = {}
    for key, want in encoder.state_dict().items():
        have = state.get(f"features.{key}")
        if have is None or have.shape != want.shape:
            there = "is missing" if have is None else f"is {tuple(have.shape)}"
            raise WeightsError(f"the weights do not fit {name}: features.{key} {there}, not {tuple(want.shape)}")
        found[key] = have
    found["0.weight"] = adapt_input_conv(in_channels, found["0.weight"])
    return found


class ConvRelu(nn.Module):
    """A 3×3 convolution and a ReLU: float[B, in, h, w] -> float[B, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(conv(x))."""
        return functional.relu(self.conv(x), inplace=True)


class TransposedBlock(nn.Module):
    """TernausNet-11's decoder block: [B, in, h, w] -> [B, out, 2h, 2w] by a transposed convolution."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(middle, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.block = nn.Sequential(ConvRelu(in_channels, middle), up, nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output at twice the size."""
        return self.block(x)  # type: ignore[no-any-return]


class InterpolatedBlock(nn.Module):
    """TernausNet-16's decoder block: [B, in, h, w] -> [B, out, 2h, 2w] by bilinear upsampling."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.block = nn.Sequential(up, ConvRelu(in_channels, middle), ConvRelu(middle, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output at twice the size."""
        return self.block(x)  # type: ignore[no-any-return]


class TernausNet11(nn.Module):
    """VGG11 encoder, transposed-convolution decoder. float[B, in, h, w] -> logits float[B, classes, h, w].

    h and w must be multiples of 32. The output is logits for any number of classes; nothing is squashed.
    """

    def __init__(self, classes: int = 1, in_channels: int = 3, filters: int = 32) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2)
        self.encoder = vgg_features(VGG11, in_channels)
        conv = [layer for layer in self.encoder if isinstance(layer, nn.Conv2d)]
        self.conv1, self.conv2 = conv[0:2]
        self.conv3s, self.conv3, self.conv4s, self.conv4, self.conv5s, self.conv5 = conv[2:]
        n = filters
        self.center = TransposedBlock(512, n * 16, n * 8)
        self.dec5 = TransposedBlock(512 + n * 8, n * 16, n * 8)
        self.dec4 = TransposedBlock(512 + n * 8, n * 16, n * 4)
        self.dec3 = TransposedBlock(256 + n * 4, n * 8, n * 2)
        self.dec2 = TransposedBlock(128 + n * 2, n * 4, n)
        self.dec1 = ConvRelu(64 + n, n)
        self.final = nn.Conv2d(n, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's height and width."""
        relu = functional.relu
        conv1 = relu(self.conv1(x))
        conv2 = relu(self.conv2(self.pool(conv1)))
        conv3 = relu(self.conv3(relu(self.conv3s(self.pool(conv2)))))
        conv4 = relu(self.conv4(relu(self.conv4s(self.pool(conv3)))))
        conv5 = relu(self.conv5(relu(self.conv5s(self.pool(conv4)))))
        up = self.center(self.pool(conv5))
        up = self.dec5(torch.cat([up, conv5], dim=1))
        up = self.dec4(torch.cat([up, conv4], dim=1))
        up = self.dec3(torch.cat([up, conv3], dim=1))
        up = self.dec2(torch.cat([up, conv2], dim=1))
        up = self.dec1(torch.cat([up, conv1], dim=1))
        return self.final(up)  # type: ignore[no-any-return]


class TernausNet16(nn.Module):
    """VGG16 encoder, interpolating decoder. float[B, in, h, w] -> logits float[B, classes, h, w].

    h and w must be multiples of 32. The output is logits for any number of classes; nothing is squashed.
    """

    def __init__(self, classes: int = 1, in_channels: int = 3, filters: int = 32) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2)
        self.encoder = vgg_features(VGG16, in_channels)
        layers = list(self.encoder)  # each stage without its pool, which stands at 4, 9, 16, 23 and 30
        self.conv1 = nn.Sequential(*layers[0:4])
        self.conv2 = nn.Sequential(*layers[5:9])
        self.conv3 = nn.Sequential(*layers[10:16])
        self.conv4 = nn.Sequential(*layers[17:23])
        self.conv5 = nn.Sequential(*layers[24:30])
        n = filters
        self.center = InterpolatedBlock(512, n * 16, n * 8)
        self.dec5 = InterpolatedBlock(512 + n * 8, n * 16, n * 8)
        self.dec4 = InterpolatedBlock(512 + n * 8, n * 16, n * 8)
        self.dec3 = InterpolatedBlock(256 + n * 8, n * 8, n * 2)
        self.dec2 = InterpolatedBlock(128 + n * 2, n * 4, n)
        self.dec1 = ConvRelu(64 + n, n)
        self.final = nn.Conv2d(n, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's height and width."""
        conv1 = self.conv1(x)
        conv2 = self.conv2(self.pool(conv1))
        conv3 = self.conv3(self.pool(conv2))
        conv4 = self.conv4(self.pool(conv3))
        conv5 = self.conv5(self.pool(conv4))
        up = self.center(self.pool(conv5))
        up = self.dec5(torch.cat([up, conv5], dim=1))
        up = self.dec4(torch.cat([up, conv4], dim=1))
        up = self.dec3(torch.cat([up, conv3], dim=1))
        up = self.dec2(torch.cat([up, conv2], dim=1))
        up = self.dec1(torch.cat([up, conv1], dim=1))
        return self.final(up)  # type: ignore[no-any-return]
