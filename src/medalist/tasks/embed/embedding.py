"""Compute embeddings with the networks of a run: of held-out samples, of the test part, and of any image files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.data.features import FeatureDataset
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Item, Key, Read, contest_reader
from medalist.data.loader import Batch, batches
from medalist.data.padding import Padding
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import LabelTarget, LabelTargets
from medalist.engine.checkpoint import load_part
from medalist.engine.devices import first_alone
from medalist.engine.rows import merged_rows
from medalist.errors import DataError, RunError
from medalist.processes import place
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.retrieval.contests import fold_splits
from medalist.runs.runs import Run
from medalist.runs.sources import predicting_sources
from medalist.search.gallery import Embeddings
from medalist.tasks.embed.datasets import views_of
from medalist.tasks.embed.features import kept_features
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.jobs import build_criterion, classes_of
from medalist.tasks.embed.loaded import CRITERION, EmbedNetworks, frozen_weights, load_networks
from medalist.tasks.embed.losses.settings import MarginTerm
from medalist.tasks.embed.network import build_normalisation
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
from medalist.tasks.jobs import open_devices, trained_or_refuse
from medalist.tasks.pixels import read_of

NAMED_AT_MOST = 10
"""Bad files that an error message names at most."""

_GOOD, _BAD = LabelTarget(np.array(0, np.int64)), LabelTarget(np.array(1, np.int64))
"""The targets of `_Marked`, for images that can and cannot be read."""


def predict(run: Run, settings: EmbedSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Embed the queries and the gallery of a fold's retrieval splits by the fold's network; for None the test part.

    The network did not see the queries in training. In contests of known identities the gallery is the fold's training
    part, which the network has seen; this is the same for the test part, whose gallery is the training data. The test
    part's queries and gallery are embedded by the networks of all trained folds. Does nothing where these embeddings
    exist already. Raises RunError where no fold was trained.
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
    """Embed image files (id, path) with the networks of all trained folds, or of `fold`.

    Returns the embeddings, and a line for each file that was left out. Without `skip_bad`, raises one DataError for all
    files that cannot be read. Raises RunError where no fold was trained.
    """
    folds = run.trained_folds() if fold is None else [fold]
    if not folds or not set(folds) <= set(run.trained_folds()):
        what = "no trained fold" if fold is None else f"no trained fold {fold}"
        raise RunError(f"{run.folder} has {what}; run medalist train first")
    competition = load_competition(settings.competition)
    read = contest_reader(competition, settings.image)
    samples = [Sample(name, (path,), (0, 0)) for name, path in files]
    networks = load_networks(run, settings, folds)
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
            f"{len(bad)} of {len(files)} images cannot be read: {'; '.join(lines[:NAMED_AT_MOST])}{more}; repair "
            "them, or leave them out with --skip-bad"
        )
    good = np.setdiff1d(np.arange(len(samples)), bad)
    ids = tuple(samples[index].id for index in good)
    return Embeddings(ids, vectors[good], made_by(run, settings, folds)), lines


def made_of(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> dict[str, str]:
    """Return everything that the vectors of these folds' networks depend on, by name."""
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
    if is_embedded(run, name) and store.intact(part):
        known = store.read(part)
        if known.ids == ids and dict(known.made_by) == made:
            return
    networks = load_networks(run, settings, folds)
    read = read_of(contest, settings)
    source: Dataset[Item] = _whole(settings, samples, read)
    if settings.model.frozen and settings.predict.tta == "none":
        fabric, home = open_devices(settings), run.folder.parent
        weights = frozen_weights(run, settings)
        features = first_alone(fabric, lambda: kept_features(settings, weights, samples, read, fabric, home, reporter))
        source, networks = FeatureDataset(features, range(len(samples))), replace(networks, shared=None)
    vectors, _ = _vectors(settings, networks, source, len(samples), reporter, f"embed {name}", store.folder)
    fabric = open_devices(settings)
    if fabric.is_global_zero:
        store.write(part, Embeddings(ids, vectors, made), predicting_sources(settings.competition, settings.task.kind))
    fabric.barrier()


def _keep_prototypes(run: Run, settings: EmbedSettings, contest: Contest, fold: int) -> None:
    """Write the class prototypes of a fold's loss, where it has any, without turned and composed identities."""
    if not any(isinstance(term, MarginTerm) for term in settings.loss.terms):
        return
    made, name = made_by(run, settings, [fold]), prototypes_name(fold)
    store, part = stored(run, name)
    if place().rank or (is_embedded(run, name) and store.intact(part) and dict(store.read(part).made_by) == made):
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
        if label % views == 0 and label < views * len(classes.names):  # composed identities have higher labels
            identity = classes.names[label // views]
            ids.append(f"{seen[identity]}/{identity}")
            seen[identity] += 1
            rows.append(row)
    sources = predicting_sources(settings.competition, settings.task.kind)
    store.write(part, Embeddings(tuple(ids), found[0][rows].numpy(), made), sources)


def _whole(settings: EmbedSettings, samples: Sequence[Sample], read: Read) -> FittedInferenceDataset:
    norm, channels = build_normalisation(settings), settings.model.in_channels
    return FittedInferenceDataset(samples, range(len(samples)), settings.image.size, norm, read, channels=channels)


def _vectors(
    settings: EmbedSettings,
    networks: EmbedNetworks,
    source: Dataset[Item],
    count: int,
    reporter: Reporter,
    title: str = "embed",
    shared_folder: Path | None = None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Return the vectors float32[count, D], and the rows whose image cannot be read (label 1 in a `_Marked` dataset).

    With `shared_folder` several processes share the work; at the end only the first process has all vectors.
    """
    fabric, last = open_devices(settings), settings.train.channels_last
    networks = networks.placed(settings, fabric)
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
        for indices, vectors in embed(fabric, networks.models, passed(), settings.predict, last, networks.shared):
            rows = np.empty((count, vectors.shape[1]), np.float32) if rows is None else rows
            rows[list(indices)] = vectors
            bar.advance(len(indices))
    if shared_folder and world > 1:
        rows = merged_rows(fabric, shared_folder, [key[1] for batch in order.batches for key in batch], rows, count)
    if rows is None:
        raise DataError("no images to embed; name a folder that holds some")
    return rows, sorted(bad)


class _Marked(Dataset[Item]):
    """A dataset with label 0 for each image, or label 1 and a blank image where the file cannot be read.

    So one bad file does not stop the embedding of all others.
    """

    def __init__(self, whole: FittedInferenceDataset):
        self.whole = whole

    def __getitem__(self, key: Key) -> Item:
        try:
            return replace(self.whole[key], target=_GOOD)
        except DataError:
            index, (height, width) = self.whole.indices[key[1]], self.whole.size
            blank = torch.zeros(self.whole.channels, height, width)
            return Item(index, blank, _BAD, Padding(height, width))
