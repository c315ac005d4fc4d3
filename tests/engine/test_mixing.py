from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import LabelTargets, MapTargets
from medalist.engine.mixing import MIXING, mixed, resized
from medalist.engine.settings import CutmixConfig, MixConfig, MixupConfig, MosaicConfig

MIXUP = MixupConfig(kind="mixup")
CUTMIX = CutmixConfig(kind="cutmix")
MOSAIC = MosaicConfig(kind="mosaic")
EACH = pytest.mark.parametrize("mix", [MIXUP, CUTMIX, MOSAIC], ids=["mixup", "cutmix", "mosaic"])
FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)

some_batch = st.integers(2, 9)
some_size = st.tuples(st.integers(4, 40), st.integers(4, 40))
some_steps = st.integers(0, 2**40)


def batch_of(
    samples: int, size: tuple[int, int] = (8, 12), labels: bool = False, target: bool = True, channels_last: bool = True
) -> Batch:
    """Noise; its target is maps of noise, or with `labels` 10 times the place of each sample."""
    random = torch.Generator().manual_seed(samples)
    image = torch.randn(samples, 3, *size, generator=random)
    maps = MapTargets(torch.rand(samples, 2, *size, generator=random))
    return Batch(
        image.to(memory_format=torch.channels_last) if channels_last else image,
        (labels_for(samples) if labels else maps) if target else None,
        tuple(range(100, 100 + samples)),
        (Padding(*size),) * samples,
    )


def labels_for(samples: int) -> LabelTargets:
    return LabelTargets(torch.arange(samples) * 10)


