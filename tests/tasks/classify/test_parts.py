"""Targets, the training dataset, the network and the task, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from medalist.data.cache import PixelCache
from medalist.data.items import Normalisation
from medalist.data.loader import Batch
from medalist.data.targets import LabelTarget, LabelTargets
from medalist.errors import ConfigError, DataError, FoldError
from medalist.metrics.labels import accuracy, f1, quadratic_kappa, roc_auc
from medalist.records import Labels, Sample
from medalist.tasks.classify.classes import classes_of
from medalist.tasks.classify.datasets import LabelTrainDataset
from medalist.tasks.classify.jobs import refuse_absent, stratum_of
from medalist.tasks.classify.losses import LabelLoss
from medalist.tasks.classify.network import CoralLayer, build_network
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.classify.targets import all_targets, label_target
from medalist.tasks.classify.task import ClassifyTask, Mode

from .conftest import CLASSES, Bodies

NUMBER = {name: at for at, name in enumerate(CLASSES)}


def sample(name: str = "s") -> Sample:
    return Sample(name, (Path(f"{name}.png"),), (8, 8))


def batch(values: object, partners: object = None) -> Batch:
    targets = torch.tensor(values)
    others = None if partners is None else (torch.tensor(partners[0]), torch.tensor(partners[1]))  # type: ignore[index]
    indices = tuple(range(len(targets)))
    return Batch(torch.zeros(len(targets), 3, 8, 8), LabelTargets(targets, others), indices, ((8, 8),) * len(targets))


def task(kind: str, mode: Mode, classes: int = 3) -> ClassifyTask:
    from pydantic import TypeAdapter

    from medalist.tasks.classify.loss_settings import LossConfig

    config: LossConfig = TypeAdapter(LossConfig).validate_python({"kind": kind})
    return ClassifyTask(LabelLoss(config, CLASSES[:classes], [1] * classes), mode, classes)


def test_a_target_is_a_class_or_a_flag_for_each() -> None:
    assert label_target(Labels(("cat",)), sample(), NUMBER, False).value.tolist() == 2
    assert label_target(Labels(("cat", "ant")), sample(), NUMBER, True).value.tolist() == [1, 0, 1, 0]
    assert label_target(Labels(()), sample(), NUMBER, True).value.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("names", "words"),
    [(("ctt",), "label 'ctt' is not among the 4 classes"), ((), "has 0 labels"), (("ant", "bee"), "has 2 labels")],
)
def test_labels_that_make_no_target_are_named(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        label_target(Labels(names), sample(), NUMBER, False)


def test_targets_of_a_contest_are_in_the_order_of_its_samples(drawn_bodies: Bodies) -> None:
    contest = drawn_bodies.contest("bodies.several")
    found = all_targets(contest, contest.split.train, True)
    names = [tuple(name for name, has in zip(CLASSES, target.value, strict=True) if has) for target in found]
    assert names == [one.annotation for one in contest.split.train]
    with pytest.raises(DataError, match=r"\d+ bad labels: sample b00: sample b00 has 0 labels"):
        all_targets(contest, contest.split.train, False)


def test_classes_are_those_of_the_format(drawn_bodies: Bodies) -> None:
    assert classes_of(drawn_bodies.contest("bodies.grades")) == CLASSES


def dataset(augment: str, size: tuple[int, int] = (8, 8)) -> LabelTrainDataset:
    from pydantic import TypeAdapter

    from medalist.data.settings import Augmentations

    steps: Augmentations = TypeAdapter(Augmentations).validate_json(augment)
    ramp = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    cache = PixelCache(lambda one: (ramp, None), [sample("a"), sample("b")])
    targets = [LabelTarget(np.asarray(1, np.int64))]
    return LabelTrainDataset(cache, [1], targets, steps, Normalisation((0.0,) * 3, (1.0,) * 3), 7, size)


def test_a_training_sample_keeps_its_label_and_its_index_under_augmentation() -> None:
    item = dataset('[{"HorizontalFlip": {"p": 1.0}}]')[0, 0]
    plain = dataset("[]")[0, 0]
    assert item.index == 1 and isinstance(item.target, LabelTarget) and int(item.target.value) == 1
    assert np.array_equal(np.asarray(item.image), np.asarray(plain.image)[:, :, ::-1])


def test_augmentation_depends_on_the_epoch_and_the_sample_alone() -> None:
    made = dataset('[{"RandomBrightnessContrast": {"p": 1.0}}]')
    first, again, later = (np.asarray(made[epoch, 0].image) for epoch in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, later)


def test_augmentation_that_ends_in_another_size_is_refused() -> None:
    made = dataset('[{"RandomCrop": {"height": 4, "width": 4}}]')
    with pytest.raises(ConfigError, match="8x8"):
        made.check()


def test_mixed_labels_count_by_their_share() -> None:
    outputs = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    made = task("cross_entropy", "single")
    own = made.loss(outputs, batch([0, 1]))["loss"]
    other = made.loss(outputs, batch([2, 2]))["loss"]
    mixed = made.loss(outputs, batch([0, 1], ([2, 2], [0.75, 0.75])))["loss"]
    assert mixed.item() == pytest.approx((0.75 * own + 0.25 * other).item(), rel=1e-5)


def validated(made: ClassifyTask, outputs: np.ndarray, values: list[object], size: int = 4) -> dict[str, float]:
    parts = []
    for start in range(0, len(values), size):
        one = batch(values[start : start + size])
        rows = tuple(range(start, start + len(one.indices)))
        part = replace(one, indices=rows)
        parts.append((torch.tensor(outputs[start : start + size], dtype=torch.float32), part))
    return made.validate(iter(parts), Fabric(accelerator="cpu", devices=1))


def test_validation_says_what_the_metrics_say() -> None:
    rng = np.random.default_rng(0)
    names = [f"s{number}" for number in range(11)]
    outputs = rng.normal(size=(11, 3))
    truth = rng.integers(0, 3, 11)
    truths = {name: Labels((CLASSES[at],)) for name, at in zip(names, truth, strict=True)}
    best = {name: Labels((CLASSES[at],)) for name, at in zip(names, outputs.argmax(axis=1), strict=True)}
    found = validated(task("cross_entropy", "single"), outputs, truth.tolist())
    assert found["accuracy"] == pytest.approx(accuracy(truths, best).value)
    grades = rng.uniform(-1, 3, (11, 1))
    found = validated(task("regression", "ordinal"), grades, truth.tolist())
    cut = np.clip(np.rint(grades[:, 0].astype(np.float32)), 0, 2).astype(int)
    answers = {name: Labels((CLASSES[at],)) for name, at in zip(names, cut, strict=True)}
    assert found["kappa"] == pytest.approx(quadratic_kappa(CLASSES[:3])(truths, answers).value)
    flags = rng.random((11, 3)) < 0.5
    p = 1 / (1 + np.exp(-outputs.astype(np.float32).astype(np.float64)))
    many = {name: Labels(tuple(np.array(CLASSES[:3])[row])) for name, row in zip(names, flags, strict=True)}
    said = {name: Labels(tuple(np.array(CLASSES[:3])[row > 0.5]), row) for name, row in zip(names, p, strict=True)}
    found = validated(task("bce", "multi"), outputs, flags.astype(np.float32).tolist())
    assert found["auc"] == pytest.approx(roc_auc(CLASSES[:3])(many, said).value)
    assert found["f1"] == pytest.approx(f1(CLASSES[:3], "macro")(many, said).value)


def test_validation_does_not_depend_on_batches() -> None:
    rng = np.random.default_rng(1)
    outputs, truth = rng.normal(size=(9, 3)), rng.integers(0, 3, 9).tolist()
    made = task("focal", "single")
    assert validated(made, outputs, truth, 2) == validated(made, outputs, truth, 9)


def test_a_fold_of_one_label_has_no_auc() -> None:
    found = validated(task("bce", "multi"), np.zeros((2, 3)), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert "auc" not in found and np.isfinite(list(found.values())).all()


def test_strata_are_classes_or_sets_of_them() -> None:
    assert stratum_of(LabelTarget(np.asarray(2, np.int64)), CLASSES) == "cat"
    assert stratum_of(LabelTarget(np.float32([1, 0, 1, 0])), CLASSES) == "ant cat"
    assert stratum_of(LabelTarget(np.float32([0, 0, 0, 0])), CLASSES) == "no label"


def test_absent_classes(settings_of: Callable[..., ClassifySettings]) -> None:
    with pytest.raises(FoldError, match=r"fold 1 has no sample of 2 of 4 classes \('bee', 'dog'\)"):
        refuse_absent(settings_of("bodies"), CLASSES, (3, 0, 1, 0), 1)
    refuse_absent(settings_of("bodies", "task.absent=allow"), CLASSES, (3, 0, 1, 0), 1)


@pytest.mark.parametrize(
    ("name", "changes", "outputs"),
    [
        ("bodies", (), 4),
        ("bodies.several", (), 4),
        ("bodies.grades", (), 3),
        ("bodies.grades", ("loss={kind: regression}",), 1),
        ("bodies", ("model.pooling=gem", "model.neck=linear_bn", "model.dim=6"), 4),
        ("bodies", ("model.pooling=flat",), 4),
    ],
)
def test_networks_give_as_many_numbers_as_the_loss_takes(
    name: str, changes: tuple[str, ...], outputs: int, settings_of: Callable[..., Any]
) -> None:
    model = build_network(settings_of(name, *changes), None, 0, 4).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, outputs)


def test_networks_depend_on_seed_and_fold_alone(settings_of: Callable[..., Any]) -> None:
    one, again, other = (build_network(settings_of("bodies"), None, fold, 4).state_dict() for fold in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_coral_steps_share_one_slope() -> None:
    layer = CoralLayer(5, 4)
    first, second = layer(torch.zeros(5)), layer(torch.ones(5))
    assert first.shape == (3,) and torch.allclose(second - first, (second - first)[0].expand(3))
    assert (first[:-1] > first[1:]).all()
