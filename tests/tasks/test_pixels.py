"""How images of a contest are read, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.data.targets import MapTarget
from medalist.errors import DataError
from medalist.formats.rle import RleFormat
from medalist.records import Mask, Sample, Score, Split
from medalist.reporter import LineReporter, SilentReporter
from medalist.tasks.pixels import blank_cache, filled_cache, no_target, pixel_cache, read_of
from medalist.tasks.probed import sampled_source
from medalist.tasks.segment.settings import SegmentSettings

SIZES = [(8, 12), (10, 6), (8, 12)]


def settings_of(**changes: Any) -> SegmentSettings:
    return SegmentSettings.model_validate(
        {
            "competition": "toy",
            "model": {"kind": "unet", "encoder": "test_resnet", "weights": "none", "channels": ["body"]},
            "loss": {"bce": 1.0},
            "decide": {"kind": "watershed"},
            **changes,
        }
    )


def score(truths: Any, answers: Any) -> Score:
    raise AssertionError


@pytest.fixture
def contest(tmp_path: Path) -> Contest:
    """Three images of 16 bits of which 200 is white, in a folder of their own."""
    folder = tmp_path / "data"
    folder.mkdir()
    samples = []
    for number, size in enumerate(SIZES):
        Image.fromarray(np.full(size, 100 * number, np.uint16)).save(folder / f"{number}.png")
        samples.append(Sample(f"s{number}", (folder / f"{number}.png",), size))
    split = Split(tuple(samples), ())
    truth = Mask(np.ones((1, 1), np.uint8))
    competition = Competition("toy", lambda _: split, lambda *_: truth, score, RleFormat(), white=200)
    return Contest(competition, folder, split)


def foreground(sample: Sample) -> MapTarget:
    return MapTarget(np.ones((*sample.size, 1), np.uint8))


def test_images_are_read_as_contest_and_config_say(contest: Contest) -> None:
    path = contest.split.train[1].images[0]
    assert np.unique(read_of(contest, settings_of())(path)).tolist() == [128]  # half of 200, in 8 bits
    assert np.unique(read_of(contest, settings_of(image={"invert": True}))(path)).tolist() == [127]


def test_a_contest_may_read_its_images_itself(contest: Contest) -> None:
    def upper_half(path: Path) -> np.ndarray:
        image = contest.competition.image(path)
        return image[: len(image) // 2]

    own = replace(contest, competition=replace(contest.competition, read_image=upper_half))
    path = contest.split.train[1].images[0]
    height, width = SIZES[1]
    assert read_of(own, settings_of(image={"invert": True}))(path).shape == (height // 2, width, 3)
    assert np.unique(read_of(own, settings_of(image={"invert": True}))(path)).tolist() == [127]


@pytest.mark.parametrize("form", ["memory", "file"])
def test_all_training_samples_are_read_before_the_training(contest: Contest, form: str, tmp_path: Path) -> None:
    cache = filled_cache(
        contest, settings_of(loader={"cache": form}), foreground, tmp_path / "scratch", SilentReporter()
    )
    assert cache.kept_bytes == sum(4 * height * width for height, width in SIZES)
    for index, size in enumerate(SIZES):
        image, target = cache[index]
        assert image.shape == (*size, 3) and isinstance(target, MapTarget) and target.maps.shape == (*size, 1)
    assert (cache.scratch is None) == (form == "memory")


def test_a_cache_that_is_not_filled_decodes_when_it_is_asked(contest: Contest, tmp_path: Path) -> None:
    cache = pixel_cache(contest, settings_of(), no_target, tmp_path)
    assert cache.kept_bytes == 0
    image, target = cache[1]
    assert target is None and np.unique(image).tolist() == [128]


def test_no_more_is_kept_than_the_config_allows(contest: Contest, tmp_path: Path) -> None:
    lines: list[str] = []
    cache = filled_cache(contest, settings_of(loader={"cache_mb": 0}), foreground, tmp_path, LineReporter(lines.append))
    assert cache.kept_bytes == 0 and cache[0][0].shape == (8, 12, 3)


def test_bad_samples_are_named_all_at_once(contest: Contest, tmp_path: Path) -> None:
    contest.split.train[0].images[0].write_bytes(b"")
    contest.split.train[2].images[0].unlink()
    with pytest.raises(DataError, match=r"^2 bad samples: sample s0: .*0\.png: .*; sample s2: .*2\.png: "):
        filled_cache(contest, settings_of(), foreground, tmp_path, SilentReporter())
    with pytest.raises(DataError, match=r"^1 bad samples: sample s1: .*1\.png is 6x10, its truth 12x8$"):
        contest.split.train[0].images[0].write_bytes(contest.split.train[1].images[0].read_bytes())
        contest.split.train[2].images[0].write_bytes(contest.split.train[1].images[0].read_bytes())
        tall = MapTarget(np.ones((10, 6, 1), np.uint8))
        wide = MapTarget(np.ones((8, 12, 1), np.uint8))
        filled_cache(
            contest, settings_of(), lambda sample: wide if sample.id == "s1" else tall, tmp_path, SilentReporter()
        )


@pytest.mark.parametrize("size", [None, (32, 48)])
def test_rehearsals_see_black_images(contest: Contest, size: tuple[int, int] | None) -> None:
    for sample in contest.split.train:
        sample.images[0].unlink()  # none is read
    cache = blank_cache(contest, size, no_target)
    for index, own in enumerate(SIZES):
        image, target = cache[index]
        assert image.shape == (*(size or own), 3) and image.max() == 0 and target is None


def test_a_probe_reads_some_and_says_what_all_would_take(contest: Contest) -> None:
    setup: Any = SimpleNamespace(settings=settings_of(), contest=contest)
    sizes = [4 * height * width for height, width in SIZES]
    source = sampled_source(setup, foreground, sizes, perf_counter() + 60)
    assert source.kept is not None and source.kept.bytes == sum(sizes) and source.kept.kept_bytes == sum(sizes)
    assert source.reading > 0 and source.each == 0
    image, target = source.data[2]
    assert image.shape == (8, 12, 3) and isinstance(target, MapTarget)