def coded(samples: int, size: tuple[int, int]) -> Batch:
    """Pixels that tell whose they are and where they stood: channels (sample, y, x); the maps tell the sample."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    image = torch.stack([torch.stack([torch.full_like(y, sample), y, x]) for sample in range(samples)])
    target = MapTargets(image[:, :1] / samples)
    return Batch(image, target, tuple(range(samples)), (Padding(*size),) * samples)


def maps_of(batch: Batch) -> Tensor:
    assert isinstance(batch.target, MapTargets)
    return batch.target.maps


def partners_of(batch: Batch) -> tuple[Tensor, float] | None:
    """The labels of the partners, and the share that each sample kept."""
    assert isinstance(batch.target, LabelTargets)
    return batch.target.partners


def share_of(batch: Batch) -> float:
    partners = partners_of(batch)
    assert partners is not None
    return partners[1]


def partner_of(batch: Batch) -> list[int]:
    """The partner of each sample, told by labels that are 10 times their places."""
    partners = partners_of(batch)
    assert partners is not None
    places: list[int] = (partners[0] // 10).tolist()
    return places


@settings(deadline=None)
@given(some_batch, some_size, some_steps)
def test_mixup_is_its_formula_sample_by_sample(samples: int, size: tuple[int, int], step: int) -> None:
    batch, labelled = batch_of(samples, size), batch_of(samples, size, labels=True)
    after, told = (mixed(one, [MIXUP], 7, step, 0) for one in (batch, labelled))
    share = share_of(told)
    assert 0 <= share <= 1
    for own, other in enumerate(partner_of(told)):
        assert own != other
        for maps, old in ((after.image, batch.image), (maps_of(after), maps_of(batch))):
            expected = share * old[own].double() + (1 - share) * old[other].double()
            torch.testing.assert_close(maps[own].double(), expected, rtol=0, atol=1e-5)
    assert sorted(partner_of(told)) == list(range(samples))  # each is a partner once
    assert maps_of(after).min() >= 0 and maps_of(after).max() <= 1
    assert isinstance(told.target, LabelTargets) and isinstance(labelled.target, LabelTargets)
    assert told.target.values is labelled.target.values  # the own labels stay
    assert after.indices == batch.indices and after.paddings == batch.paddings
    without = mixed(replace(batch, target=None), [MIXUP], 7, step, 0)
    for other in (told, without):  # what happens to the pixels does not depend on the target
        assert torch.equal(other.image, after.image)


@settings(deadline=None)
@given(some_batch, some_size, some_steps)
def test_cutmix_moves_one_box_and_tells_the_share_that_is_left(samples: int, size: tuple[int, int], step: int) -> None:
    batch = coded(samples, size)
    after = mixed(batch, [CUTMIX], 3, step, 1)
    told = mixed(replace(batch, target=labels_for(samples)), [CUTMIX], 3, step, 1)
    assert torch.equal(told.image, after.image)
    assert torch.equal(after.image[:, 1:], batch.image[:, 1:])  # every pixel stays at its place
    whose = after.image[:, 0]
    assert torch.equal(maps_of(after)[:, 0], whose / samples)
    others = torch.tensor(partner_of(told))[:, None, None]
    own = torch.arange(samples)[:, None, None]
    assert (own != others).all() and ((whose == own) | (whose == others)).all()
    inside = (whose == others)[0]
    assert (inside == (whose == others)).all()  # the same box for all
    rows, columns = inside.any(1), inside.any(0)
    assert torch.equal(inside, rows[:, None] & columns[None])  # a box: rows times columns...
    for line in (rows, columns):
        assert len(torch.nonzero(line.diff(prepend=torch.tensor([False]), append=torch.tensor([False])))) in (0, 2)
    assert share_of(told) == pytest.approx(1 - inside.double().mean().item(), abs=1e-12)
    torch.testing.assert_close(after.image.sum(0), batch.image.sum(0))  # each pixel of each sample is there once


@settings(deadline=None)
@given(some_batch, some_size, some_steps)
def test_mosaic_has_four_quarters_of_four_samples_in_place(samples: int, size: tuple[int, int], step: int) -> None:
    batch = coded(samples, size)
    after = mixed(batch, [MOSAIC], 3, step, 0)
    assert torch.equal(after.image[:, 1:], batch.image[:, 1:])
    whose = after.image[:, 0].long()
    assert torch.equal(maps_of(after)[:, 0], whose.float() / samples)
    away = (whose - torch.arange(samples)[:, None, None]) % samples
    assert (away == away[0]).all()  # the same for all, so each quarter of each sample is shown once
    shown = set(away[0].flatten().tolist())
    assert len(shown) == min(samples, 4) and 0 in shown
    # Some centre in the middle half explains it.
    height, width = size
    assert any(
        all(
            bool((part == part[0, 0]).all())
            for half in (away[0][:y], away[0][y:])
            for part in (half[:, :x], half[:, x:])
        )
        for y in range(math.floor(height / 4), math.ceil(height * 3 / 4) + 1)
        for x in range(math.floor(width / 4), math.ceil(width * 3 / 4) + 1)
        if 0 < y < height and 0 < x < width
    )


def test_mosaic_by_hand() -> None:
    """Of five samples 4 x 4: the draws are repeated here in their order."""
    batch = coded(5, (4, 4))
    after = mixed(batch, [MOSAIC], 11, 2, 0)
    random = np.random.default_rng((11, 2, 0, 0, MIXING))
    random.random()
    y, x = (round(4 * share) for share in random.uniform(0.25, 0.75, 2))
    sources = random.permutation([0, *(random.permutation(4) + 1)[:3]])
    assert len(set(sources)) == 4
    for number in range(5):
        expected = np.zeros((4, 4))
        for quarter, source in enumerate(sources):
            for row in range(4):
                for column in range(4):
                    if (row >= y, column >= x) == (quarter >= 2, quarter % 2 == 1):
                        expected[row, column] = (number + source) % 5
        assert after.image[number, 0].tolist() == expected.tolist()


def test_all_partners_and_quarters_come() -> None:
    batch = batch_of(4, labels=True)
    partners = {tuple(partner_of(mixed(batch, [MIXUP], 0, step, 0))) for step in range(40)}
    assert partners == {(1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}
    quarters = {int(mixed(coded(4, (4, 4)), [MOSAIC], 0, step, 0).image[0, 0, 0, 0]) for step in range(40)}
    assert quarters == {0, 1, 2, 3}


def test_shares_are_those_of_the_beta() -> None:
    """Beta(2, 2): mean 1/2, variance 1/20. Cutmix: a box of area u, of which cutting leaves (√u - u/4)² in the mean."""
    batch = batch_of(2, (64, 64), labels=True)
    mixup = [mixed(batch, [MixupConfig(kind="mixup", alpha=2)], 0, step, 0) for step in range(1500)]
    shares = np.array([share_of(one) for one in mixup])
    assert abs(shares.mean() - 0.5) < 5 * math.sqrt(0.05 / 1500) and abs(shares.var() - 0.05) < 0.01
    cutmix = [mixed(batch, [CutmixConfig(kind="cutmix", alpha=2)], 0, step, 0) for step in range(300)]
    kept = np.array([share_of(one) for one in cutmix])
    assert abs(kept.mean() - (1 - (0.5 - 6 * (1 / 3.5 - 1 / 4.5) / 2 + 0.3 / 16))) < 5 * 0.2 / math.sqrt(300)
    assert kept.min() >= 0 and kept.max() <= 1


@EACH
def test_only_seed_step_rank_and_place_count(mix: MixConfig) -> None:
    batch = batch_of(6, (32, 32))

    def made(seed: int, step: int, rank: int, place: int = 0) -> Tensor:
        never = MixupConfig(kind="mixup", p=1e-12)
        return mixed(batch, [*[never] * place, mix], seed, step, rank).image

    first = made(1, 2, 3)
    state = torch.get_rng_state()
    assert torch.equal(made(1, 2, 3), first)
    assert torch.equal(torch.get_rng_state(), state)  # torch's stream is left alone
    for other in (made(2, 2, 3), made(1, 3, 3), made(1, 2, 4), made(1, 2, 3, 1)):
        assert not torch.equal(other, first)


@EACH
def test_the_given_batch_stays_as_it_is(mix: MixConfig) -> None:
    batch = batch_of(5)
    image, maps = batch.image.clone(), maps_of(batch).clone()
    for step in range(8):
        after = mixed(batch, [mix, mix], 0, step, 0)
        assert not torch.equal(after.image, batch.image)
        assert after.image.data_ptr() != batch.image.data_ptr()
    assert torch.equal(batch.image, image) and torch.equal(maps_of(batch), maps)


@EACH
@FLOATS
@pytest.mark.parametrize("channels_last", [True, False])
def test_type_and_memory_format_stay(mix: MixConfig, dtype: torch.dtype, channels_last: bool) -> None:
    batch = batch_of(4, channels_last=channels_last)
    batch = replace(batch, image=batch.image.to(dtype))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for step in range(4):
        after = mixed(batch, [mix], 0, step, 0)
        for image in (after.image, resized(after, (16, 10)).image, resized(after, (4, 6)).image):
            assert image.dtype == dtype and image.is_contiguous(memory_format=layout)
        assert maps_of(after).dtype == torch.float32


@EACH
def test_one_sample_has_nothing_to_be_mixed_with(mix: MixConfig) -> None:
    batch = batch_of(1)
    assert mixed(batch, [mix], 0, 0, 0) is batch


def test_no_mix_is_the_very_batch() -> None:
    batch = batch_of(3)
    assert mixed(batch, [], 0, 0, 0) is batch
    assert mixed(batch, [MixupConfig(kind="mixup", p=1e-12)], 0, 0, 0) is batch


def test_chances() -> None:
    batch = batch_of(2, (4, 4), labels=True)
    mixes: list[MixConfig] = [MixupConfig(kind="mixup", p=0.3), CutmixConfig(kind="cutmix", p=0.5)]
    mixups = cutmixes = 0
    for step in range(1000):
        after = mixed(batch, mixes, 0, step, 0)
        was_mixup = partners_of(mixed(batch, mixes[:1], 0, step, 0)) is not None
        mixups += was_mixup
        cutmixes += partners_of(after) is not None and not was_mixup
    assert abs(mixups - 300) < 5 * math.sqrt(1000 * 0.21)
    assert abs(cutmixes - 350) < 5 * math.sqrt(1000 * 0.35 * 0.65)


def test_labels_are_mixed_once_and_pixels_as_often_as_asked() -> None:
    batch = batch_of(4, labels=True)
    once, twice = mixed(batch, [MIXUP], 0, 0, 0), mixed(batch, [MIXUP, CUTMIX], 0, 0, 0)
    assert torch.equal(once.image, twice.image) and share_of(once) == share_of(twice)
    assert partner_of(once) == partner_of(twice)
    without = batch_of(4)
    first = mixed(without, [MOSAIC], 0, 0, 0)
    both = mixed(without, [MOSAIC, MIXUP], 0, 0, 0)
    assert not torch.equal(first.image, both.image)
    # The second acts on what the first has made; its place in the list is 1.
    assert torch.equal(both.image, mixed(first, [MixupConfig(kind="mixup", p=1e-12), MIXUP], 0, 0, 0).image)


def test_a_mosaic_has_no_label() -> None:
    with pytest.raises(AssertionError, match="no single label"):
        mixed(batch_of(4, labels=True), [MOSAIC], 0, 0, 0)
    with pytest.raises(AssertionError):  # bytes must have become floats
        batch = batch_of(2)
        mixed(replace(batch, target=MapTargets(maps_of(batch).byte())), [MIXUP], 0, 0, 0)


def test_batches_without_targets() -> None:
    batch = batch_of(3, target=False)
    for mix in (MIXUP, CUTMIX, MOSAIC):
        assert mixed(batch, [mix], 0, 0, 0).target is None
    assert resized(batch, (16, 16)).target is None


def test_resized_by_hand() -> None:
    """To a half: the filter is a triangle over four pixels, 1 3 3 1 eighths; at the ends what is left of it, 3 3 1."""
    row = torch.tensor([0.0, 7.0, 14.0, 0.0, 8.0, 0.0, 0.0, 7.0])
    target = MapTargets((row > 0).float().expand(1, 1, 8, 8))
    batch = replace(batch_of(1, (8, 8)), image=row.expand(1, 3, 8, 8).clone(), target=target)
    after = resized(batch, (4, 4))
    expected = torch.tensor([(0 + 21 + 14) / 7, (7 + 42 + 0 + 8) / 8, (0 + 24 + 0 + 0) / 8, (0 + 0 + 21) / 7])
    torch.testing.assert_close(after.image, expected.expand(1, 3, 4, 4))
    torch.testing.assert_close(maps_of(after), torch.tensor([4 / 7, 5 / 8, 3 / 8, 3 / 7]).expand(1, 1, 4, 4))
    assert after.paddings == (Padding(4, 4),) and after.indices == batch.indices


@settings(deadline=None)
@given(some_size, some_size)
def test_targets_stay_with_their_images(size: tuple[int, int], other: tuple[int, int]) -> None:
    """What is the same before is the same after, to larger and to smaller sizes; values stay in 0..1."""
    batch = batch_of(2, size)
    first = maps_of(batch)[:, :1]
    batch = replace(batch, image=first.expand(-1, 3, -1, -1), target=MapTargets(first))
    after = resized(batch, other)
    assert after.image.shape == (2, 3, *other)
    assert after.paddings == (Padding(*other),) * 2
    torch.testing.assert_close(after.image[:, :1], maps_of(after), rtol=0, atol=1e-6)
    assert maps_of(after).min() >= 0 and maps_of(after).max() <= 1
    whole = maps_of(resized(replace(batch, target=MapTargets(torch.ones_like(first))), other))
    assert whole.max() <= 1
    torch.testing.assert_close(whole, torch.ones_like(whole))


@pytest.mark.parametrize("to", [8, 10, 16, 24], ids=str)
def test_a_border_of_one_pixel_is_not_lost(to: int) -> None:
    target = torch.zeros(1, 1, 32, 32)
    target[..., 13] = 1
    after = resized(replace(batch_of(1, (32, 32)), target=MapTargets(target)), (to, to))
    assert (maps_of(after).sum(-1) > 0.5 * to / 32).all()  # in each row, with about its share of the width


def test_the_same_size_is_the_very_batch() -> None:
    batch = batch_of(2, (8, 12))
    assert resized(batch, None) is batch and resized(batch, (8, 12)) is batch
    assert resized(batch, (12, 8)).image.shape[2:] == (12, 8)


@EACH
def test_a_pixel_with_a_void_part_is_void(mix: MixConfig) -> None:
    """The maps of a void pixel are 0; so each judged pixel of a mix has maps of ones, and others need not."""
    random = torch.Generator().manual_seed(0)
    judged = (torch.rand(5, 1, 16, 16, generator=random) < 0.8).float()
    maps = judged.expand(5, 2, 16, 16).contiguous()
    batch = Batch(torch.zeros(5, 3, 16, 16), MapTargets(maps, judged), tuple(range(5)), (Padding(16, 16),) * 5)
    after = mixed(batch, [mix.model_copy(update={"p": 1.0})], 0, 0, 0).target
    assert isinstance(after, MapTargets) and after.judged is not None
    assert set(after.judged.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(after.judged.expand(5, 2, 16, 16) > 0, after.maps > 1 - 1e-6)


def test_a_batch_keeps_its_void_when_it_is_resized() -> None:
    judged = torch.ones(2, 1, 16, 16)
    judged[0, :, 5, 5] = 0
    batch = Batch(torch.zeros(2, 3, 16, 16), MapTargets(judged.clone(), judged), (0, 1), (Padding(16, 16),) * 2)
    small = resized(batch, (8, 8)).target
    assert isinstance(small, MapTargets) and small.judged is not None
    assert torch.equal(small.judged, (small.maps > 0.999).float()) and (small.judged == 0).sum() == 4
