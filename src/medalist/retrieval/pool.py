"""What a query may be answered with: vectors that are searched past those that the query must not see."""

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
    """Vectors to be searched, and which queries must not see which.

    vectors: float32[N, D] of length 1. codes: int64[N]; a row is hidden from queries of the same code, 0 or more.
    recall, threads: as `evaluate.nearest` takes them.
    """

    vectors: Vectors
    codes: Indices
    recall: float
    threads: int | None

    def __len__(self) -> int:
        """Vectors held."""
        return len(self.codes)

    @cached_property
    def _by_code(self) -> tuple[Indices, Indices]:
        """Rows in the order of their codes, and these codes."""
        order = np.argsort(self.codes, kind="stable")
        return order, self.codes[order]

    def rows_of(self, code: int) -> Indices:
        """The rows that queries of a code must not see; none below 0."""
        order, codes = self._by_code
        start, stop = np.searchsorted(codes, [code, code + 1])
        return order[start:stop] if code >= 0 else order[:0]

    def near(self, queries: Vectors, codes: Indices, k: int) -> tuple[Indices, Scores]:
        """The k nearest rows that each query may see: int64[Q, k] padded with -1, cosines float32[Q, k] with -inf.

        Equally near ones stand in the order of the gallery.
        """
        # A code below 0 hides nothing, so it must not meet that of a row which has none either.
        rule = Forbidden(codes=((np.where(codes >= 0, codes, -2), self.codes),)) if (codes >= 0).any() else None
        return nearest(queries, self.vectors, k, recall=self.recall, threads=self.threads, forbidden=rule)

    def neighbours(self, k: int) -> tuple[Indices, Scores]:
        """The k nearest other rows of each row, whatever their codes: int64[N, k], float32[N, k], padded as `near`."""
        rule = Forbidden(own=np.arange(len(self)))
        return nearest(self.vectors, self.vectors, k, recall=self.recall, threads=self.threads, forbidden=rule)
