"""A pool of vectors to search, in which some rows are hidden from some queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medalist.retrieval.blocks import Forbidden
from medalist.retrieval.evaluate import nearest

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pool:
    """Vectors to search, with codes that say which rows are hidden from which queries.

    vectors: float32[N, D] of length 1. codes: int64[N]; a row is hidden from queries with the same code, if that is 0
    or more. recall, threads: as in `evaluate.nearest`.
    """

    vectors: Vectors
    codes: Indices
    recall: float
    threads: int | None

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self.codes)

    @cached_property
    def _by_code(self) -> tuple[Indices, Indices]:
        """The rows sorted by code, and their codes in this order."""
        order = np.argsort(self.codes, kind="stable")
        return order, self.codes[order]

    def rows_of(self, code: int) -> Indices:
        """Return the rows that are hidden from queries with this code; no rows for a code below 0."""
        order, codes = self._by_code
        start, stop = np.searchsorted(codes, [code, code + 1])
        return order[start:stop] if code >= 0 else order[:0]

    def near(self, queries: Vectors, codes: Indices, k: int) -> tuple[Indices, Scores]:
        """Return the k nearest rows that are not hidden from each query.

        rows int64[Q, k] padded with -1, cosines float32[Q, k] padded with -inf; equal cosines in the order of the
        gallery.
        """
        # A code below 0 hides nothing, so a query's code must not be equal to a row's code of -1.
        rule = Forbidden(codes=((np.where(codes >= 0, codes, -2), self.codes),)) if (codes >= 0).any() else None
        return nearest(queries, self.vectors, k, recall=self.recall, threads=self.threads, forbidden=rule)

    def neighbours(self, k: int) -> tuple[Indices, Scores]:
        """Return the k nearest other rows of each row, without looking at codes: int64[N, k], float32[N, k].

        They are padded as in `near`.
        """
        rule = Forbidden(own=np.arange(len(self)))
        return nearest(self.vectors, self.vectors, k, recall=self.recall, threads=self.threads, forbidden=rule)
