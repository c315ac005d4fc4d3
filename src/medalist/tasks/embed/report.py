"""Gather the data of an embedding run's report: queries with their hits, a map, similarities. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.errors import RunError
from medalist.files import sha256_json
from medalist.records import Ranking, RetrievalSplit, Sample
from medalist.report.charts import own_colours
from medalist.report.page import RunReport
from medalist.report.pictures import printable
from medalist.retrieval.asking import Asked, asked
from medalist.retrieval.contests import fold_splits
from medalist.retrieval.neighbours import FEW_PRODUCTS, FEW_QUERIES, FEW_ROWS
from medalist.retrieval.settings import RankConfig
from medalist.retrieval.splits import identity_of
from medalist.runs.runs import Run
from medalist.search.embeddings import Embeddings
from medalist.tasks.embed.likeness import (
    MOST_MAPPED,
    MOST_PAIRS,
    Pairs,
    equal_error,
    flat,
    joined_pairs,
    map_figure,
    pairs_figure,
    sampled_pairs,
)
from medalist.tasks.embed.page import EmbeddingMap, QueryPicture, RetrievalReport, Similarities, shown_queries
from medalist.tasks.embed.query_pictures import QueryRows
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import embedded, retrieval_of, stored
from medalist.tasks.pictured import pictured
from medalist.tasks.protocols import Oof, WorstSample

NAMES = 5
"""Number of first answers to a query that a table shows."""


def retrieval_report(
    run: Run, contest: Contest, settings: EmbedSettings, oof: Oof, page: RunReport, umap: bool = False
) -> RetrievalReport:
    """Return the data of the report.

    umap: whether the map is made by UMAP, see `likeness.flat`. Raises RunError where the embeddings are not those that
    were scored.
    """
    facts, samples = retrieval_of(contest), {sample.id: sample for sample in contest.split.train}
    truths, answers = _rankings(oof.truths), _rankings(oof.answers)
    groups = shown_queries({name: oof.score.by_sample[name] for name in truths if truths[name].names})
    wanted = {name for group in groups for name in group}
    rng = np.random.default_rng(settings.seed)
    drawn: dict[str, QueryPicture] = {}
    pairs: list[Pairs] = []
    first: EmbeddingMap | None = None
    sizes: list[tuple[int, int, int]] = []
    folds = [int(fold) for fold in page.scores["oof"]["folds"]]
    for fold in folds:
        vectors = _scored_embeddings(run, settings, fold, page.scores)
        first = first or _map(vectors, run.folds().held_out(fold), samples, fold, facts.new, umap)
        splits = fold_splits(contest, run.folds(), fold)
        queries = sum(len(split.queries) for split in splits)
        for split in splits:
            sizes.append((len(split.queries), len(split.gallery), vectors.dim))
            question = _asked(contest, split, vectors, samples)
            mine, theirs = ([identity_of(samples[name]) for name in ids] for ids in (split.queries, split.gallery))
            each = -(-MOST_PAIRS * len(mine) // (2 * len(folds) * queries))
            pairs.append(sampled_pairs(question, mine, theirs, each, rng, facts.new))
            here = [name for name in split.queries if name in wanted]
            rows = QueryRows.of(contest, samples, question, theirs) if here else None
            for name in here:
                assert rows is not None
                score = oof.score.by_sample[name]
                drawn[name] = rows.drawn(split.queries.index(name), fold, score, truths[name], answers[name])
    details = page.scores.get("retrieval") or {}
    every = joined_pairs(pairs)
    every = Pairs(every.same[: MOST_PAIRS // 2], every.different[: MOST_PAIRS // 2])
    equal = equal_error(every)
    threshold = details.get("threshold") if facts.new is not None else None
    some = len(every.same) + len(every.different) > 0
    return RetrievalReport(
        page,
        worst=[drawn[name] for name in groups[0]],
        typical=[drawn[name] for name in groups[1]],
        best=[drawn[name] for name in groups[2]],
        map=first,
        similarities=Similarities(pairs_figure(every, equal, threshold), every, equal) if some else None,
        facts=_facts(contest, settings.decide, truths, sizes),
        new=facts.new,
    )


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the queries with the lowest scores among those that have a right answer, the worst first."""
    asked = {name: oof.score.by_sample[name] for name, truth in oof.truths.items() if _first_names(truth)}
    return pictured(run, contest, oof, shown_queries(asked)[0], _first_names)


