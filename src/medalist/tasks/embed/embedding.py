"""Embeddings of a run: of held-out samples, of the test part, and of any image files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.data.dataset import Item, Key, Read, reader
from medalist.data.features import FeatureDataset
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import Batch, batches
from medalist.data.padding import Padding
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import LabelTarget, LabelTargets
from medalist.engine.checkpoint import load_part, load_weights
from medalist.engine.devices import first_alone
from medalist.engine.rows import merged_rows
from medalist.errors import DataError, RunError
from medalist.models.backbone import build_encoder
from medalist.models.weights import Resolved, encoder_weights
from medalist.processes import place
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.retrieval.contests import fold_splits
from medalist.runs.runs import Run
from medalist.search.gallery import Embeddings
from medalist.tasks.embed.datasets import views_of
from medalist.tasks.embed.features import kept_features
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.jobs import build_criterion, build_normalisation, classes_of
from medalist.tasks.embed.losses.settings import MarginTerm
from medalist.tasks.embed.network import Embedder, Head
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import (
    is_embedded,
    made_by,
    prototypes_name,
    read_vectors,
    retrieval_of,
    stored,
    test_parts,
)
from medalist.tasks.jobs import open_devices, to_predict, trained_or_refuse
from medalist.tasks.pixels import read_of

NAMED_AT_MOST = 10

_GOOD, _BAD = LabelTarget(np.array(0, np.int64)), LabelTarget(np.array(1, np.int64))
"""What `_Marked` says of an image."""

CRITERION = "criterion."
"""Part of the names of a loss's own tensors in a checkpoint."""


