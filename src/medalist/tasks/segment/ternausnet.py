"""TernausNet-11 and -16: U-Nets with VGG encoders (arXiv 1801.05746), with the published layer names.

The encoder's convolutions are registered twice: as `encoder.N` (torchvision's `features.N`) and under the name of
their stage. Both names share one storage, so a state dict lists each of these tensors twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medalist.models.vgg import VGG11, VGG16, vgg_features


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

    h and w must be multiples of 32. The output is logits for any number of classes, without a sigmoid or softmax.
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

    h and w must be multiples of 32. The output is logits for any number of classes, without a sigmoid or softmax.
    """

    def __init__(self, classes: int = 1, in_channels: int = 3, filters: int = 32) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2)
        self.encoder = vgg_features(VGG16, in_channels)
        layers = list(self.encoder)  # the slices below leave out the pools, which are layers 4, 9, 16, 23 and 30
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
