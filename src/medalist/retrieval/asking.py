"""Collect the vectors and identities of a retrieval split, and which gallery samples are hidden from which queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medalist.errors import SearchError
from medalist.records import RetrievalSplit
from medalist.retrieval.pool import Indices, Vectors
from medalist.search.embeddings import Embeddings, refuse_other_space, refuse_twice, shown


@dataclass(frozen=True, eq=False)
class Asked:
    """The queries and the gallery of one retrieval split, with their vectors; made by `asked`.

    queries, gallery: sample ids. query_vectors float32[Q, D], gallery_vectors float32[N, D]: of length 1, in one
    embedding space. identities: the identity of each gallery sample; empty where answers are samples. query_codes
    int64[Q], gallery_codes int64[N]: a gallery sample is hidden from queries with the same code; -1 hides nothing.
    """

    queries: tuple[str, ...]
    gallery: tuple[str, ...]
    query_vectors: Vectors = field(repr=False)
    gallery_vectors: Vectors = field(repr=False)
    identities: tuple[str, ...]
    query_codes: Indices = field(repr=False)
    gallery_codes: Indices = field(repr=False)


def asked(
    split: RetrievalSplit,
    queries: Embeddings,
    gallery: Embeddings,
    *,
    identities: Mapping[str, str] | None = None,
    exclusion: Mapping[str, str | float | None] | None = None,
) -> Asked:
    """Return the queries and the gallery of a split with their vectors.

    queries, gallery: embeddings of at least the split's samples, made by the same run. identities: the identity of each
    gallery sample by id; only where answers are identities. exclusion: the value at `Retrieval.exclusion_key` by sample
    id. A gallery sample is hidden from queries that have the same value. An id without a value has the value None, and
    such samples are hidden from one another too. A query is always hidden from itself. Raises SearchError, which names
    the ids, where ids are missing or repeated; also for an empty gallery, and for embeddings of another dimension or
    another run.
    """
    refuse_other_space(queries, gallery)
    for what, ids in (("queries", split.queries), ("gallery", split.gallery)):
        try:
            refuse_twice(ids)
        except SearchError as error:
            raise SearchError(f"split, {what}: {error}") from error
    if not split.gallery:
        raise SearchError(
            f"split of {len(split.queries)} queries ({shown(split.queries)}): its gallery is empty, so nothing can be "
            "answered; look at the contest's splits, or make fewer folds"
        )
    if identities is not None:
        unknown = [name for name in split.gallery if name not in identities]
        if unknown:
            raise SearchError(f"{len(unknown)} gallery samples have no identity: {shown(unknown)}")
    return Asked(
        split.queries,
        split.gallery,
        _taken(queries, split.queries, "queries"),
        _taken(gallery, split.gallery, "gallery"),
        tuple(identities[name] for name in split.gallery) if identities is not None else (),
        *_codes(split, exclusion),
    )


def _taken(embeddings: Embeddings, ids: Sequence[str], what: str) -> Vectors:
    try:
        return embeddings.take(ids)
    except SearchError as error:
        raise SearchError(f"split, {what}: {error}; embed them with this run") from error


def _codes(split: RetrievalSplit, exclusion: Mapping[str, str | float | None] | None) -> tuple[Indices, Indices]:
    """Codes of queries and gallery samples; they are equal where the gallery sample must be hidden from the query."""
    number: dict[object, int] = {}
    for name in split.gallery:
        number.setdefault(name if exclusion is None else exclusion.get(name), len(number))
    hidden = [
        [number.get(name if exclusion is None else exclusion.get(name), -1) for name in ids]
        for ids in (split.queries, split.gallery)
    ]
    return np.array(hidden[0], np.int64), np.array(hidden[1], np.int64)
