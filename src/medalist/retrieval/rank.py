"""Turn the embeddings of one retrieval split into scored candidates, and candidates into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medalist.errors import ConfigError, SearchError
from medalist.records import Ranking
from medalist.retrieval.asking import Asked, asked
from medalist.retrieval.heads import ClassPrototypes, MeanVectors, blend_prototypes, vote
from medalist.retrieval.pool import Indices, Pool, Scores, Vectors
from medalist.retrieval.rerank import SecondLook, expanded
from medalist.retrieval.settings import NoRerank, RankConfig
from medalist.search.embeddings import shown

__all__ = ["Asked", "Candidates", "ClassPrototypes", "answers", "asked", "candidates", "place_of_new", "with_new"]

_ANSWERS = 2**22
"""The most samples that are looked at together, over all queries; they need a few hundred megabytes."""

_MOST_PAIRS = 2**24
"""The most pairs (queries times names) of a one-to-one assignment; its matrix of float64 then needs 128 MB."""

_UNSEEN = 4.0
"""A pair that is no candidate gets the lowest score minus this, which is more than two cosines can differ."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidate names of one query, the best first, each once; scores float32[n], higher = closer.

    Scores are always on the scale of cosines, so a threshold means the same for all queries of a config. After a
    one-to-one assignment the first name is the assigned one, which may not have the highest score.
    """

    names: tuple[str, ...]
    scores: Scores

    @property
    def best(self) -> float:
        """The highest score; -inf where there are no names."""
        return float(self.scores.max(initial=-np.inf))


def candidates(
    asked: Asked,
    config: RankConfig,
    *,
    names: Literal["samples", "identities"],
    depth: int,
    new: str | None = None,
    prototypes: ClassPrototypes | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Candidates]:
    """Return the candidates of each query of a split, by query id: `depth` names, or fewer where there are not so many.

    names, depth, new: those of `competition.Retrieval`. prototypes: those of the network that made the vectors; needed
    with config.prototypes. threads: None for all processors. progress(done, total): called in this thread while queries
    are answered. With config.assign all names are candidates. Raises ConfigError for settings that do not fit the
    contest, and SearchError for a gallery without an identity, too many pairs to assign, or class prototypes that are
    missing or of another dimension.
    """
    _check(asked, config, names, prototypes)
    if not asked.queries:
        return {}
    kept, labels, known = _labelled(asked, names, new)
    pool = Pool(asked.gallery_vectors[kept], asked.gallery_codes[kept], config.recall, threads)
    queries, pool = expanded(asked.query_vectors, asked.query_codes, pool, config)
    want = len(known) if config.assign else min(depth, len(known))
    if config.assign and len(asked.queries) * want > _MOST_PAIRS:
        raise SearchError(
            f"decide.assign: {len(asked.queries)} queries and {want} names are too many to be assigned one to one; "
            "set decide.assign=false"
        )
    means = MeanVectors.made(pool, labels, len(known)) if config.head == "prototype" else None
    own = {name: row for row, name in enumerate(np.array(asked.gallery, object)[kept])}
    rows = np.array([own.get(name, -1) for name in asked.queries], np.int64)
    second = SecondLook.made(pool, queries, rows, config)
    field_ = _Field(
        config, pool, labels, np.bincount(labels), known, means, second, prototypes if config.prototypes else None
    )
    found: dict[str, Candidates] = {}
    for at, answer in field_.answered(queries, asked.query_codes, want):
        found[asked.queries[at]] = answer
        if progress is not None:
            progress(len(found), len(queries))
    found = {name: found[name] for name in asked.queries}
    return _assigned(found) if config.assign else found


def answers(
    found: Mapping[str, Candidates],
    depth: int,
    *,
    new: str | None = None,
    threshold: float | None = None,
    confident: bool = False,
) -> dict[str, Ranking]:
    """Return candidates as answers, by query id: their first `depth` names.

    With `new` and a threshold, the name `new` is put before the first candidate whose score is below the threshold (as
    in https://www.kaggle.com/c/humpback-whale-identification). Where no score is below, it is put last, if there is
    room. confident: the score of the first name becomes the confidence. Where the first name is `new`, its confidence
    is as far above the threshold as the best score is below it.
    """
    ranked: dict[str, Ranking] = {}
    for query, one in found.items():
        names = one.names[:depth]
        confidence = float(one.scores[0]) if len(one.scores) else None
        if new is not None and threshold is not None:
            place = place_of_new(one.scores, threshold)
            names = with_new(one.names, place, new, depth)
            if not place:
                confidence = 2 * threshold - max(one.best, -1.0)
        ranked[query] = Ranking(names, confidence if confident else None)
    return ranked


def place_of_new(scores: Scores, threshold: float) -> int:
    """Return how many candidates come before `new`: those before the first score that is below the threshold."""
    below = np.flatnonzero(scores.astype(np.float64) < threshold)
    return int(below[0]) if len(below) else len(scores)


def with_new(names: tuple[str, ...], place: int, new: str, depth: int) -> tuple[str, ...]:
    """Return the first `depth` names after `new` was inserted at `place`; place 0 is before all names."""
    return (*names[:place], new, *names[place:])[:depth]


@dataclass(frozen=True, eq=False)
class _Field:
    """A gallery that is prepared for queries.

    labels: int64[N], the number of each row's name. sizes: int64[M], the number of samples of each name.
    """

    config: RankConfig
    pool: Pool
    labels: Indices
    sizes: Indices
    names: NDArray[np.object_]
    means: MeanVectors | None
    second: SecondLook | None
    prototypes: ClassPrototypes | None

    def answered(self, queries: Vectors, codes: Indices, want: int) -> Iterator[tuple[int, Candidates]]:
        """Yield each query's row and its `want` best names. Queries that find fewer names search more samples again."""
        most = len(self.means.pool if self.means else self.pool)
        todo = [(np.arange(len(queries)), min(self._width(want), most))]
        while todo:
            asking, width = todo.pop()
            together = max(1, _ANSWERS // width)
            if len(asking) > together:
                todo += [(asking[at : at + together], width) for at in range(0, len(asking), together)][::-1]
                continue
            labels, scores = self._ranked(queries, codes, asking, width)
            if self.prototypes is not None:
                labels, scores = self._blended(queries, codes, asking, labels, scores, 0 if width == most else want)
            counts = (labels >= 0).sum(axis=1)
            short = (counts < want) & (width < most)
            for row in np.flatnonzero(~short).tolist():
                count = min(want, int(counts[row]))
                names = tuple(self.names[labels[row, :count]].tolist())
                yield int(asking[row]), Candidates(names, scores[row, :count].copy())
            if short.any():
                todo.append((asking[short], min(2 * width, most)))

    def _width(self, want: int) -> int:
        """The number of samples that a query looks at first."""
        several = 4 * want + 16 if len(self.names) < len(self.labels) else want
        if self.means is not None:
            return want
        again = 0 if isinstance(self.config.rerank, NoRerank) else self.config.rerank.candidates
        return max(several, again, self.config.k if self.config.head == "knn" else 0)

    def _ranked(self, queries: Vectors, codes: Indices, asking: Indices, width: int) -> tuple[Indices, Scores]:
        """Labels int64[q, width] and scores float32[q, width], the best first, from `width` samples or means."""
        if self.means is not None:
            return self.means.near(queries[asking], codes[asking], width)
        rows, scores = self.pool.near(queries[asking], codes[asking], width)
        if self.second is not None:
            rows, scores = self.second.ranked(asking, rows, scores)
        labels = np.where(rows >= 0, self.labels[rows], -1)
        k = self.config.k if self.config.head == "knn" else 0
        return vote(labels, scores, k=k, temperature=self.config.temperature)

    def _blended(
        self, queries: Vectors, codes: Indices, asking: Indices, labels: Indices, scores: Scores, joining: int
    ) -> tuple[Indices, Scores]:
        """Blend scores with class prototypes; names are added unless all their samples are hidden from the query."""
        assert self.prototypes is not None
        never = [self._hidden_names(code) for code in codes[asking].tolist()]
        share = self.config.prototypes
        return blend_prototypes(
            queries[asking], labels, scores, self.names.tolist(), self.prototypes, share, joining, never
        )

    def _hidden_names(self, code: int) -> Indices:
        """The labels whose samples are all hidden from queries with this code."""
        rows = self.pool.rows_of(code)
        touched, hidden = np.unique(self.labels[rows], return_counts=True)
        whole: Indices = touched[hidden == self.sizes[touched]]
        return whole


def _check(asked: Asked, config: RankConfig, names: str, prototypes: ClassPrototypes | None) -> None:
    """Raise ConfigError or SearchError for settings that do not fit the contest, the gallery or the prototypes."""
    if names == "samples":
        wrong = [f"decide.head={config.head}"] if config.head != "nearest" else []
        wrong += [f"decide.prototypes={config.prototypes:g}"] if config.prototypes else []
        if wrong:
            raise ConfigError(f"{wrong[0]} is for contests that answer identities; this one answers gallery samples")
    elif len(asked.identities) != len(asked.gallery):
        raise SearchError("identities are answered, so every gallery sample needs one: asked(..., identities=...)")
    if config.head == "prototype" and not isinstance(config.rerank, NoRerank):
        raise ConfigError(
            f"decide.rerank.kind={config.rerank.kind} re-ranks samples, but decide.head=prototype compares only means; "
            "set decide.head=nearest, or decide.rerank.kind=none"
        )
    if config.prototypes and prototypes is None:
        raise SearchError(
            "decide.prototypes needs the training's class prototypes, and there are none; set decide.prototypes=0"
        )
    if config.prototypes and prototypes is not None and prototypes.vectors.shape[1] != asked.gallery_vectors.shape[1]:
        raise SearchError(
            f"class prototypes of {prototypes.vectors.shape[1]} components, and vectors of "
            f"{asked.gallery_vectors.shape[1]}: take both from one run"
        )


def _labelled(asked: Asked, names: str, new: str | None) -> tuple[Indices, Indices, NDArray[np.object_]]:
    """The gallery rows that may be answers, their labels, and the name of each label in the order of the gallery."""
    if names == "samples":
        everything = np.arange(len(asked.gallery))
        return everything, everything, np.array(asked.gallery, object)
    kept = np.flatnonzero([identity != new for identity in asked.identities])
    if not len(kept):
        raise SearchError(
            f"all {len(asked.gallery)} gallery samples are '{new}' ({shown(asked.gallery)}), so no identity can be "
            "answered; look at the contest's splits"
        )
    number: dict[str, int] = {}
    labels = [number.setdefault(asked.identities[row], len(number)) for row in kept]
    return kept, np.array(labels, np.int64), np.array(list(number), object)


def _assigned(found: dict[str, Candidates]) -> dict[str, Candidates]:
    """Put the name first that the best one-to-one assignment gives to a query; ties are decided by position."""
    number: dict[str, int] = {}
    for one in found.values():
        for name in one.names:
            number.setdefault(name, len(number))
    lowest = min((float(one.scores.min(initial=np.inf)) for one in found.values()), default=0.0)
    matrix = np.full((len(found), len(number)), lowest - _UNSEEN)
    for row, one in enumerate(found.values()):
        matrix[row, [number[name] for name in one.names]] = one.scores
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    first = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    known = list(number)
    moved: dict[str, Candidates] = {}
    for row, (query, one) in enumerate(found.items()):
        at = one.names.index(known[first[row]]) if row in first and known[first[row]] in one.names else 0
        order = [at, *(place for place in range(len(one.names)) if place != at)] if one.names else []
        moved[query] = Candidates(tuple(one.names[place] for place in order), one.scores[order])
    return moved
