"""Show images in a view, and turn the maps of a view back (test-time augmentation)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from medalist.data.contrast import equalised
from medalist.data.items import Normalisation
from medalist.engine.view_settings import VIEWS, View

__all__ = ["VIEWS", "View", "apply_view", "invert_view", "resampled", "turned"]


def apply_view(image: Tensor, view: View, stride: int = 1, norm: Normalisation | None = None) -> Tensor:
    """Return images [..., h, w] as they look in a view.

    Turns by a quarter swap h and w. stride: sides of scaled and shifted images are multiples of it. norm: how the
    images float32[B, C, h, w] were normalised, which only a view with `clahe` needs.
    """
    return turned(resampled(image, view, stride, norm), view, stride)


def resampled(image: Tensor, view: View, stride: int = 1, norm: Normalisation | None = None) -> Tensor:
    """Do the first half of `apply_view`: contrast and scale. Views that share both share its result."""
    if view.clahe is not None:
        assert norm is not None, "a view with clahe needs the normalisation of its images"
        colours = len(norm.mean)  # behind the image's own channels there may be the planes of a condition
        image = torch.cat([equalised(image[:, :colours], norm, view.clahe), image[:, colours:]], dim=1)
    if view.scale == 1:
        return image
    height, width = (max(stride, round(side * view.scale / stride) * stride) for side in image.shape[-2:])
    return interpolate(image, size=(height, width), mode="bilinear", antialias=view.scale < 1)


def turned(image: Tensor, view: View, stride: int = 1) -> Tensor:
    """Do the second half of `apply_view`: shift, quarter turns and mirroring."""
    moved = _shifted(image, view.shift, stride) if view.shift else image
    straight = torch.rot90(moved, view.turns, dims=(-2, -1)) if view.turns else moved  # rot90 by 0 turns copies
    return straight.flip(-1) if view.mirror else straight


def invert_view(maps: Tensor, view: View, size: tuple[int, int] | None = None, stride: int = 1) -> Tensor:
    """Return maps of a view [..., h', w'] at the place and the size of the image.

    size: (h, w) of the images that were shown; None where the view has neither scale nor shift. stride: as it was given
    to `apply_view`.
    """
    straight = maps.flip(-1) if view.mirror else maps
    back = torch.rot90(straight, -view.turns, dims=(-2, -1)) if view.turns else straight
    if view.shift:
        added = view.shift + -view.shift % stride
        height, width = (side - added for side in back.shape[-2:])
        back = back[..., view.shift : view.shift + height, view.shift : view.shift + width]
    if size is not None and tuple(back.shape[-2:]) != tuple(size):
        back = interpolate(back, size=size, mode="bilinear", antialias=view.scale > 1)
    return back


def _shifted(image: Tensor, shift: int, stride: int) -> Tensor:
    """Return images [..., h, w] with `shift` mirrored rows and columns before them, and some after them.

    The sides grow by a multiple of `stride`, so that no pixel is lost and the network still takes the image.
    """
    after = -shift % stride
    rows, columns = (_mirrored(side, shift, after).to(image.device) for side in image.shape[-2:])
    return image.index_select(-2, rows).index_select(-1, columns)


def _mirrored(length: int, before: int, after: int) -> Tensor:
    """Return the positions int64[before + length + after] of a row of `length` pixels that is mirrored at its ends."""
    at = torch.arange(-before, length + after) % (2 * length)
    return torch.where(at < length, at, 2 * length - 1 - at)
