"""What a run's embeddings depend on, and where they are stored. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from medalist.competition import Retrieval
from medalist.contest import Contest
from medalist.errors import ConfigError, RunError
from medalist.retrieval.heads import ClassPrototypes
from medalist.runs.fold_weights import weights_hash
from medalist.runs.runs import Run, said_section
from medalist.search.embeddings import RUN
from medalist.search.gallery import Embeddings
from medalist.stores.vectors import VectorStore
from medalist.tasks.embed.settings import EmbedSettings


def retrieval_of(contest: Contest) -> Retrieval:
    """Return how the contest asks for identities. Raises ConfigError where it does not ask for them."""
    if contest.competition.retrieval is None:
        raise ConfigError(
            f"task.kind = embed, but {contest.competition.name} does not ask for identities; begin with another base"
        )
    return contest.competition.retrieval


def stored(run: Run, name: str) -> tuple[VectorStore, str]:
    """Return the store and the part for a name such as "oof/fold0"."""
    folder, _, part = name.rpartition("/")
    return VectorStore(run.folder / folder), part


def made_by(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> dict[str, str]:
    """Return everything that an embedding depends on, by name.

    `fold0`, `fold1`, ...: the hash of each fold's weights. `encoder`: the weights of a frozen encoder. `image`: how
    images are read. `predict`: the views. The run's name is added under `RUN`, for messages.
    """
    keep = settings.train.keep
    made = {f"fold{fold}": weights_hash(run, fold, keep) for fold in folds}
    if settings.model.frozen:
        made["encoder"] = json.dumps(dict(run.lock().weights), sort_keys=True)
    for section in ("image", "predict"):
        made[section] = json.dumps(said_section(run, settings, section), sort_keys=True)
    made[RUN] = f"{run.competition}/{run.name}"
    return made


def test_parts(contest: Contest) -> tuple[str, str]:
    """Return the names of the parts with the test queries and with the gallery; the same name where both are equal."""
    same = contest.split.gallery == contest.split.test
    return "test/queries", "test/queries" if same else "test/gallery"


def is_embedded(run: Run, name: str) -> bool:
    """Return whether the embeddings of a part are complete."""
    store, part = stored(run, name)
    return store.path(part).with_suffix(".json").exists()


def embedded(run: Run, name: str, settings: EmbedSettings, folds: Sequence[int]) -> Embeddings:
    """Return a part's embeddings. Raises RunError where they were made with other weights than the run has now.

    `predict.*` may differ from the config, because `medalist predict RUN predict.tta=...` may have made the embeddings.
    The run's name may differ too, because the run's folder may have been moved or copied.
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
    """Return a part's embeddings, without checking what made them."""
    store, part = stored(run, name)
    return store.read(part)


def prototypes_name(fold: int) -> str:
    """Return the name of the part with a fold's class prototypes; its ids are `<sub-centre's number>/<identity>`."""
    return f"oof/fold{fold}.prototypes"


def fold_prototypes(run: Run, folds: Sequence[int]) -> ClassPrototypes | None:
    """Return the class prototypes of folds, concatenated like their embeddings.

    Several folds give the identities that all of them know, each with one prototype, the mean of its sub-centres.
    Returns None where a fold has no prototypes, or where no identity is known to all folds.
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
    """Return the mean of each identity's sub-centres, scaled to length 1."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(prototypes.names):
        rows.setdefault(name, []).append(row)
    sums = {name: prototypes.vectors[at].sum(axis=0) for name, at in rows.items()}
    return {name: total / max(float(np.linalg.norm(total)), 1e-6) for name, total in sums.items()}
