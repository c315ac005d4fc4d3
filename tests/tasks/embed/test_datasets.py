from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medalist.data.cache import PixelCache
from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.items import Normalisation
from medalist.data.loader import Batch, batches
from medalist.data.padding import Padding
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.settings import ClassSampler, FitConfig
from medalist.data.targets import LabelTarget, LabelTargets, Target
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.errors import ConfigError
from medalist.records import Sample
from medalist.tasks.embed.composing import Composed, compose
from medalist.tasks.embed.datasets import IdentityTrainDataset, seen_from, views_of
from medalist.tasks.embed.jobs import Classes, build_criterion
from medalist.tasks.embed.settings import EmbedSettings

Entries = tuple[dict[str, dict[str, Any]], ...]
Pixels = NDArray[np.uint8]
NORM = Normalisation((0.0, 0.5, 0.25), (1.0, 0.5, 0.25))
GRAY = Normalisation((0.5,), (0.25,))
CROP: Entries = ({"RandomCrop": {"height": 24, "width": 24}}, {"GaussNoise": {"p": 0.5}})


def picture(number: int, size: tuple[int, int] = (32, 32)) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def cache_of(count: int, size: tuple[int, int] = (32, 32)) -> PixelCache:
    samples = [Sample(f"s{number}", (Path(f"{number}.png"),), (70, 90)) for number in range(count)]
    cache = PixelCache(lambda sample: (picture(int(sample.id[1:]), size), None), samples)
    cache.fill(10_000_000)
    return cache


def pixels_of(image: Pixels, norm: Normalisation = NORM) -> NDArray[np.float64]:
    """Normalised float[C, h, w], plainly."""
    return ((image / 255 - np.array(norm.mean)) / np.array(norm.std)).transpose(2, 0, 1)


def label_of(target: Target | None) -> int:
    assert isinstance(target, LabelTarget) and target.value.dtype == np.int64
    return int(target.value)


def labels_of(batch: Batch) -> list[int]:
    assert isinstance(batch.target, LabelTargets) and batch.target.values.dtype == torch.int64
    return batch.target.values.tolist()


def close(image: torch.Tensor, expected: NDArray[np.float64]) -> None:
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)


def test_an_item_is_the_augmented_sample_normalised_with_its_label() -> None:
    cache = cache_of(5)
    chosen = IdentityTrainDataset(cache, [4, 1], [7, 0], CROP, NORM, 11)
    chosen.check((24, 24))
    assert len(chosen) == 2 and chosen.labels == (7, 0)
    item = chosen[3, 0]
    image, target = augment(compose_augment(CROP), picture(4), None, sample_seed(11, 3, 4))
    assert target is None
    assert (item.index, label_of(item.target), item.padding) == (4, 7, Padding(24, 24))
    close(item.image, pixels_of(image))
    assert torch.equal(chosen[3, 0].image, item.image)
    assert torch.equal(chosen[3, 0, 0].image, item.image)
    for other in ((4, 0), (3, 0, 1), (3, 0, 2)):  # another epoch; once more, and again, in the same
        assert not torch.equal(chosen[other].image, item.image)  # type: ignore[index]


@pytest.mark.parametrize(
    ("turns", "mirrored", "views"),
    [
        (False, False, [(0, False)]),
        (False, True, [(0, False), (0, True)]),
        (True, False, [(0, False), (1, False), (2, False), (3, False)]),
        (True, True, [(turn, mirror) for turn in range(4) for mirror in (False, True)]),
    ],
)
def test_each_view_of_a_sample_is_a_class_of_its_own(
    turns: bool, mirrored: bool, views: list[tuple[int, bool]]
) -> None:
    assert views_of(turns, mirrored) == tuple(views)
    chosen = IdentityTrainDataset(cache_of(3), [2, 0], [5, 3], (), NORM, 0, turns, mirrored)
    chosen.check((32, 32))
    assert len(chosen) == len(chosen.labels) == 2 * len(views)
    assert chosen.spread(["a", "b"]) == ["a"] * len(views) + ["b"] * len(views)
    for position in range(len(chosen)):
        sample, view = divmod(position, len(views))
        item = chosen[0, position]
        assert item.index == (2, 0)[sample]
        assert label_of(item.target) == chosen.labels[position] == (5, 3)[sample] * len(views) + view
        turn, mirror = views[view]
        image = torch.from_numpy(pixels_of(picture((2, 0)[sample]))).float()
        image = torch.rot90(image, turn, dims=(-2, -1))
        image = image.flip(-1) if mirror else image
        close(item.image, image.double().numpy())


