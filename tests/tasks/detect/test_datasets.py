"""Training images: composed, augmented, and the same whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from medalist.codecs.windows import DecodedPicture
from medalist.data.cache import PixelCache
from medalist.data.items import Item, Normalisation
from medalist.data.targets import IGNORED, BoxTarget
from medalist.data.windows import WindowedImage
from medalist.errors import ConfigError, DataError
from medalist.postprocess.box_slices import ImageSlice
from medalist.records import Sample
from medalist.tasks.detect.datasets import BoxHeldOutDataset, BoxTrainDataset, SliceDataset, frame_item
from medalist.tasks.detect.settings import ComposeConfig, FrameConfig

PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3)
FRAME = FrameConfig(size=(64, 96), scale=(0.7, 1.5), fill=0)
SAMPLES = tuple(Sample(str(number), (Path(f"{number}.png"),), (40 + number, 60)) for number in range(5))
ALL = ComposeConfig(mosaic=1.0, mixup=1.0, paste=1.0, until=0.5)


def decoded(sample: Sample) -> tuple[np.ndarray, BoxTarget]:  # type: ignore[type-arg]
    """A black image with two white squares, whose boxes are its target; the second is ignored in odd samples."""
    number = int(sample.id)
    image = np.zeros((*sample.size, 3), np.uint8)
    squares = [(4 + number, 6, 16 + number, 18), (30, 20, 44, 34)]
    for x1, y1, x2, y2 in squares:
        image[y1:y2, x1:x2] = 255
    return image, BoxTarget(np.array(squares, np.float32), np.array([number % 3, IGNORED if number % 2 else 0]))


CACHE = PixelCache(decoded, SAMPLES)


PLAINLY = ComposeConfig()


def dataset(
    compose: ComposeConfig = PLAINLY,
    frame: FrameConfig = FRAME,
    augment: Sequence[dict[str, dict[str, object]]] = (),
    indices: Sequence[int] = range(5),
) -> BoxTrainDataset:
    return BoxTrainDataset(CACHE, indices, frame, compose, 10, tuple(augment), PLAIN, 7)


def boxes_of(item: Item) -> BoxTarget:
    assert isinstance(item.target, BoxTarget)
    return item.target


def test_boxes_lie_around_the_squares_however_the_image_is_scaled_and_moved() -> None:
    seen = set()
    for epoch in range(6):
        item = dataset(augment=[{"HorizontalFlip": {"p": 0.5}}])[epoch, 2]
        target, picture = boxes_of(item), item.image[0].numpy()
        assert item.image.shape == (3, 64, 96) and item.index == 2
        for x1, y1, x2, y2 in target.xyxy.round().astype(int).tolist():
            inside = picture[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            assert inside.size == 0 or inside.mean() > 0.9
        seen.add(tuple(target.xyxy.ravel().round(1).tolist()))
    assert len(seen) > 3  # each epoch sees another


@pytest.mark.parametrize(
    "compose", [ALL, ComposeConfig(mosaic=1.0), ComposeConfig(mixup=1.0), ComposeConfig(paste=1.0)]
)
def test_composed_images_depend_on_their_key_alone(compose: ComposeConfig) -> None:
    one, again = dataset(compose)[0, 3], dataset(compose)[0, 3]
    assert torch.equal(one.image, again.image)
    np.testing.assert_array_equal(boxes_of(one).xyxy, boxes_of(again).xyxy)
    assert not torch.equal(one.image, dataset(compose)[0, 3, 1].image)
    for key in ((0, 3), (1, 0), (2, 4)):
        target = boxes_of(dataset(compose)[key])
        low, high = target.xyxy[:, :2], target.xyxy[:, 2:]
        assert (low >= 0).all() and (high <= [96, 64]).all() and (high - low >= 1).all()


def test_the_last_epochs_see_plain_images() -> None:
    late, plain = dataset(ALL)[5, 1], dataset()[5, 1]
    assert torch.equal(late.image, plain.image) and not torch.equal(dataset(ALL)[4, 1].image, dataset()[4, 1].image)


def test_a_mosaic_has_the_boxes_of_four_samples_where_they_are_seen() -> None:
    counts = []
    for position in range(5):
        item = dataset(ComposeConfig(mosaic=1.0))[0, position]
        target, picture = boxes_of(item), item.image[0].numpy()
        counts.append(len(target.labels))
        covered = np.zeros((64, 96), bool)
        for x1, y1, x2, y2 in target.xyxy.tolist():
            covered[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        assert (picture > 0.5)[~covered].mean() < 0.05  # only what is hardly seen has no box
    assert max(counts) > 2


def test_a_fold_composes_only_its_own_samples() -> None:
    labels = {label for epoch in range(4) for label in boxes_of(dataset(ALL, indices=[0, 3])[epoch, 0]).labels.tolist()}
    assert labels <= {0, IGNORED}  # samples 0 and 3 have the classes 0 and 0; the others have 1 and 2 too


def test_what_changes_the_size_of_the_frame_is_refused() -> None:
    crop = [{"RandomCrop": {"height": 32, "width": 32}}]
    with pytest.raises(ConfigError, match="augment gives 32x32 for 0, but the frame has 96x64"):
        dataset(augment=crop).check()
    with pytest.raises(ConfigError, match="no training sample is left"):
        dataset(indices=[]).check()


def test_held_out_images_lie_as_prediction_sees_them() -> None:
    item = BoxHeldOutDataset(CACHE, [4, 1], FRAME, PLAIN)[0, 1]
    assert item.index == 1
    factor = 64 / 41
    expected = np.array([[5, 6, 17, 18], [30, 20, 44, 34]]) * factor
    assert boxes_of(item).xyxy == pytest.approx(expected, rel=0.01) and boxes_of(item).labels.tolist() == [1, IGNORED]
    whole = frame_item(1, decoded(SAMPLES[1])[0], FRAME, PLAIN, 3)
    assert torch.equal(whole.image, item.image) and whole.target is None


def test_a_row_of_slices_is_read_once() -> None:
    opened: list[Path] = []
    read: list[tuple[slice, slice]] = []

    class Watched(DecodedPicture):
        def window(self, rows: slice, columns: slice) -> np.ndarray:  # type: ignore[type-arg]
            read.append((rows, columns))
            return super().window(rows, columns)

    def opening(path: Path) -> WindowedImage:
        opened.append(path)
        return WindowedImage(Watched(decoded(SAMPLES[int(path.stem)])[0]))

    rows = [(0, 20), (20, 40)]
    slices = [(0, ImageSlice(left, top, left + 30, bottom)) for top, bottom in rows for left in (0, 30)]
    slices.append((1, ImageSlice(0, 0, 60, 41)))
    frame = FRAME.model_copy(update={"size": (64, 64)})
    source = SliceDataset(SAMPLES, slices, frame, PLAIN, opening)
    items = [source[0, number] for number in range(5)]
    assert [item.index for item in items] == [0, 1, 2, 3, 4] and len(opened) == 2
    assert read == [(slice(*one), slice(0, 60)) for one in (*rows, (0, 41))]
    part = decoded(SAMPLES[0])[0][20:40, 30:60]
    assert torch.equal(items[3].image, frame_item(3, part, frame, PLAIN, 3).image)


def test_an_image_that_cannot_be_read_is_named() -> None:
    def opening(path: Path) -> WindowedImage:
        raise DataError(f"{path}: it is cut short")

    source = SliceDataset(SAMPLES, [(3, ImageSlice(0, 0, 60, 43))], FRAME, PLAIN, opening)
    with pytest.raises(DataError, match=r"sample 3: 3.png: it is cut short"):
        source[0, 0]


def test_an_aimed_part_has_an_object_of_each_class_equally_often() -> None:
    squares = np.array([[2, 2, 8, 8], [390, 390, 398, 398], *[[200, 10 * row, 208, 10 * row + 8] for row in range(9)]])
    labels = np.array([0, IGNORED, *[1] * 9])
    large = (Sample("large", (Path("large.png"),), (400, 400)),)
    black, target = np.zeros((400, 400, 3), np.uint8), BoxTarget(squares.astype(np.float32), labels)
    cache = PixelCache(lambda sample: (black, target), large)
    counts = {}
    for aim in (0.0, 1.0):
        frame = FrameConfig(size=(32, 32), unit="pixel", aim=aim)
        source = BoxTrainDataset(cache, [0], frame, PLAINLY, 10, (), PLAIN, 7)
        counts[aim] = [set(boxes_of(source[0, 0, draw]).labels.tolist()) for draw in range(40)]
    assert sum(not seen for seen in counts[0.0]) > 20  # most parts of the image are empty
    assert all(seen & {0, 1} for seen in counts[1.0])
    assert 10 < sum(0 in seen for seen in counts[1.0]) < 30


def test_gray_images_have_one_channel() -> None:
    gray = BoxTrainDataset(CACHE, range(5), FRAME, ComposeConfig(), 10, (), Normalisation((0.0,), (1.0,)), 7, 1)
    assert gray[0, 0].image.shape == (1, 64, 96)
