from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalist.data.items import reader
from medalist.data.preparing import normalise
from medalist.engine.checkpoint import load_weights
from medalist.errors import ConfigError, DataError, RunError, SearchError
from medalist.kinds import load_settings, run_settings
from medalist.records import Sample
from medalist.reporter import SilentReporter
from medalist.retrieval.contests import fold_splits
from medalist.retrieval.splits import identity_of
from medalist.runs.fold_weights import keep_hashes
from medalist.runs.runs import Run
from medalist.tasks.embed.embedding import embed_files, predict
from medalist.tasks.embed.features import kept_features
from medalist.tasks.embed.jobs import build_network, classes_of
from medalist.tasks.embed.loaded import frozen_weights
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import embedded, fold_prototypes, made_by, read_vectors, retrieval_of, stored
from medalist.tasks.jobs import open_devices
from medalist.tasks.pixels import read_of
from medalist.training.request import TrainRequest
from medalist.training.start import prepare
from medalist.training.train import train


def settings_of(made: Any) -> EmbedSettings:
    settings = run_settings(made.run)
    assert isinstance(settings, EmbedSettings)
    return settings


def file_of(run: Run, name: str) -> Path:
    store, part = stored(run, name)
    return store.path(part)


def request(
    made: Any,
    overrides: Sequence[str],
    folds: Sequence[int] = (),
    name: str | None = "other",
    config: Path | None = None,
    data: Path | None = None,
) -> TrainRequest:
    """To train a contest's config, or another one, on its data, or on others."""
    config, words = config or made.config, tuple(overrides)
    return TrainRequest(
        load_settings(config, words), config, words, str(data or made.data), tuple(folds), name, made.runs
    )


