"""From settings to a training on files, with a real network: the parts together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.data.cache import PixelCache
from medalist.data.dataset import InferenceDataset
from medalist.data.items import reader
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import ClassTarget, MapTarget, MapTargets
from medalist.engine.checkpoint import load_weights
from medalist.engine.job import TrainJob
from medalist.engine.train import fit
from medalist.errors import ConfigError, DataError
from medalist.folds.folds import Folds
from medalist.formats.rle import RleFormat
from medalist.records import Instances, Mask, Sample, Score, Split
from medalist.reporter import SilentReporter, TimedProgress
from medalist.tasks.jobs import FoldPlace, open_devices
from medalist.tasks.pixels import filled_cache, read_of
from medalist.tasks.segment.conditions import conditioned
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.jobs import build_job, build_task, target_maker
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.settings import SegmentSettings


def settings_of(**changes: Any) -> SegmentSettings:
    tree: dict[str, Any] = {
        "competition": "toy",
        "seed": 3,
        "augment": [{"RandomCrop": {"height": 32, "width": 32}}, {"D4": {}}],
        "model": {
            "kind": "unet", "encoder": "test_efficientnet", "weights": "none", "channels": ["body", "border"],
            "decoder_channels": [16, 8, 8, 8, 8],
        },
        "loss": {"bce": 1.0, "dice": 1.0},
        "train": {"epochs": 1, "batch": 2},
        "predict": {"batch": 2},
        "decide": {"kind": "watershed"},
    }  # fmt: skip
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return SegmentSettings.model_validate(tree)


def labels_of(sample: Sample) -> np.ndarray[Any, np.dtype[np.int32]]:
    labels = np.zeros(sample.size, np.int32)
    labels[8:20, 4:20], labels[8:20, 20:30] = 1, 2
    return labels


def score(truths: Any, answers: Any) -> Score:
    raise AssertionError


@pytest.fixture
def split(tmp_path: Path) -> Split:
    samples = []
    for number in range(8):
        size = (40, 50) if number % 2 else (64, 33)
        sample = Sample(f"s{number}", (tmp_path / f"{number}.png",), size)
        pixels = np.random.default_rng(number).integers(0, 90, (*size, 3)) + 150 * (labels_of(sample) > 0)[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(sample.images[0])
        samples.append(sample)
    return Split(tuple(samples), ())


@pytest.fixture
def contest(split: Split, tmp_path: Path) -> Contest:
    competition = Competition(
        "toy", lambda _: split, lambda _, sample: Instances(labels_of(sample)), score, RleFormat()
    )
    return Contest(competition, tmp_path, competition.read(tmp_path))


FOLDS = Folds({f"s{number}": number % 3 for number in range(8)}, dict.fromkeys("x"), dict.fromkeys("x"), 3, 0)


def filled(settings: SegmentSettings, contest: Contest, folder: Path) -> PixelCache:
    return filled_cache(contest, settings, target_maker(contest, settings), folder, SilentReporter())


def job_of(settings: SegmentSettings, contest: Contest, folder: Path, name: str = "fold1") -> TrainJob:
    cache = filled(settings, contest, folder)
    read = read_of(contest, settings)
    return build_job(settings, open_devices(settings), cache, FoldPlace(FOLDS, 1, folder / name), None, read)


def test_a_fold_is_trained_on_its_own_samples_and_predicts_the_others(
    tmp_path: Path, contest: Contest, split: Split
) -> None:
    settings = settings_of()
    job = job_of(settings, contest, tmp_path)
    trained = {index for batch in job.train for index in batch.indices}
    assert trained <= {0, 2, 3, 5, 6} and len(trained) == 4  # five samples in batches of two
    assert sorted(index for batch in job.held_out for index in batch.indices) == [1, 4, 7]
    assert job.names[4] == "s4" and job.title == "fold 1" and job.fold == 1 and job.steps == 2
    rows: list[Any] = []
    with SilentReporter().progress(job.title, job.steps) as progress:
        fit(job, rows.append, progress)
    assert len(rows) == 1 and {"loss", "val_loss", "dice_body", "dice_border"} <= rows[0].keys()

    model = build_network(settings, None, 0)
    load_weights(model, job.folder / "last.safetensors")
    held_out = [split.train[index] for index in (1, 4, 7)]
    whole = InferenceDataset(held_out, range(3), 32, build_normalisation(settings), reader(65535, settings.image))
    made = []
    for workers in (0, 2):
        loader = batches(whole, SizeBucketSampler([sample.size for sample in held_out], 32, 2), workers)
        found = predict(job.fabric, build_task(settings), [model], loader, settings.predict, 32, channels_last=True)
        made.append(dict(found))
    for index, sample in enumerate(held_out):
        assert made[0][index].maps.shape == (2, *sample.size)
        np.testing.assert_array_equal(made[0][index].maps, made[1][index].maps)


def test_all_options_of_a_network_are_trained_and_predicted(tmp_path: Path, contest: Contest, split: Split) -> None:
    samples = [replace(sample, meta={"city": "ab"[number % 2]}) for number, sample in enumerate(split.train)]
    samples[4] = replace(samples[4], meta={"city": "unseen"})
    contest = replace(contest, split=Split(tuple(samples), ()))
    options = {"hypercolumn": True, "deep_supervision": True, "presence": True, "attention": "scse"}
    told = {"column": "city", "values": ["a", "b"]}
    settings = settings_of(
        model={**options, "condition": told, "decoder_channels": [16] * 5}, decide={"kind": "watershed"}
    )
    job = job_of(settings, contest, tmp_path)
    heads = {name: value for name, value in job.model.named_parameters() if "_head" in name}
    before = {name: value.detach().clone() for name, value in heads.items()}
    rows: list[Any] = []
    with SilentReporter().progress(job.title, job.steps) as progress:
        fit(job, rows.append, progress)
    assert {"loss_deep", "loss_presence", "val_loss_presence", "dice_body"} <= rows[0].keys()
    assert "val_loss_deep" not in rows[0]
    assert {name.split(".")[0] for name in heads} == {"segmentation_head", "presence_head", "deep_heads"}
    assert not [name for name, value in heads.items() if torch.equal(value, before[name])]

    held_out = [samples[index] for index in (1, 4, 7)]
    whole = InferenceDataset(held_out, range(3), 32, build_normalisation(settings), reader(65535, settings.image))
    order = SizeBucketSampler([sample.size for sample in held_out], 32, 2)
    loader = batches(conditioned(whole, settings.model, held_out), order, 0)
    found = predict(job.fabric, build_task(settings), [job.model], loader, settings.predict, 32, channels_last=True)
    for index, prediction in found:
        assert prediction.channels == ("body", "border", "presence:body", "presence:border")
        assert prediction.maps.shape == (4, *held_out[index].size)
        assert all(len(np.unique(plane)) == 1 for plane in prediction.maps[2:])


def test_heads_that_no_loss_trains_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"loss.presence = 0 would leave the head of model.presence random"):
        settings_of(model={"presence": True}, loss={"presence": 0})
    with pytest.raises(ValidationError, match=r"loss.deep = 0 would leave the head of model.deep_supervision random"):
        settings_of(model={"deep_supervision": True}, loss={"deep": 0})
    with pytest.raises(ValidationError, match=r"model.presence needs a loss of terms"):
        SegmentSettings.model_validate(
            {
                **settings_of(model={"presence": True}).model_dump(exclude_unset=True),
                "loss": {"kind": "own", "name": "a"},
            }
        )


def test_networks_are_random_by_seed_and_fold() -> None:
    def first(seed: int, fold: int) -> torch.Tensor:
        return next(build_network(settings_of(seed=seed), None, fold).parameters())

    torch.manual_seed(99)
    start = first(3, 0)
    torch.rand(5)
    assert torch.equal(start, first(3, 0))
    assert not torch.equal(start, first(3, 1))
    assert not torch.equal(start, first(4, 0))


def test_the_cache_holds_targets_of_the_task(tmp_path: Path, contest: Contest, split: Split) -> None:
    kept = [filled(settings_of(loader={"cache": form}), contest, tmp_path) for form in ("memory", "file")]
    for cache in kept:
        assert cache.kept_bytes == sum(sample.size[0] * sample.size[1] * 5 for sample in split.train)
        image, target = cache[2]
        np.testing.assert_array_equal(image, np.asarray(Image.open(split.train[2].images[0])))
        assert isinstance(target, MapTarget)
        np.testing.assert_array_equal(target.maps[..., 0], labels_of(split.train[2]) > 0)
        assert target.maps[10, 17:24, 1].tolist() == [0, 1, 1, 1, 1, 0, 0]
    assert {path.suffix for path in tmp_path.iterdir()} == {".png"}


def test_contrast_of_the_config_counts_for_cache_and_prediction(tmp_path: Path, contest: Contest, split: Split) -> None:
    settings = settings_of(image={"contrast": "stretch"})
    image, _ = filled(settings, contest, tmp_path)[0]
    assert image.min() == 0 and image.max() == 255
    np.testing.assert_array_equal(image, reader(65535, settings.image)(split.train[0].images[0]))


def test_mistakes_of_the_config_come_before_the_training(tmp_path: Path, contest: Contest) -> None:
    with pytest.raises(ConfigError, match=r"^augment gives images of several sizes \(.* for s0, .* for s3\)"):
        job_of(settings_of(augment=[]), contest, tmp_path)
    with pytest.raises(ConfigError, match=r"^augment\[0\]: albumentations has no transform 'Cropp'"):
        job_of(settings_of(augment=[{"Cropp": {}}]), contest, tmp_path)
    with pytest.raises(ConfigError, match=r"^model.channels: instances give body, border, .*, not lumen$"):
        filled(settings_of(model={"channels": ["body", "lumen"]}), contest, tmp_path)


def test_bad_images_are_named_before_the_training(tmp_path: Path, contest: Contest, split: Split) -> None:
    whole = split.train[1].images[0].read_bytes()
    split.train[1].images[0].write_bytes(whole[:200])
    split.train[6].images[0].unlink()
    with pytest.raises(DataError, match=r"^2 bad samples: sample s1: .*1\.png: .*; sample s6: .*6\.png: No such file"):
        filled(settings_of(), contest, tmp_path)


def test_masks_of_several_classes_are_refused_before_training(tmp_path: Path, quiet: SilentReporter) -> None:
    """A submission of one class would say them all as foreground, and be graded 0."""
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(tmp_path / "a.png")
    samples = tuple(Sample(name, (tmp_path / "a.png",), (32, 40)) for name in "ab")

    def truth(data: Path, sample: Sample) -> Mask:
        return Mask(np.array([0, 1, 2, 255], np.uint8).repeat(320).reshape(32, 40))

    form = RleFormat(row_per="image")
    contest = Contest(
        Competition("toy", lambda _: Split(samples, ()), truth, _score, form), tmp_path, Split(samples, ())
    )
    settings = settings_of(model={"channels": ["one"]}, decide={"kind": "threshold"})
    with pytest.raises(DataError, match=r"2 bad samples: sample a: .*the values 0, 1, 2, 255 \(void\)"):
        filled_cache(contest, settings, target_maker(contest, settings), tmp_path, quiet)


def _score(truths: object, answers: object) -> Score:
    return Score(0.0, {}, {})


def street(tmp_path: Path) -> Contest:
    """Return a contest of three classes whose upper rows are void; all of the first sample is."""
    samples = []
    for number in range(8):
        sample = Sample(f"s{number}", (tmp_path / f"{number}.png",), (40, 40))
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(sample.images[0])
        samples.append(sample)

    def truth(data: Path, sample: Sample) -> Mask:
        values = np.zeros((40, 40), np.uint8)
        values[:, 10:20], values[:, 20:] = 1, 2
        void = np.zeros((40, 40), np.bool_)
        void[: 40 if sample.id == "s0" else 8] = True
        return Mask(np.where(void, np.uint8(0), values), void)

    split = Split(tuple(samples), ())
    unused: Any = None  # a format would say how classes are submitted
    return Contest(Competition("toy", lambda _: split, truth, score, unused), tmp_path, split)


SOFTMAX: dict[str, Any] = {
    "task": {"activation": "softmax"},
    "model": {"channels": ["road", "car", "sky"]},
    "loss": {"bce": 0.0, "ce": 1.0, "lovasz": 0.5},
    "decide": {"kind": "threshold"},
}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_classes_with_void_are_trained(tmp_path: Path, activation: str) -> None:
    changes = SOFTMAX if activation == "softmax" else SOFTMAX | {"task": {}, "loss": {}}
    rotated = [{"Affine": {"rotate": [-30, 30], "p": 1.0}}, {"RandomCrop": {"height": 32, "width": 32}}]
    settings = settings_of(**changes, augment=rotated)
    contest = street(tmp_path)
    job = job_of(settings, contest, tmp_path)
    batch = next(iter(job.train)).to(torch.device("cpu"), False)
    assert isinstance(batch.target, MapTargets) and batch.target.judged is not None
    assert (
        torch.equal(batch.target.maps.sum(dim=1, keepdim=True) > 0, batch.target.judged > 0) or activation == "sigmoid"
    )
    rows: list[Any] = []
    with SilentReporter().progress(job.title, job.steps) as progress:
        fit(job, rows.append, progress)
    assert {"loss", "val_loss", "dice_road", "dice_car", "dice_sky"} <= rows[0].keys()
    assert all(np.isfinite(value) for value in rows[0].values())


def test_the_cache_of_softmax_holds_a_byte_for_each_pixel(tmp_path: Path) -> None:
    contest = street(tmp_path)
    cache = filled(settings_of(**SOFTMAX), contest, tmp_path)
    assert cache.kept_bytes == 8 * 1600 * 4
    assert isinstance(cache[1][1], ClassTarget)
    cache = filled(settings_of(**(SOFTMAX | {"task": {}, "loss": {}})), contest, tmp_path)
    assert cache.kept_bytes == 8 * 1600 * (3 + 3 + 1)


class Broken(TimedProgress):
    """Ctrl-C after some batches; -1 never."""

    def __init__(self, batches: int):
        super().__init__(lambda _: None, "test", 1000, None)
        self.batches = batches

    def advance(self) -> None:
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


def test_a_training_with_stages_ends_the_same_wherever_it_was_stopped(tmp_path: Path, contest: Contest) -> None:
    """In the middle of the second stage, and between two stages."""
    stages = [{"epochs": 1, "bce": 1.0}, {"epochs": 1, "dice": 1.0}, {"lovasz": 1.0}]
    settings = settings_of(train={"epochs": 4}, checkpoint={"steps": 1})
    tree = settings.model_dump(mode="json") | {"loss": {"kind": "stages", "stages": stages}}
    settings = SegmentSettings.model_validate(tree)
    ended = []
    for name, stops in (("whole", []), ("middle", [4, 2]), ("between", [3])):
        for stop in [*stops, -1]:
            job = job_of(settings, contest, tmp_path, name)
            if stop > 0:
                with pytest.raises(KeyboardInterrupt):
                    fit(job, lambda row: None, Broken(stop))
            else:
                fit(job, lambda row: None, Broken(stop))
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            del row["seconds"]
        ended.append(((tmp_path / name / "last.safetensors").read_bytes(), rows))
    assert ended[0] == ended[1] == ended[2]
    parts = [{key for key in row if key.startswith("loss_")} for row in ended[0][1]]
    assert parts == [{"loss_bce"}, {"loss_dice"}, {"loss_lovasz"}, {"loss_lovasz"}]
    assert all("val_loss_lovasz" in row for row in ended[0][1])
