"""What a run's embeddings are made by, and where they are read from. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from medalist.competition import Retrieval
from medalist.contest import Contest
from medalist.errors import ConfigError, RunError
from medalist.files import sha256_file
from medalist.retrieval.heads import ClassPrototypes
from medalist.runs.runs import Run
from medalist.search.embeddings import RUN
from medalist.search.gallery import Embeddings
from medalist.stores.vectors import VectorStore
from medalist.tasks.embed.settings import EmbedSettings


def retrieval_of(contest: Contest) -> Retrieval:
    """How the contest asks for identities; ConfigError where it does not."""
    if contest.competition.retrieval is None:
        raise ConfigError(
            f"task.kind = embed, but {contest.competition.name} does not ask for identities; begin with another base"
        )
    return contest.competition.retrieval


def stored(run: Run, name: str) -> tuple[VectorStore, str]:
    """The store and the part behind a name such as "oof/fold0"."""
    folder, _, part = name.rpartition("/")
    return VectorStore(run.folder / folder), part


def made_by(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> dict[str, str]:
    """What decides an embedding: each fold's weights, the frozen encoder's, how images are read, and the views."""
    keep = settings.train.keep
    made = {f"fold{fold}": sha256_file(run.checkpoint(fold, keep)) for fold in folds}
    if settings.model.frozen:
        made["encoder"] = json.dumps(dict(run.lock().weights), sort_keys=True)
    made["image"] = json.dumps(settings.image.model_dump(mode="json"), sort_keys=True)
    made["predict"] = json.dumps(settings.predict.model_dump(mode="json", exclude={"batch"}), sort_keys=True)
    made[RUN] = f"{run.competition}/{run.name}"
    return made


def test_parts(contest: Contest) -> tuple[str, str]:
    """The parts that hold the queries and the gallery of the test part; one part where all queries answer as well."""
    same = contest.split.gallery == contest.split.test
    return "test/queries", "test/queries" if same else "test/gallery"


def is_embedded(run: Run, name: str) -> bool:
    """Whether a part of the contest was embedded whole."""
    store, part = stored(run, name)
    return store.path(part).with_suffix(".json").exists()


def embedded(run: Run, name: str, settings: EmbedSettings, folds: Sequence[int]) -> Embeddings:
    """A part's embeddings; RunError where they come from other weights than those that are there now.

    `predict.*` may be another than the config's: they were then made so by `medalist predict RUN predict.tta=...`.
    So may the run's name: its folder was moved since, or copied.
    """
    store, part = stored(run, name)
    found = store.read(part)
    now = made_by(run, settings, folds)
    if {**found.made_by, "predict": "", RUN: ""} != {**now, "predict": "", RUN: ""}:
        split = "oof" if name.startswith("oof") else "test"
        raise RunError(
            f"the embeddings {store.path(part)} come from other weights; "
            f"run medalist predict {run.competition}/{run.name} --split {split}"
        )
    return found


def read_vectors(run: Run, name: str) -> Embeddings:
    """A part's embeddings, whatever made them."""
    store, part = stored(run, name)
    return store.read(part)


def prototypes_name(fold: int) -> str:
    """Where the class prototypes of a fold lie: ids are `<number of the sub-centre>/<identity>`."""
    return f"oof/fold{fold}.prototypes"


def fold_prototypes(run: Run, folds: Sequence[int]) -> ClassPrototypes | None:
    """The class prototypes of folds, put together as their embeddings are; None where a fold has none.

    Of several folds the identities that all of them know, each with one centre: the mean of its sub-centres.
    """
    if not all(is_embedded(run, prototypes_name(fold)) for fold in folds):
        return None
    parts = [_prototypes(read_vectors(run, prototypes_name(fold))) for fold in folds]
    if len(parts) == 1:
        return parts[0]
    means = [_mean(part) for part in parts]
    names = sorted(set.intersection(*(set(mean) for mean in means)))
    if not names:
        return None
    vectors = np.stack([np.concatenate([mean[name] for mean in means]) for name in names])
    return ClassPrototypes(tuple(names), (vectors / np.sqrt(len(means))).astype(np.float32))


def _prototypes(found: Embeddings) -> ClassPrototypes:
    return ClassPrototypes(tuple(name.partition("/")[2] for name in found.ids), np.asarray(found.vectors))


def _mean(prototypes: ClassPrototypes) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """The mean of each identity's sub-centres, of length 1."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(prototypes.names):
        rows.setdefault(name, []).append(row)
    sums = {name: prototypes.vectors[at].sum(axis=0) for name, at in rows.items()}
    return {name: total / max(float(np.linalg.norm(total)), 1e-6) for name, total in sums.items()}