def by_hand(made: Any, fold: int, paths: list[Path]) -> np.ndarray:
    """The slow twin: the whole checkpoint, one image at a time."""
    settings, contest = settings_of(made), made.contest()
    held_out = set(made.run.folds().held_out(fold))
    training = [sample for sample in contest.split.train if sample.id not in held_out]
    network = build_network(settings, None, fold, classes_of(settings, training, retrieval_of(contest).new))
    load_weights(network, made.run.checkpoint(fold, "last"))
    read = reader(65535, settings.image)
    rows = []
    for path in paths:
        image = read(path)
        if settings.model.in_channels == 1:
            import cv2

            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        half = (0.5,) * settings.model.in_channels
        with torch.inference_mode():
            rows.append(network.eval()(torch.from_numpy(normalise(image, half, half))[None])[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("which", ["whales", pytest.param("signs", marks=pytest.mark.slow)])
def test_held_out_samples_are_embedded_by_the_network_that_did_not_see_them(
    which: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(which)
    paths = {sample.id: sample.images[0] for sample in made.contest().split.train}
    for fold in (0, 1):
        found = embedded(made.run, f"oof/fold{fold}", settings_of(made), [fold])
        splits = fold_splits(made.contest(), made.run.folds(), fold)
        assert set(found.ids) == {name for split in splits for name in (*split.queries, *split.gallery)}
        some = found.ids[:: max(1, len(found) // 5)]
        expected = by_hand(made, fold, [paths[name] for name in some])
        np.testing.assert_allclose(found.take(some), expected, atol=2e-5)


def test_a_closed_set_is_asked_of_the_training_part(whales: Any) -> None:
    (split,) = fold_splits(whales.contest(), whales.run.folds(), 0)
    assert set(split.queries) == set(whales.run.folds().held_out(0))
    assert set(split.gallery) == set(whales.run.folds().training(0))


def test_test_vectors_of_two_folds_have_the_mean_of_their_cosines(whales: Any, quiet: SilentReporter) -> None:
    predict(whales.run, settings_of(whales), whales.contest(), None, quiet)
    queries = read_vectors(whales.run, "test/queries")
    gallery = read_vectors(whales.run, "test/gallery")
    split = whales.contest().split
    assert queries.ids == tuple(sample.id for sample in split.test)
    assert gallery.ids == tuple(sample.id for sample in split.train), "identities are those of the training samples"
    folds = [
        (
            by_hand(whales, k, [s.images[0] for s in split.test[:4]]),
            by_hand(whales, k, [s.images[0] for s in split.train[:5]]),
        )
        for k in (0, 1)
    ]
    mean = sum(asks @ answers.T for asks, answers in folds) / 2
    np.testing.assert_allclose(queries.vectors[:4] @ gallery.vectors[:5].T, mean, atol=2e-5)


def test_what_is_embedded_is_not_embedded_again(
    whales: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_of(whales.run, "oof/fold0").stat().st_mtime_ns
    monkeypatch.setattr("medalist.tasks.embed.embedding.load_networks", None)
    predict(whales.run, settings_of(whales), whales.contest(), 0, quiet)
    assert file_of(whales.run, "oof/fold0").stat().st_mtime_ns == before


def test_other_views_make_other_vectors(whales: Any, quiet: SilentReporter) -> None:
    settings = settings_of(whales)
    before = np.array(read_vectors(whales.run, "oof/fold0").vectors)
    mirrored = settings.model_copy(update={"predict": settings.predict.model_copy(update={"tta": "mirror"})})
    predict(whales.run, mirrored, whales.contest(), 0, quiet)
    after = read_vectors(whales.run, "oof/fold0")
    assert not np.allclose(before, after.vectors)
    assert json.loads(after.made_by["predict"]) == {"tta": "mirror"}
    assert embedded(whales.run, "oof/fold0", settings, [0]).ids == after.ids, "views may differ, weights may not"


def test_vectors_of_other_weights_are_refused(whales: Any) -> None:
    checkpoint = whales.run.checkpoint(0, "last")
    checkpoint.write_bytes(whales.run.checkpoint(1, "last").read_bytes())
    with pytest.raises(RunError, match=r"holds the weights of fold 1"):
        embedded(whales.run, "oof/fold0", settings_of(whales), [0])
    checkpoint.write_bytes(b"trained again")
    keep_hashes(whales.run, 0)
    with pytest.raises(
        RunError, match=r"come from other weights; run medalist predict humpback_whale/tiny --split oof"
    ):
        embedded(whales.run, "oof/fold0", settings_of(whales), [0])


def test_class_prototypes_are_those_of_identities_as_they_are(whales: Any) -> None:
    """Mirrored whales are classes of their own, and new_whale is none."""
    contest, held_out = whales.contest(), set(whales.run.folds().held_out(0))
    prototypes = fold_prototypes(whales.run, [0])
    assert prototypes is not None
    known = {identity_of(sample) for sample in contest.split.train if sample.id not in held_out} - {"new_whale"}
    assert sorted(prototypes.names) == sorted([*known, *known]), "two sub-centres each"
    both = fold_prototypes(whales.run, [0, 1])
    assert both is not None and both.vectors.shape[1] == 16
    assert set(both.names) == set(prototypes.names) & set(getattr(fold_prototypes(whales.run, [1]), "names", ()))


def test_a_run_without_class_prototypes_has_none(signs: Any) -> None:
    assert fold_prototypes(signs.run, [0]) is None


def test_files_are_embedded_as_samples_are(whales: Any, quiet: SilentReporter) -> None:
    samples = whales.contest().split.train[:7]
    files = [(f"photo {number}", sample.images[0]) for number, sample in enumerate(samples)]
    found, left_out = embed_files(whales.run, settings_of(whales), files, quiet, fold=0)
    assert found.ids == tuple(name for name, _ in files) and left_out == []
    np.testing.assert_allclose(found.vectors, by_hand(whales, 0, [path for _, path in files]), atol=2e-5)
    assert dict(found.made_by) == made_by(whales.run, settings_of(whales), [0])
    every, _ = embed_files(whales.run, settings_of(whales), files, quiet)
    assert every.dim == 2 * found.dim and every.space != found.space


def test_files_that_cannot_be_read_are_all_named_or_left_out(
    whales: Any, quiet: SilentReporter, tmp_path: Path
) -> None:
    good = [(sample.id, sample.images[0]) for sample in whales.contest().split.train[:5]]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good[0][1].read_bytes()[:200])
    empty = tmp_path / "empty.png"
    empty.touch()
    files = [good[0], ("cut", cut), *good[1:3], ("empty", empty), *good[3:]]
    with pytest.raises(DataError) as caught:
        embed_files(whales.run, settings_of(whales), files, quiet)
    message = str(caught.value)
    assert "2 of 7 images cannot be read: cut: " in message and "; empty: " in message and "--skip-bad" in message
    assert "\n" not in message
    found, left_out = embed_files(whales.run, settings_of(whales), files, quiet, skip_bad=True)
    assert found.ids == tuple(name for name, _ in good)
    assert [line.partition(":")[0] for line in left_out] == ["cut", "empty"]
    whole, _ = embed_files(whales.run, settings_of(whales), good, quiet)
    np.testing.assert_allclose(found.vectors, whole.vectors, atol=2e-5)


@pytest.mark.parametrize(
    ("files", "fold", "words"),
    [([], None, "no images to embed"), ([("a", Path("a.png"))], 7, "has no trained fold 7")],
)
def test_nothing_to_embed_is_told(whales: Any, quiet: SilentReporter, files: Any, fold: int | None, words: str) -> None:
    with pytest.raises((DataError, RunError), match=words):
        embed_files(whales.run, settings_of(whales), files, quiet, fold=fold)


def test_an_id_twice_is_refused(whales: Any, quiet: SilentReporter) -> None:
    path = whales.contest().split.train[0].images[0]
    with pytest.raises(SearchError, match="ids are repeated"):
        embed_files(whales.run, settings_of(whales), [("a", path), ("a", path)], quiet)


FROZEN = """\
competition: humpback_whale
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed}
image: {size: [32, 48]}
model: {encoder: tf_efficientnet_lite0, frozen: true, pooling: POOLING, dim: 8}
loss: {terms: [{kind: cosface}]}
train: {epochs: 2, batch: 8, precision: 32-true}
tracking: none
"""


@pytest.mark.parametrize("pooling", [pytest.param("avg", marks=pytest.mark.slow), "gem"])
def test_a_head_on_kept_features_is_that_of_the_whole_network(
    whales: Any, quiet: SilentReporter, pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "frozen.yaml"
    config.write_text(FROZEN.replace("POOLING", pooling))
    run = train(prepare(request(whales, [], [0], None, config)), quiet)
    kept = sorted((whales.runs / "humpback_whale" / "features").glob("*.npy"))
    assert len(kept) == 1, "fold 0 embeds all training samples: queries and gallery"
    assert "encoder" not in "".join(run.checkpoint(0, "last").read_bytes()[:2000].decode("latin1"))
    found = read_vectors(run, "oof/fold0")
    paths = {sample.id: sample.images[0] for sample in whales.contest().split.train}
    files = [(name, paths[name]) for name in found.ids[:9]]
    settings = run_settings(run)
    assert isinstance(settings, EmbedSettings)
    whole, _ = embed_files(run, settings, files, quiet, fold=0)
    tolerance = 1e-4 if pooling == "avg" else 5e-3  # maps are kept as halves
    np.testing.assert_allclose(whole.vectors, found.vectors[:9], atol=tolerance)
    # Images of the same names and sizes with other pixels have other features.
    samples = [sample for sample in whales.contest().split.train if sample.id in set(found.ids)]
    smallest, *_, largest = sorted((sample.images[0] for sample in samples), key=lambda path: path.stat().st_size)
    data, other = largest.read_bytes(), smallest.read_bytes()
    before = kept[0].read_bytes()
    largest.write_bytes(other.ljust(len(data), b"\0"))  # what follows the end of a JPEG is not read
    how = (frozen_weights(run, settings), samples, read_of(whales.contest(), settings), open_devices(settings))
    kept_features(settings, *how, run.folder.parent, quiet)
    assert kept[0].read_bytes() != before
    largest.write_bytes(data)
    kept_features(settings, *how, run.folder.parent, quiet)
    assert kept[0].read_bytes() == before
    # Another head finds the features there.
    monkeypatch.setattr("medalist.tasks.embed.features.build_encoder", None)
    other = train(prepare(request(whales, ["train.lr=1e-2"], [0], None, config)), quiet)
    assert not np.allclose(read_vectors(other, "oof/fold0").vectors, found.vectors)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("image.size=[64, 64]", "augment gives 48x32"),
        ("task.rare=1000", "0 of"),
        ("sampler.classes=500", "sampler.classes = 500"),
        ("model.encoder=resnet33", "encoder 'resnet33' is not in timm"),
        ("competition=toy_nuclei", "does not ask for identities"),
    ],
)
def test_what_cannot_be_trained_is_told_before(whales: Any, override: str, words: str, drawn: Path) -> None:
    data = drawn if "toy" in override else whales.data
    crop = "augment=[{RandomCrop: {height: 32, width: 48, pad_if_needed: true}}]"
    with pytest.raises(ConfigError, match=words):
        setup = prepare(request(whales, [override, crop], data=data))
        train(setup, SilentReporter())


def test_nothing_is_left_of_a_run_whose_batches_cannot_be_filled(whales: Any) -> None:
    few = min(len({identity_of(one) for one in training(whales, fold)} - {"new_whale"}) for fold in (0, 1))
    for classes in (500, 2 * few + 1):  # mirrored ones count too; the other fold may have more
        with pytest.raises(ConfigError, match=f"sampler.classes = {classes}"):
            prepare(request(whales, [f"sampler.classes={classes}"]))
    assert not (whales.run.folder.parent / "other").exists()


def training(made: Any, fold: int) -> list[Sample]:
    held_out = set(made.run.folds().held_out(fold))
    return [sample for sample in made.contest().split.train if sample.id not in held_out]
