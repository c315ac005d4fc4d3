"""A training on crops of large images is the same, whether the images are kept whole or read by windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.data.crops import WindowCache
from medalist.engine.train import fit
from medalist.errors import ConfigError, DataError
from medalist.folds.folds import Folds
from medalist.formats.rle import RleFormat
from medalist.records import Instances, Mask, Sample, Score, Split
from medalist.reporter import SilentReporter
from medalist.tasks.jobs import FoldPlace, open_devices
from medalist.tasks.pixels import read_of
from medalist.tasks.segment.crops import filled_windows
from medalist.tasks.segment.jobs import build_job
from medalist.tasks.segment.settings import SegmentSettings

SIZES = [(140, 90), (70, 150), (64, 64), (100, 100), (20, 200)]
FOLDS = Folds({f"s{number}": number % 2 for number in range(5)}, dict.fromkeys("x"), dict.fromkeys("x"), 2, 0)


def settings_of(**changes: Any) -> SegmentSettings:
    tree: dict[str, Any] = {
        "competition": "toy",
        "seed": 3,
        "augment": [{"RandomCrop": {"height": 32, "width": 32, "pad_if_needed": True}}, {"D4": {}}],
        "model": {
            "kind": "unet", "encoder": "test_efficientnet", "weights": "none", "channels": ["body", "border"],
            "decoder_channels": [16, 8, 8, 8, 8],
        },
        "loss": {"bce": 1.0, "dice": 1.0},
        "sampler": {"kind": "tiles", "size": 48},
        "train": {"epochs": 2, "batch": 4},
        "decide": {"kind": "watershed"},
    }  # fmt: skip
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return SegmentSettings.model_validate(tree)


def labels_of(sample: Sample) -> NDArray[np.int32]:
    labels = np.zeros(sample.size, np.int32)
    for number, (top, left) in enumerate([(3, 4), (3, 16), (45, 45), (46, 52)], start=1):
        labels[top : top + 12, left : left + 12][labels[top : top + 12, left : left + 12] == 0] = number
    return labels


def score(truths: Any, answers: Any) -> Score:
    raise AssertionError


@pytest.fixture
def contest(tmp_path: Path) -> Contest:
    folder = tmp_path / "images"
    folder.mkdir()
    samples = []
    for number, size in enumerate(SIZES):
        sample = Sample(f"s{number}", (folder / f"{number}.{'tif' if number % 2 else 'png'}",), size)
        pixels = np.random.default_rng(number).integers(0, 90, (*size, 3)) + 150 * (labels_of(sample) > 0)[..., None]
        if number % 2:
            tifffile.imwrite(sample.images[0], pixels.astype(np.uint8), photometric="rgb", tile=(16, 16), metadata=None)
        else:
            Image.fromarray(pixels.astype(np.uint8)).save(sample.images[0])
        samples.append(sample)
    split = Split(tuple(samples), ())
    competition = Competition(
        "toy", lambda _: split, lambda _, sample: Instances(labels_of(sample)), score, RleFormat()
    )
    return Contest(competition, tmp_path, split)


def cache_of(settings: SegmentSettings, contest: Contest, folder: Path) -> tuple[WindowCache, Any]:
    assert settings.sampler.kind == "tiles"
    return filled_windows(contest, settings, settings.sampler, folder, SilentReporter())


@pytest.mark.parametrize("cache_mb", [0, 2000])
def test_windows_have_the_pixels_and_targets_of_the_whole(
    tmp_path: Path, contest: Contest, cache_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.codecs.windows.SMALL_PIXELS", 0)
    whole, contents = cache_of(settings_of(task={"border": 3}), contest, tmp_path)
    cache, same = cache_of(settings_of(task={"border": 3}, loader={"cache_mb": cache_mb}), contest, tmp_path)
    assert len(cache.small) == (5 if cache_mb else 0)
    for index, sample in enumerate(contest.split.train):
        np.testing.assert_array_equal(contents[index], same[index])
        image, target = whole[index]
        for rows, columns in ((slice(0, 20), slice(0, 90)), (slice(5, 20), slice(10, 41)), (slice(0, 1), slice(7, 8))):
            cut, mapped = cache.window(index, rows, columns)
            np.testing.assert_array_equal(cut, image[rows, columns])
            assert target is not None and mapped is not None
            for one, other in zip(mapped.arrays, target.arrays, strict=True):
                np.testing.assert_array_equal(one, other[rows, columns])
        assert sample.size == image.shape[:2]
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_the_weights_are_the_same_to_the_last_bit(tmp_path: Path, contest: Contest) -> None:
    """Kept whole, read by windows, and read by two workers."""
    rows: list[list[Any]] = []
    states = []
    for number, loader in enumerate(({}, {"cache_mb": 0}, {"cache_mb": 0, "workers": 2})):
        settings = settings_of(loader=loader)
        cache, contents = cache_of(settings, contest, tmp_path)
        place = FoldPlace(FOLDS, 0, tmp_path / f"fold{number}")
        job = build_job(settings, open_devices(settings), cache, place, None, read_of(contest, settings), contents)
        seen: list[Any] = []
        with SilentReporter().progress(job.title, job.steps) as progress:
            fit(job, seen.append, progress)
        rows.append([{key: row[key] for key in ("loss", "val_loss", "dice_body", "dice_border")} for row in seen])
        states.append(job.model.state_dict())
    assert rows[0] == rows[1] == rows[2]
    for other in states[1:]:
        assert all(other[name].equal(value) for name, value in states[0].items())


def test_void_comes_with_the_mask(tmp_path: Path, contest: Contest) -> None:
    """The void of a truth is cut as its classes are, where targets have it."""
    void = np.zeros((140, 90), np.bool_)
    void[30:40] = True
    from medalist.tasks.segment.crops import _cut, kept_truth

    sample = contest.split.train[0]
    kept = kept_truth(Mask(np.ones((140, 90), np.uint8), void), sample, tmp_path)
    cut = _cut(kept, slice(20, 60), slice(0, 9))
    assert isinstance(cut, Mask) and cut.void is not None
    np.testing.assert_array_equal(cut.void, void[20:60, :9])
    assert cut.classes.all() and cut.classes.shape == (40, 9)


def test_a_truth_of_another_size_is_named(tmp_path: Path, contest: Contest) -> None:
    def wrong(data: Path, sample: Sample) -> Mask:
        return Mask(np.zeros((5, 6), np.uint8))

    other = Contest(Competition("toy", lambda _: contest.split, wrong, score, RleFormat()), tmp_path, contest.split)
    settings = settings_of(loader={"cache_mb": 0}, model={"channels": ["one"]}, decide={"kind": "threshold"})
    with pytest.raises(DataError, match=r"^sample s0: .*0\.png is 90x140, its truth 6x5$"):
        cache_of(settings, other, tmp_path)


def test_a_plan_of_crops_is_refused() -> None:
    from types import SimpleNamespace

    from medalist.tasks.segment.cost import source

    setup: Any = SimpleNamespace(settings=settings_of(), contest=SimpleNamespace(split=Split((), ())))
    with pytest.raises(ConfigError, match=r"train one epoch with train\.epochs=1"):
        source(setup, Path("x"), 0, SilentReporter())
