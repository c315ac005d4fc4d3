"""Rows of pictures for the report: a query, its first answers, and a right answer that was missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.records import Ranking, Sample
from medalist.report.pictures import Picture, printable
from medalist.retrieval.asking import Asked
from medalist.retrieval.splits import identity_of
from medalist.tasks.embed.page import MOST_HITS, Hit, QueryPicture, hits_grid, text_tile
from medalist.tasks.embed.vectors import retrieval_of


@dataclass(frozen=True, eq=False)
class QueryRows:
    """Draws the rows of pictures for the queries of one retrieval split.

    samples: by id. question: the queries and the gallery. number: name -> number, for each name that may be answered.
    labels: int64[N], the number of each gallery sample's name. unknown: the number of the name of new identities, -1
    where there is none.
    """

    contest: Contest
    samples: Mapping[str, Sample]
    question: Asked
    number: Mapping[str, int]
    labels: NDArray[np.int64]
    unknown: int

    @classmethod
    def of(cls, contest: Contest, samples: Mapping[str, Sample], question: Asked, who: Sequence[str]) -> QueryRows:
        """Return the rows of a split. who: the identity of each gallery sample."""
        number: dict[str, int] = {}
        names = who if retrieval_of(contest).names == "identities" else question.gallery
        labels = np.array([number.setdefault(name, len(number)) for name in names], np.int64)
        new = retrieval_of(contest).new
        unknown = -1 if new is None else number.get(new, -1)
        return cls(contest, samples, question, number, labels, unknown)

    def drawn(self, row: int, fold: int, score: float, truth: Ranking, answer: Ranking) -> QueryPicture:
        """Draw the row of one query: the query, its first answers, and a right answer that is not among them."""
        name = self.question.queries[row]
        identity = identity_of(self.samples[name])
        cosines = self._cosines(row)
        best = np.full(len(self.number), -np.inf)
        np.maximum.at(best, self.labels, cosines)
        hits: list[Hit] = []
        for one in answer.names[:MOST_HITS]:
            right = one in truth.names
            hits.append((*self._tile(one, cosines, best, "right" if right else "wrong"), right))
        hidden = [one for one in truth.names if one not in answer.names[:MOST_HITS]]
        picture = hits_grid(
            self._image(name),
            hits,
            _lines("query", identity, name),
            missed=self._missed(hidden, answer, cosines, best),
            columns=min(MOST_HITS, retrieval_of(self.contest).depth),
        )
        what = f"{len(truth.names)} right answers" if len(truth.names) > 1 else ""
        return QueryPicture(name, identity, fold, score, what, picture)

    def _cosines(self, row: int) -> NDArray[np.float32]:
        """Return the cosine of each gallery sample; -inf for samples hidden from the query and for new identities."""
        question, code = self.question, int(self.question.query_codes[row])
        barred = (question.gallery_codes == code) & (code >= 0) | (self.labels == self.unknown)
        values = question.gallery_vectors @ question.query_vectors[row]
        return np.where(barred, np.float32(-np.inf), values).astype(np.float32)

    def _missed(
        self, names: Sequence[str], answer: Ranking, cosines: NDArray[np.float32], best: NDArray[np.float64]
    ) -> tuple[Picture, str] | None:
        """Return the tile of one of `names`, the right names that are not shown; None where there are none.

        It is the first of them that is further down in the answer, or, where the answer has none, the nearest one.
        """
        if not names:
            return None
        later = [one for one in answer.names if one in names]
        if later:
            return self._tile(later[0], cosines, best, f"answered at {answer.names.index(later[0]) + 1}")
        nearest = max(names, key=lambda one: self._best(one, best))
        rank = 1 + int((best > self._best(nearest, best)).sum())
        known = np.isfinite(self._best(nearest, best))
        return self._tile(nearest, cosines, best, f"rank {rank:,}" if known else "missed")

    def _tile(
        self, name: str, cosines: NDArray[np.float32], best: NDArray[np.float64], verdict: str
    ) -> tuple[Picture, str]:
        """Return the picture of a name, its sample nearest to the query, and the lines below; text without a sample."""
        if not np.isfinite(self._best(name, best)):
            return text_tile(name), _lines(verdict, name)
        rows = np.flatnonzero(self.labels == self.number[name])
        shown = self.question.gallery[int(rows[cosines[rows].argmax()])]
        identity = identity_of(self.samples[shown])
        return self._image(shown), _lines(f"{self._best(name, best):.3f}  {verdict}", identity, shown)

    def _best(self, name: str, best: NDArray[np.float64]) -> float:
        return float(best[self.number[name]]) if name in self.number else -np.inf

    def _image(self, name: str) -> Picture:
        return self.contest.competition.image(self.samples[name].images[0])


def _lines(*words: str) -> str:
    """Join the lines below a picture; line breaks inside a name do not start a new line."""
    return "\n".join(printable(word, 80) for word in words)