def test_a_turn_worked_by_hand() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)  # 0 1 2 / 3 4 5
    assert seen_from(image, (1, False))[..., 0].tolist() == [[2, 5], [1, 4], [0, 3]]
    assert seen_from(image, (1, True))[..., 0].tolist() == [[5, 2], [4, 1], [3, 0]]
    assert seen_from(image, (2, False))[..., 0].tolist() == [[5, 4, 3], [2, 1, 0]]


def test_views_are_augmented_each_by_itself_and_after_turning() -> None:
    chosen = IdentityTrainDataset(cache_of(1), [0], [0], CROP, NORM, 3, turns=True)
    for view in range(4):
        image, _ = augment(compose_augment(CROP), np.rot90(picture(0), view).copy(), None, sample_seed(3, 2, 0, view))
        close(chosen[2, view].image, pixels_of(image))
    seeds = {tuple(sample_seed(3, 2, 0, view, draw).generate_state(4)) for view in range(8) for draw in range(8)}
    assert len(seeds) == 64


def test_without_augmentation_the_middle_is_seen() -> None:
    chosen = IdentityTrainDataset(cache_of(1, (32, 40)), [0], [0], (), NORM, 0)
    chosen.check((20, 24))
    close(chosen[0, 0].image, pixels_of(picture(0, (32, 40))[6:26, 8:32]))


def test_gray_is_made_by_the_usual_weights() -> None:
    chosen = IdentityTrainDataset(cache_of(1), [0], [0], (), GRAY, 0, channels=1)
    chosen.check((32, 32))
    item = chosen[0, 0]
    assert item.image.shape == (1, 32, 32)
    gray = np.rint(picture(0) @ np.array([0.299, 0.587, 0.114]))[..., None]
    np.testing.assert_allclose(item.image.numpy(), pixels_of(gray, GRAY), atol=4.001 / 255)  # rounded by one


@pytest.mark.parametrize(
    ("augment", "kept", "turns", "said"),
    [
        (
            CROP,
            (32, 32),
            False,
            r"^augment gives 24x24 for s0, but the network needs 30x28 by image.train_size .*;",
        ),
        (CROP, (32, 32), False, r"'RandomCrop: \{height: 28, width: 30\}', or set image.train_size=\[24, 24\]$"),
        (({"Resize": {"height": 28, "width": 30, "p": 0.5}},), (32, 32), False, r"^augment gives 32x32 for s\d"),
        ((), (28, 30), True, r"^s0 is 28x30 in one of its views, but .* 30x28 .*; set an image.size .* equal"),
        (({"RandomCrop": {"height": 28, "width": 30}},), (28, 30), True, r"^augment: .*; on sample s0, 28x30$"),
    ],
)
def test_another_size_than_the_network_is_to_see(
    augment: Entries, kept: tuple[int, int], turns: bool, said: str
) -> None:
    chosen = IdentityTrainDataset(cache_of(3, kept), range(3), [0, 1, 2], augment, NORM, 0, turns)
    with pytest.raises(ConfigError, match=said) as caught:
        chosen.check((28, 30))
    assert "\n" not in str(caught.value)


def test_a_rare_other_size_is_refused_when_it_comes() -> None:
    rare: Entries = ({"Resize": {"height": 64, "width": 64, "p": 0.02}},)
    chosen = IdentityTrainDataset(cache_of(1), [0], [0], rare, NORM, 0)
    chosen.check((32, 32))
    with pytest.raises(ConfigError, match=r"^augment gives 64x64 for s0"):
        for epoch in range(1000):
            assert chosen[epoch, 0].image.shape == (3, 32, 32)


def test_no_sample_is_a_mistake_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"lower task.rare$"):
        IdentityTrainDataset(cache_of(1), [], [], (), NORM, 0).check((32, 32))


def assert_same(first: Sequence[Batch], second: Sequence[Batch]) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert a.indices == b.indices and torch.equal(a.image, b.image)
        assert labels_of(a) == labels_of(b)


@pytest.mark.parametrize("kind", ["shuffle", "pxk", "group", "balanced"])
def test_batches_are_the_same_with_and_without_workers(kind: Any) -> None:
    made: list[list[Batch]] = []
    for workers in (0, 2):
        chosen = IdentityTrainDataset(cache_of(9), range(9), [0, 0, 0, 0, 1, 1, 1, 2, 3], CROP, NORM, 7, turns=True)
        chosen.check((24, 24))
        order: ShuffleBatchSampler | ClassBatchSampler
        if kind == "shuffle":
            order = ShuffleBatchSampler(len(chosen), 6, 7)
        else:
            sampler = ClassSampler(kind=kind, classes=3, per_class=2)
            order = ClassBatchSampler(chosen.labels, sampler, 7, chosen.spread(list("aaaabbbbb")))
        loader = batches(chosen, order, workers)
        found = []
        for epoch in (0, 3):
            order.epoch = epoch
            found += list(loader)
        made.append(found)
    assert_same(*made)
    for batch in made[0]:
        assert batch.image.shape == (6, 3, 24, 24)
        if kind in ("pxk", "group"):
            assert len(set(labels_of(batch))) == 3


