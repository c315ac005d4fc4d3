"""Pixels come back exactly from normalised images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medalist.data.contrast import denormalised, equalised
from medalist.data.items import Normalisation
from medalist.data.preparing import normalise

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("norm", [IMAGENET, Normalisation((0.5,), (0.5,)), Normalisation((0.0, 1.0), (1.0, 0.01))])
def test_every_value_comes_back(norm: Normalisation) -> None:
    channels = len(norm.mean)
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], channels, axis=2)
    image = torch.from_numpy(normalise(pixels, norm.mean, norm.std))[None]
    np.testing.assert_array_equal(denormalised(image, norm)[0], pixels)
    np.testing.assert_array_equal(denormalised(image.to(memory_format=torch.channels_last), norm)[0], pixels)


def test_channels_that_are_no_colours_are_equalised_alone() -> None:
    import cv2

    norm = Normalisation((0.5, 0.5), (0.25, 0.25))
    pixels = np.random.default_rng(0).integers(0, 60, (16, 16, 2)).astype(np.uint8)
    image = torch.from_numpy(normalise(pixels, norm.mean, norm.std))[None]
    method = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8))
    planes = [method.apply(np.ascontiguousarray(pixels[..., channel])) for channel in range(2)]
    expected = normalise(np.stack(planes, axis=2), norm.mean, norm.std)
    np.testing.assert_array_equal(equalised(image, norm, 3.0)[0].numpy(), expected)


def test_the_images_of_a_batch_do_not_mix() -> None:
    random = np.random.default_rng(1)
    images = torch.from_numpy(
        np.stack(
            [
                normalise(random.integers(0, top, (20, 30, 3)).astype(np.uint8), IMAGENET.mean, IMAGENET.std)
                for top in (50, 250)
            ]
        )
    )
    both = equalised(images, IMAGENET, 2.0)
    for number in range(2):
        assert torch.equal(both[number], equalised(images[number : number + 1], IMAGENET, 2.0)[0])


def test_planes_behind_the_colours_stay_as_they_are() -> None:
    pixels = np.random.default_rng(2).integers(0, 90, (16, 24, 3)).astype(np.uint8)
    image = torch.from_numpy(normalise(pixels, IMAGENET.mean, IMAGENET.std))[None]
    planes = torch.tensor([0.0, 1.0])[None, :, None, None].expand(1, 2, 16, 24)
    both = equalised(torch.cat([image, planes], dim=1), IMAGENET, 2.0)
    assert torch.equal(both[:, :3], equalised(image, IMAGENET, 2.0)) and torch.equal(both[:, 3:], planes)
