"""Equalise the contrast of normalised images. It acts on their 8-bit pixels, which are computed back exactly."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.items import Normalisation
from medalist.data.preparing import normalise

TILES = 8
"""Rows and columns of tiles, each of which is equalised by its own histogram."""


def equalised(images: Tensor, norm: Normalisation, limit: float) -> Tensor:
    """Return normalised images float32[B, C, h, w] after a contrast-limited adaptive equalisation (CLAHE).

    Of three channels (RGB) the lightness (L of Lab) is equalised, else each channel alone. limit: the clip limit. The
    work is done on the CPU, image by image. norm: how the images were normalised; planes behind its channels, such as
    those of a condition, stay as they are.
    """
    method = cv2.createCLAHE(clipLimit=limit, tileGridSize=(TILES, TILES))
    colours, others = images[:, : len(norm.mean)], images[:, len(norm.mean) :]
    found = [normalise(_equalised(pixels, method), norm.mean, norm.std) for pixels in denormalised(colours, norm)]
    seen = torch.from_numpy(np.stack(found)).to(images.device)
    return torch.cat([seen, others], dim=1) if others.shape[1] else seen


def denormalised(images: Tensor, norm: Normalisation) -> NDArray[np.uint8]:
    """Return the pixels uint8[B, h, w, C] of images float32[B, C, h, w], exactly as they were before `normalise`."""
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (norm.mean, norm.std))
    pixels = ((images.detach().cpu().float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def _equalised(pixels: NDArray[np.uint8], method: cv2.CLAHE) -> NDArray[np.uint8]:
    if pixels.shape[2] == 3:
        lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
        lab[..., 0] = method.apply(np.ascontiguousarray(lab[..., 0]))
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)
    planes = [method.apply(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels, 2, 0)]
    return np.stack(planes, axis=2).astype(np.uint8)