def test_an_identity_of_one_photo_makes_pairs_of_unlike_views_of_it() -> None:
    chosen = IdentityTrainDataset(cache_of(3), range(3), [0, 1, 2], CROP, NORM, 7)
    chosen.check((24, 24))
    (batch,) = batches(chosen, ClassBatchSampler(chosen.labels, ClassSampler(kind="pxk", classes=3, per_class=2), 7), 0)
    assert labels_of(batch)[0::2] == labels_of(batch)[1::2]
    for number in range(0, 6, 2):
        assert batch.indices[number] == batch.indices[number + 1]
        assert not torch.equal(batch.image[number], batch.image[number + 1])


def composed_set(augment: Entries, turns: bool) -> IdentityTrainDataset:
    """Three identities of 3, 2 and 3 samples, and five compositions of them."""
    cache, labels = cache_of(8), [0, 0, 0, 1, 1, 2, 2, 2]
    made = compose(3, 5, [3, 2, 3], ["a", "a", "b"])
    composed = Composed(cache, range(8), labels, made, FitConfig(size=(32, 32), fit="pad", trim=0.75), 7)
    return IdentityTrainDataset(cache, range(8), labels, augment, NORM, 7, turns=turns, composed=composed)


@pytest.mark.parametrize("turns", [False, True])
def test_composed_samples_come_after_the_real_ones_as_classes_of_their_own(turns: bool) -> None:
    chosen = composed_set(CROP, turns)
    chosen.check((24, 24))
    assert chosen.composed is not None
    views = 4 if turns else 1
    real = 8 * views
    sizes = [made.samples for made in chosen.composed.compositions]
    assert len(chosen) == len(chosen.labels) == real + sum(sizes)
    expected = [3 * views + number for number, size in enumerate(sizes) for _ in range(size)]
    assert list(chosen.labels[real:]) == expected
    assert chosen.spread(list("abcdefgh"))[real:] == [None] * sum(sizes)
    for position in range(sum(sizes)):
        for key, again in (((2, real + position), 0), ((2, real + position, 1), 1)):
            seed = sample_seed(7, 2, 8 + position, 0, again)
            plain = chosen.composed.draw(2, position, again)
            image, _ = augment(compose_augment(CROP), plain, None, seed)
            item = chosen[key]
            close(item.image, pixels_of(image))
            assert label_of(item.target) == expected[position]


def test_labels_of_composed_samples_line_up_with_the_loss() -> None:
    chosen = composed_set((), True)
    assert chosen.composed is not None
    settings = EmbedSettings.model_validate(
        {
            "competition": "toy",
            "task": {"kind": "embed", "turns": True, "composed": 5},
            "image": {"size": [32, 32]},
            "model": {"encoder": "test_resnet", "weights": "none", "dim": 8},
            "loss": {"terms": [{"kind": "arcface", "margin": 0.3, "scale": 10, "by_size": "power"}]},
        }
    )
    criterion = build_criterion(settings, 8, Classes(("x", "y", "z"), (3, 2, 3), chosen.composed.compositions))
    found = criterion.prototypes()
    assert found is not None and sorted(set(found[1].tolist())) == sorted(set(chosen.labels))
    assert np.bincount(chosen.labels).tolist() == [3] * 4 + [2] * 4 + [3] * 4 + [
        made.samples for made in chosen.composed.compositions
    ]
    term: Any = criterion.terms["arcface"]
    fewer = torch.from_numpy(np.bincount(chosen.labels) == 2)
    assert term.margins[fewer].unique().numel() == 1 and (term.margins[fewer] > term.margins[~fewer].max()).all()


@pytest.mark.parametrize("kind", ["pxk", "group"])
def test_composed_samples_are_dealt_with_the_real_ones_in_workers_too(kind: Any) -> None:
    made: list[list[Batch]] = []
    for workers in (0, 2):
        chosen = composed_set(CROP, False)
        chosen.check((24, 24))
        order = ClassBatchSampler(
            chosen.labels, ClassSampler(kind=kind, classes=2, per_class=2), 7, chosen.spread("aaaaabbb")
        )
        made.append(list(batches(chosen, order, workers)))
    assert_same(*made)
    assert {label for batch in made[0] for label in labels_of(batch)} >= {4, 5}
