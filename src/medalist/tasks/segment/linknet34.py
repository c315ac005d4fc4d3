"""LinkNet-34 of robot-surgery-segmentation (arXiv 1707.03718), with the published names of its weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medalist.models.resnet import WIDTHS, resnet_features
from medalist.tasks.segment.heads import Headed, joined
from medalist.tasks.segment.model_settings import LinkNetConfig
from medalist.tasks.segment.outputs import SegmentOutputs

_HEAD = 32


class LinkBlock(nn.Module):
    """A block of the decoder: [B, in, h, w] -> [B, out, 2h, 2w], through a quarter of the channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = in_channels // 4
        self.conv1 = nn.Conv2d(in_channels, quarter, kernel_size=1)
        self.norm1 = nn.BatchNorm2d(quarter)
        self.deconv2 = nn.ConvTranspose2d(quarter, quarter, kernel_size=4, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, out_channels, kernel_size=1)
        self.norm3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output at twice the size."""
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        x = functional.relu(self.norm2(self.deconv2(x)), inplace=True)
        return functional.relu(self.norm3(self.conv3(x)), inplace=True)


class LinkNet34(Headed):
    """A ResNet-34 whose layers are added to the blocks of the decoder. float[B, in, h, w] -> logits float[B, C, h, w].

    h and w must be multiples of 32. The output is logits for any number of channels, also where the publication had a
    softmax. The parts of the encoder are named twice: as in ResNet-34, and as published.
    """

    def __init__(self, config: LinkNetConfig):
        super().__init__(config)
        self.encoder = resnet_features(config.in_channels)
        part = self.encoder.get_submodule
        self.firstconv, self.firstbn = part("conv1"), part("bn1")
        self.encoder1, self.encoder2 = part("layer1"), part("layer2")
        self.encoder3, self.encoder4 = part("layer3"), part("layer4")
        first, second, third, deepest = WIDTHS[1:]
        self.decoder4 = LinkBlock(deepest + self.extra, third)
        self.decoder3 = LinkBlock(third, second)
        self.decoder2 = LinkBlock(second, first)
        self.decoder1 = LinkBlock(first, first)
        self.finaldeconv1 = nn.ConvTranspose2d(first, _HEAD, kernel_size=3, stride=2)
        self.finalconv2 = nn.Conv2d(_HEAD, _HEAD, kernel_size=3)
        self.finalconv3 = nn.Conv2d(_HEAD, self.channels, kernel_size=2, padding=1)
        self.add_heads(config, deepest, [third, second, first, first])

    def forward(self, image: Tensor) -> Tensor | SegmentOutputs:
        """Return logits of the input's height and width."""
        x, condition = self.split(image)
        x = functional.relu(self.firstbn(self.firstconv(x)), inplace=True)
        e1 = self.encoder1(functional.max_pool2d(x, kernel_size=3, stride=2, padding=1))
        e2 = self.encoder2(e1)
        e3 = self.encoder3(e2)
        e4 = self.encoder4(e3)
        d4 = self.decoder4(joined(e4, condition)) + e3
        d3 = self.decoder3(d4) + e2
        d2 = self.decoder2(d3) + e1
        d1 = self.decoder1(d2)
        # The transposed convolution gives one row and column more than twice the size; the next two take them away.
        x = functional.relu(self.finaldeconv1(d1), inplace=True)
        x = functional.relu(self.finalconv2(x), inplace=True)
        return self.outputs(self.finalconv3(x), e4, [d4, d3, d2, d1])