def _first_names(answer: object) -> str:
    assert isinstance(answer, Ranking), type(answer).__name__
    return ", ".join(printable(name, 80) for name in answer.names[:NAMES])


def _rankings(answers: Mapping[str, Any]) -> dict[str, Ranking]:
    assert all(isinstance(answer, Ranking) for answer in answers.values()), "contests of identities answer names"
    return dict(answers)


def _scored_embeddings(run: Run, settings: EmbedSettings, fold: int, scores: Mapping[str, Any]) -> Embeddings:
    """Return a fold's embeddings. Raises RunError where they are not those that were scored."""
    found = embedded(run, f"oof/fold{fold}", settings, [fold])
    store, part = stored(run, f"oof/fold{fold}")
    if (scores.get("predictions") or {}).get(f"fold{fold}") != sha256_json(dict(found.made_by)):
        raise RunError(
            f"the embeddings {store.path(part)} are not those that were scored; "
            f"run medalist score {run.competition}/{run.name} again"
        )
    return found


def _asked(contest: Contest, split: RetrievalSplit, vectors: Embeddings, samples: Mapping[str, Sample]) -> Asked:
    key = retrieval_of(contest).exclusion_key
    hidden = None if key is None else {name: samples[name].meta.get(key) for name in (*split.queries, *split.gallery)}
    return asked(split, vectors, vectors, exclusion=hidden)


def _map(
    vectors: Embeddings, held_out: Sequence[str], samples: Mapping[str, Sample], fold: int, new: str | None, umap: bool
) -> EmbeddingMap | None:
    """Return a map of samples that the fold's network did not see in training; None for fewer than three samples."""
    ids = [name for name in held_out if name in vectors.row_of]
    if len(ids) > MOST_MAPPED:
        chosen: NDArray[np.int64] = np.sort(np.random.default_rng(fold).choice(len(ids), MOST_MAPPED, replace=False))
        ids = [ids[at] for at in chosen.tolist()]
    if len(ids) < 3:
        return None
    points, how = flat(vectors.take(ids), umap=umap)
    identities = [identity_of(samples[name]) for name in ids]
    colours = own_colours((one.stratum for one in samples.values() if one.stratum is not None), identities)
    return EmbeddingMap(map_figure(points, identities, new, colours), how, len(ids), fold)


def _facts(
    contest: Contest, config: RankConfig, truths: Mapping[str, Ranking], sizes: Sequence[tuple[int, int, int]]
) -> list[tuple[str, str]]:
    """Return the rows of the table of facts. sizes: (queries, gallery samples, vector components) of each split."""
    new = retrieval_of(contest).new
    counts = Counter(identity_of(sample) for sample in contest.split.train)
    named = [count for name, count in counts.items() if name != new]
    lonely = sum(not truth.names or truth.names == (new,) for truth in truths.values())
    galleries = sorted(rows for _, rows, _ in sizes)
    span = f"{galleries[0]:,}" if galleries[0] == galleries[-1] else f"{galleries[0]:,} to {galleries[-1]:,}"
    many = any(q >= FEW_QUERIES and n >= FEW_ROWS and q * n * dim >= FEW_PRODUCTS for q, n, dim in sizes)
    how = f"by coarse clusters, with a recall of at least {config.recall:g}" if many and config.recall < 1 else "exact"
    steps = [f"decide.{name}={value}" for name, value in _changed(config)]
    return [
        ("queries", f"{len(truths):,} in {len(sizes):,} {'split' if len(sizes) == 1 else 'splits'}"),
        ("without an answer", f"{lonely:,} queries whose gallery has no sample of their identity"),
        ("gallery", f"{span} samples a split"),
        ("identities", f"{len(named):,} in training, {sum(count == 1 for count in named):,} of them with one sample"),
        *(
            [("without an identity", f"{counts[new]:,} training samples are {new}")]
            if new is not None and counts[new]
            else []
        ),
        ("embeddings", f"{sizes[0][2]:,} components, compared by cosine"),
        ("search", how),
        ("ranked by", ", ".join(steps) or "cosine alone"),
    ]


def _changed(config: RankConfig) -> list[tuple[str, Any]]:
    """Return the settings of `config` that differ from ranking by cosine alone; new identities are shown elsewhere."""
    plain, found = (one.model_dump(mode="json", exclude={"new", "new_share"}) for one in (RankConfig(), config))
    found["rerank"] = found["rerank"]["kind"]
    plain["rerank"] = plain["rerank"]["kind"]
    return [(name, value) for name, value in found.items() if value != plain[name]]
