"""From settings to a training on files, with a real network: the parts together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalist.data.cache import Decoded, PixelCache
from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.items import reader
from medalist.data.loader import Batch
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.targets import LabelTargets
from medalist.engine.job import TrainJob
from medalist.engine.train import fit
from medalist.errors import ConfigError
from medalist.folds.folds import Folds
from medalist.records import Sample
from medalist.reporter import SilentReporter
from medalist.tasks.embed.jobs import build_criterion, build_job, build_network, classes_of
from medalist.tasks.embed.network import build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.jobs import FoldPlace, open_devices

SIZE = (32, 32)
WHO = ("ann", "ann", "bob", "bob", "cid", "cid", "dan", "new", "ann", "bob", "eve", "new")
SAMPLES = tuple(
    Sample(f"s{number}", (Path(f"{number}.png"),), SIZE, (who,), group="ab"[who > "b"])
    for number, who in enumerate(WHO)
)
FOLDS = Folds(
    {sample.id: int(number >= 8) for number, sample in enumerate(SAMPLES)},
    dict.fromkeys("x"),
    dict.fromkeys("x"),
    2,
    0,
)
"""Fold 1 holds out the last four: two known identities, one that is seen nowhere else, one without a name."""


def settings_of(**changes: Any) -> EmbedSettings:
    tree: dict[str, Any] = {
        "competition": "toy",
        "seed": 3,
        "task": {"kind": "embed"},
        "image": {"size": list(SIZE)},
        "model": {"encoder": "test_resnet", "weights": "none", "pooling": "avg", "dim": 8},
        "loss": {"terms": [{"kind": "arcface", "margin": 0.1, "scale": 10, "prototypes": 2}, {"kind": "triplet"}]},
        "sampler": {"kind": "pxk", "classes": 2, "per_class": 2},
        "train": {"epochs": 1, "batch": 3, "schedule": "constant", "warmup": 0.0},
    }
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return EmbedSettings.model_validate(tree)


def decode(sample: Sample) -> Decoded:
    return np.random.default_rng(int(sample.id[1:])).integers(0, 256, (*SIZE, 3), np.uint8), None


def job_of(settings: EmbedSettings, folder: Path, new: str | None = "new", source: Any = None) -> TrainJob:
    if source is None:
        source = PixelCache(decode, SAMPLES)
        source.fill(10_000_000)
    read, place = reader(65535, settings.image), FoldPlace(FOLDS, 1, folder / "fold1")
    return build_job(settings, open_devices(settings), source, SAMPLES, place, None, read, new)


def labels_of(batch: Batch) -> list[int]:
    assert isinstance(batch.target, LabelTargets)
    return batch.target.values.tolist()


def test_classes_are_the_known_identities_with_samples_enough() -> None:
    found = classes_of(settings_of(), SAMPLES[:8], "new")
    assert found.names == ("ann", "bob", "cid", "dan") and found.sizes == (2, 2, 2, 1) and found.composed == ()
    assert found.number == {"ann": 0, "bob": 1, "cid": 2, "dan": 3}
    assert classes_of(settings_of(), SAMPLES[:8], None).names == ("ann", "bob", "cid", "dan", "new")
    assert classes_of(settings_of(task={"rare": 2}), SAMPLES[:8], "new").names == ("ann", "bob", "cid")


def test_composed_identities_are_made_of_those_with_two_samples() -> None:
    found = classes_of(settings_of(task={"composed": 7}), SAMPLES[:8], "new")
    assert len(found.composed) == 7
    assert {part.identity for made in found.composed for part in (made.first, made.second)} <= {0, 1, 2}
    with pytest.raises(ConfigError, match=r"^task\.composed = 7 needs two identities with at least two"):
        classes_of(settings_of(task={"composed": 7}), [SAMPLES[0], SAMPLES[1], SAMPLES[6]], None)


@pytest.mark.parametrize(("samples", "rare", "said"), [(SAMPLES[:2], 1, "1 of 1"), (SAMPLES[:8], 3, "0 of 5")])
def test_fewer_than_two_identities_cannot_be_told_apart(samples: list[Sample], rare: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{said} identities .*task\.rare = {rare} .*; at least two are needed"):
        classes_of(settings_of(task={"rare": rare}), samples, "new")


def test_a_loss_has_a_class_for_each_view_and_composition() -> None:
    for task, classes in (({}, 4), ({"mirrored": True}, 8), ({"turns": True, "composed": 3}, 19)):
        settings = settings_of(task=task)
        criterion = build_criterion(settings, 8, classes_of(settings, SAMPLES[:8], "new"))
        found = criterion.prototypes()
        assert found is not None
        assert sorted(found[1].tolist()) == [number for number in range(classes) for _ in range(2)]


def test_networks_are_random_by_seed_and_fold() -> None:
    def everything(seed: int, fold: int) -> torch.Tensor:
        settings = settings_of(seed=seed)
        network = build_network(settings, None, fold, classes_of(settings, SAMPLES[:8], "new"))
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    torch.manual_seed(99)
    start = everything(3, 0)
    torch.rand(5)
    assert torch.equal(start, everything(3, 0)), "the prototypes of the loss too"
    assert not torch.equal(start, everything(3, 1))
    assert not torch.equal(start, everything(4, 0))


def test_a_fold_is_trained_on_known_identities_and_validated_on_all_that_it_holds_out(tmp_path: Path) -> None:
    job = job_of(settings_of(), tmp_path)
    assert (job.title, job.fold, job.folder, job.names[9]) == ("fold 1", 1, tmp_path / "fold1", "s9")
    for batch in job.train:
        for index, label in zip(batch.indices, labels_of(batch), strict=True):
            assert ("ann", "bob", "cid", "dan")[label] == WHO[index] and index < 8
    held = {
        index: label for batch in job.held_out for index, label in zip(batch.indices, labels_of(batch), strict=True)
    }
    assert held == {8: 0, 9: 1, 10: 4, 11: 5}, "numbers among the identities of all samples"
    rows: list[Any] = []
    with SilentReporter().progress(job.title, job.steps) as progress:
        fit(job, rows.append, progress)
    assert len(rows) == 1 and {"loss", "val_loss"} <= rows[0].keys()
    assert (job.folder / "last.safetensors").is_file()


def test_an_identity_without_a_name_is_one_like_any_other_where_the_contest_has_none(tmp_path: Path) -> None:
    trained = {
        index for batch in job_of(settings_of(sampler={"classes": 5}), tmp_path, None).train for index in batch.indices
    }
    assert 7 in trained


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ({"kind": "shuffle"}, ShuffleBatchSampler),
        ({"kind": "pxk", "classes": 2, "per_class": 2}, ClassBatchSampler),
    ],
)
def test_the_sampler_is_that_of_the_config(tmp_path: Path, sampler: dict[str, Any], kind: type) -> None:
    settings = EmbedSettings.model_validate({**settings_of().model_dump(), "sampler": sampler})
    job = job_of(settings, tmp_path)
    assert isinstance(job.sampler, kind)
    assert {len(batch.indices) for batch in job.train} == {3 if kind is ShuffleBatchSampler else 4}


def test_turned_identities_are_classes_of_their_own(tmp_path: Path) -> None:
    job = job_of(settings_of(task={"turns": True}, sampler={"classes": 8}), tmp_path)
    seen = [pair for batch in job.train for pair in zip(batch.indices, labels_of(batch), strict=True)]
    assert {("ann", "bob", "cid", "dan").index(WHO[index]) for index, _ in seen} == {label // 4 for _, label in seen}
    assert all(("ann", "bob", "cid", "dan")[label // 4] == WHO[index] for index, label in seen)
    assert len({label % 4 for _, label in seen}) > 1


def test_a_head_is_trained_on_rows_of_features(tmp_path: Path) -> None:
    settings = settings_of(augment=[])
    network = build_network(settings, None, 1, classes_of(settings, SAMPLES[:8], "new"))
    width = network.encoder.width
    features = np.random.default_rng(0).normal(size=(len(SAMPLES), width, 1, 1)).astype(np.float32)
    job = job_of(settings, tmp_path, source=features)
    assert job.model is not network and not any(name.startswith("encoder") for name in job.model.state_dict())
    for batch in (*job.train, *job.held_out):
        np.testing.assert_array_equal(batch.image.numpy(), features[list(batch.indices)])
    with SilentReporter().progress(job.title, job.steps) as progress:
        fit(job, lambda row: None, progress)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment": [{"RandomCrop": {"height": 24, "width": 24}}]}, r"^augment gives 24x24 for s0"),
        ({"sampler": {"classes": 5}}, r"^sampler\.classes = 5"),
        ({"task": {"rare": 3}}, r"at least two are needed"),
        ({"augment": [{"Cropp": {}}]}, r"^augment\[0\]: albumentations has no transform 'Cropp'"),
    ],
)
def test_mistakes_of_the_config_come_before_the_training(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        job_of(settings_of(**changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_normalisation_has_the_channels_of_the_network() -> None:
    assert build_normalisation(settings_of()).mean == (0.5,) * 3
    assert build_normalisation(settings_of(model={"in_channels": 1})).std == (0.5,)