def predict(run: Run, settings: EmbedSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Embed what a fold's splits ask and answer with, by the network that did not see it; of None the test part.

    In contests of known identities the gallery is the fold's training part, which that network has seen, as the one
    that answers the test part will have. The test part's queries and gallery are embedded by all trained folds.
    Nothing where that is done.
    """
    if fold is None:
        trained = trained_or_refuse(run)
        queries, gallery = test_parts(contest)
        _embed(run, settings, contest, trained, contest.split.test, queries, reporter)
        if gallery != queries:
            _embed(run, settings, contest, trained, contest.split.gallery or contest.split.train, gallery, reporter)
        return
    splits = fold_splits(contest, run.folds(), fold)
    wanted = {name for split in splits for name in (*split.queries, *split.gallery)}
    samples = [sample for sample in contest.split.train if sample.id in wanted]
    _embed(run, settings, contest, [fold], samples, f"oof/fold{fold}", reporter)
    _keep_prototypes(run, settings, contest, fold)


def embed_files(
    run: Run,
    settings: EmbedSettings,
    files: Sequence[tuple[str, Path]],
    reporter: Reporter,
    fold: int | None = None,
    skip_bad: bool = False,
) -> tuple[Embeddings, list[str]]:
    """Embed image files (id, path) with all trained folds, or with one; returns also a line for each file left out.

    Without `skip_bad` one DataError names all files that cannot be read. Raises RunError where nothing was trained.
    """
    folds = run.trained_folds() if fold is None else [fold]
    if not folds or not set(folds) <= set(run.trained_folds()):
        what = "no trained fold" if fold is None else f"no trained fold {fold}"
        raise RunError(f"{run.folder} has {what}; run medalist train first")
    read = reader(load_competition(settings.competition).white, settings.image)
    samples = [Sample(name, (path,), (0, 0)) for name, path in files]
    networks = _networks(run, settings, folds)
    vectors, bad = _vectors(settings, networks, _Marked(_whole(settings, samples, read)), len(samples), reporter)
    lines = []
    for index in bad:
        try:
            read(samples[index].images[0])
        except DataError as error:
            lines.append(f"{samples[index].id}: {error}")
    if bad and not skip_bad:
        more = f"; and {len(lines) - NAMED_AT_MOST} more" if len(lines) > NAMED_AT_MOST else ""
        raise DataError(
            f"{len(bad)} of {len(files)} images cannot be read: {'; '.join(lines[:NAMED_AT_MOST])}{more}; mend them, "
            "or leave them out with --skip-bad"
        )
    good = np.setdiff1d(np.arange(len(samples)), bad)
    ids = tuple(samples[index].id for index in good)
    return Embeddings(ids, vectors[good], made_by(run, settings, folds)), lines


def made_of(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> dict[str, str]:
    """What decides the vectors of these folds' networks."""
    return made_by(run, settings, folds)


def _embed(
    run: Run,
    settings: EmbedSettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    name: str,
    reporter: Reporter,
) -> None:
    store, part = stored(run, name)
    ids, made = tuple(sample.id for sample in samples), made_by(run, settings, folds)
    if is_embedded(run, name):
        known = store.read(part)
        if known.ids == ids and dict(known.made_by) == made:
            return
    networks = _networks(run, settings, folds)
    read = read_of(contest, settings)
    source: Dataset[Item] = _whole(settings, samples, read)
    if settings.model.frozen and settings.predict.tta == "none":
        fabric, home = open_devices(settings), run.folder.parent
        weights = _encoder_of(run, settings)
        features = first_alone(fabric, lambda: kept_features(settings, weights, samples, read, fabric, home, reporter))
        source, networks = FeatureDataset(features, range(len(samples))), replace(networks, shared=None)
    vectors, _ = _vectors(settings, networks, source, len(samples), reporter, f"embed {name}", store.folder)
    fabric = open_devices(settings)
    if fabric.is_global_zero:
        store.write(part, Embeddings(ids, vectors, made))
    fabric.barrier()


def _keep_prototypes(run: Run, settings: EmbedSettings, contest: Contest, fold: int) -> None:
    """Write the class prototypes that a fold's loss has learned, where it learns any; turned identities left out."""
    if not any(isinstance(term, MarginTerm) for term in settings.loss.terms):
        return
    made, name = made_by(run, settings, [fold]), prototypes_name(fold)
    if place().rank or (is_embedded(run, name) and dict(read_vectors(run, name).made_by) == made):
        return
    held_out = set(run.folds().held_out(fold))
    training = [sample for sample in contest.split.train if sample.id not in held_out]
    classes = classes_of(settings, training, retrieval_of(contest).new)
    criterion = build_criterion(settings, read_vectors(run, f"oof/fold{fold}").dim, classes)
    load_part(criterion, run.checkpoint(fold, settings.train.keep), CRITERION)
    found = criterion.prototypes()
    assert found is not None
    views = len(views_of(settings.task.turns, settings.task.mirrored))
    seen: Counter[str] = Counter()
    ids, rows = [], []
    for row, label in enumerate(found[1].tolist()):
        if label % views == 0 and label < views * len(classes.names):  # composed identities come after them
            identity = classes.names[label // views]
            ids.append(f"{seen[identity]}/{identity}")
            seen[identity] += 1
            rows.append(row)
    store, part = stored(run, name)
    store.write(part, Embeddings(tuple(ids), found[0][rows].numpy(), made))


def _whole(settings: EmbedSettings, samples: Sequence[Sample], read: Read) -> FittedInferenceDataset:
    norm, channels = build_normalisation(settings), settings.model.in_channels
    return FittedInferenceDataset(samples, range(len(samples)), settings.image.size, norm, read, channels=channels)


@dataclass(frozen=True, eq=False)
class _Networks:
    """The networks of some folds, without their losses; frozen encoders are one, and the networks heads on it."""

    models: tuple[nn.Module, ...]
    shared: nn.Module | None = None


def _networks(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> _Networks:
    models: list[nn.Module] = []
    weights, size = _encoder_of(run, settings), settings.image.size
    encoder = build_encoder(settings.model, size, weights)
    for fold in folds:
        if not settings.model.frozen and models:
            encoder = build_encoder(settings.model, size, weights)
        head = Head(settings.model, encoder)
        network = head if settings.model.frozen else Embedder(encoder, head)
        load_weights(network, run.checkpoint(fold, settings.train.keep), without=CRITERION)
        models.append(network)
    return _Networks(tuple(models), encoder if settings.model.frozen else None)


def _encoder_of(run: Run, settings: EmbedSettings) -> Resolved | None:
    """The weights of a frozen encoder, which no checkpoint holds; RunError where they are not those of the training."""
    if not settings.model.frozen:
        return None
    weights = encoder_weights(settings.model.encoder, settings.model.weights)
    assert weights is not None
    if dict(run.lock().weights) != {weights.name: weights.sha256}:
        raise RunError(
            f"{weights.path} is not the file that {run.name} was trained on ({weights.sha256[:12]} now); put back the "
            "one that its lock.json names, or train a new run"
        )
    return weights


def _vectors(
    settings: EmbedSettings,
    networks: _Networks,
    source: Dataset[Item],
    count: int,
    reporter: Reporter,
    title: str = "embed",
    shared_folder: Path | None = None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Vectors float32[count, D], and the rows whose image was bad (label 1 of a `_Marked` set).

    With `shared_folder` several processes share the work, and the first has all vectors in the end.
    """
    fabric, last = open_devices(settings), settings.train.channels_last
    models = [to_predict(model, fabric, last) for model in networks.models]
    shared = to_predict(networks.shared, fabric, last) if networks.shared is not None else None
    rank, world = (fabric.global_rank, fabric.world_size) if shared_folder else (0, 1)
    order = SizeBucketSampler([settings.image.size] * count, 1, settings.predict.batch, rank, world)
    loader = batches(source, order, settings.loader.workers, fabric.device.type == "cuda")
    rows: NDArray[np.float32] | None = None
    bad: list[int] = []

    def passed() -> Iterator[Batch]:
        for batch in loader:
            if isinstance(batch.target, LabelTargets):
                labels = batch.target.values.tolist()
                bad.extend(index for index, label in zip(batch.indices, labels, strict=True) if label)
            yield batch

    with reporter.progress(title, sum(map(len, order.batches))) as bar:
        for indices, vectors in embed(fabric, models, passed(), settings.predict, last, shared):
            rows = np.empty((count, vectors.shape[1]), np.float32) if rows is None else rows
            rows[list(indices)] = vectors
            bar.advance(len(indices))
    if shared_folder and world > 1:
        rows = merged_rows(fabric, shared_folder, [key[1] for batch in order.batches for key in batch], rows, count)
    if rows is None:
        raise DataError("no images to embed; name a folder that holds some")
    return rows, sorted(bad)


class _Marked(Dataset[Item]):
    """Labels each image 0, or 1 with blank pixels where it cannot be read, so that one does not stop thousands."""

    def __init__(self, whole: FittedInferenceDataset):
        self.whole = whole

    def __getitem__(self, key: Key) -> Item:
        try:
            return replace(self.whole[key], target=_GOOD)
        except DataError:
            index, (height, width) = self.whole.indices[key[1]], self.whole.size
            blank = torch.zeros(self.whole.channels, height, width)
            return Item(index, blank, _BAD, Padding(height, width))
