from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medalist.errors import MedalistError
from medalist.layouts.drawing import (
    drawn_objects,
    identity_picture,
    made_up_id,
    painted,
    write_lines,
    write_picture,
)

SIZE = (48, 40)


def test_the_same_numbers_give_the_same_pixels_and_others_others() -> None:
    first = identity_picture(1, 2, 3, SIZE)
    assert first.shape == (*SIZE, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, identity_picture(1, 2, 3, SIZE))
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 0), (2, 1, 3), (1, 3, 2)):
        assert np.abs(identity_picture(*other, SIZE).astype(int) - first).mean() > 5


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (90, 3)])
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    assert identity_picture(0, 0, 0, size).shape == (*size, 3)


def test_an_identity_is_told_by_its_colours_more_often_than_by_chance() -> None:
    """A histogram of colours, without any learning, finds another shot among 20 identities: by chance 1 of 20 times."""
    shots = [[colours(identity_picture(5, who, shot, (48, 48))) for shot in range(2)] for who in range(20)]
    alike = np.array([[np.sqrt(a[0] * b[1]).sum() for b in shots] for a in shots])
    assert (alike.argmax(axis=1) == np.arange(20)).mean() > 0.3


def test_shots_differ_in_light_and_background() -> None:
    corners = np.array([identity_picture(5, 0, shot, (48, 48))[0, 0] for shot in range(8)], int)
    middles = np.array([identity_picture(5, 0, shot, (48, 48))[20:28, 20:28].mean() for shot in range(8)])
    assert np.ptp(corners, axis=0).max() > 40 and np.ptp(middles) > 10


def colours(image: np.ndarray) -> np.ndarray:
    bins = (image // 43).astype(int).reshape(-1, 3) @ (36, 6, 1)
    return np.bincount(bins, minlength=216) / len(bins)


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (identity_picture(0, 0, 0, SIZE), "RGB"),
        (identity_picture(0, 0, 0, SIZE)[..., 0], "L"),
        (identity_picture(0, 0, 0, SIZE)[..., 0] > 128, "1"),
    ],
)
def test_a_picture_is_kept_as_it_is(tmp_path: Path, image: np.ndarray, mode: str) -> None:
    path = tmp_path / "new" / "a.png"
    write_picture(path, image)
    with Image.open(path) as read:
        assert read.mode == mode
        np.testing.assert_array_equal(np.array(read), image)
    assert path.read_bytes()[24] == (1 if mode == "1" else 8)  # bits a pixel


def test_a_jpeg_is_written_by_its_suffix(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", identity_picture(0, 0, 0, (64, 64)))
    with Image.open(tmp_path / "a.jpg") as read:
        assert read.format == "JPEG"
        assert np.abs(np.array(read, int) - identity_picture(0, 0, 0, (64, 64))).mean() < 12


def test_a_failed_writing_leaves_what_was_there(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.zeros(SIZE, np.uint8))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(TypeError):
        write_picture(tmp_path / "a.png", np.zeros((2, 2, 5), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(MedalistError, match="cannot write"):
        write_picture(tmp_path / "a.png" / "b.png", np.zeros(SIZE, np.uint8))


@pytest.mark.parametrize("size", [(40, 60), (3, 90)])
def test_objects_are_numbered_and_do_not_touch(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        labels = drawn_objects(rng, size, 12, (3, 6))
        assert labels.shape == size and set(np.unique(labels)) == set(range(labels.max() + 1))
        for number in range(1, labels.max() + 1):
            assert set(np.unique(labels[ndimage.binary_dilation(labels == number)])) <= {0, number}


def test_no_objects_where_none_are_asked_for() -> None:
    assert not drawn_objects(np.random.default_rng(0), (20, 20), 0, (3, 6)).any()


def test_each_class_has_its_colour() -> None:
    classes = np.repeat(np.arange(3), 400).reshape(30, 40)
    colours = ((0.2, 0.2, 0.2), (0.9, 0.1, 0.1), (0.1, 0.1, 0.9))
    image = painted(np.random.default_rng(0), classes, colours)
    assert image.shape == (30, 40, 3) and image.dtype == np.uint8
    means = [image[classes == number].mean(axis=0) / 255 for number in range(3)]
    np.testing.assert_allclose(means, colours, atol=0.15)
    np.testing.assert_array_equal(painted(np.random.default_rng(1), classes > 0, colours).shape, image.shape)


def test_ids_and_lines(tmp_path: Path) -> None:
    assert made_up_id("a", 1, 23) == made_up_id("a", 1, 23) != made_up_id("a", 12, 3)
    assert len(made_up_id("a", length=9)) == 9
    write_lines(tmp_path / "new" / "a.csv", ["id,z", "a,1"])
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"id,z\na,1\n"
