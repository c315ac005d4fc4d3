"""`medalist report`: the page of one run. Torch-free."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest, fold_splits
from medalist.errors import RunError
from medalist.files import read_image, sha256_json
from medalist.records import Ranking, RetrievalSplit, Sample
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import Picture, printable, side_by_side
from medalist.retrieval.asking import Asked, asked
from medalist.retrieval.neighbours import FEW_PRODUCTS, FEW_QUERIES, FEW_ROWS
from medalist.retrieval.settings import RankConfig
from medalist.retrieval.splits import identity_of
from medalist.runs import Run
from medalist.search.embeddings import Embeddings
from medalist.settings import EmbedSettings
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
from medalist.tasks.embed.page import (
    MOST_HITS,
    EmbeddingMap,
    Hit,
    QueryPicture,
    RetrievalReport,
    Similarities,
    hits_grid,
    shown_queries,
    text_tile,
    write_retrieval_report,
)
from medalist.tasks.embed.vectors import embedded
from medalist.workflows.score import Oof, oof_of_scores


def report(run: Run, contest: Contest, *, umap: bool = False) -> Path:
    """Write `report/index.html` of a scored run and return its path; RunError where it was not scored yet.

    umap: draw the map of a retrieval run by UMAP, where that package is installed.
    """
    oof = oof_of_scores(run, contest)
    scores, settings = run.scores(), run.settings()
    assert scores is not None
    worst, best = extremes(oof.score.by_sample) if not isinstance(settings, EmbedSettings) else ([], [])
    path = run.folder / "report" / "index.html"
    page = RunReport(
        run=run.name,
        competition=run.competition,
        config=(run.folder / "config.yaml").read_text(encoding="utf-8"),
        provenance=asdict(run.lock()),
        curves={f"fold {fold}": metrics_rows(run, fold) for fold in run.trained_folds()},
        scores=scores,
        worst=_pictures(run, contest, oof, worst),
        best=_pictures(run, contest, oof, best),
    )
    if isinstance(settings, EmbedSettings):
        write_retrieval_report(path, _retrieval(run, contest, settings, oof, page, umap))
    else:
        write_report(path, page)
    return path


def metrics_rows(run: Run, fold: int) -> list[dict[str, Any]]:
    """The rows of a fold's metrics.jsonl, one an epoch."""
    path = run.fold_folder(fold) / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not a row of figures")
        return rows
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({' '.join(str(error).split())[:80]}); train that fold again") from None


def _pictures(run: Run, contest: Contest, oof: Oof, ids: Sequence[str]) -> list[SamplePicture]:
    folds = run.folds()
    by_id: dict[str, Sample] = {sample.id: sample for sample in oof.samples}
    pictures = []
    for name in ids:
        sample = by_id[name]
        image = read_image(sample.images[0], contest.competition.white)
        picture = side_by_side(image, oof.truths[name], oof.answers[name])
        pictures.append(SamplePicture(name, folds.fold_of(name), oof.score.by_sample[name], sample.stratum, picture))
    return pictures


def _retrieval(
    run: Run, contest: Contest, settings: EmbedSettings, oof: Oof, page: RunReport, umap: bool
) -> RetrievalReport:
    """What the page of a run of embeddings shows besides."""
    facts, samples = contest.retrieval, {sample.id: sample for sample in contest.split.train}
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
        trials = fold_splits(contest, run.folds(), fold)
        queries = sum(len(trial.queries) for trial in trials)
        for trial in trials:
            sizes.append((len(trial.queries), len(trial.gallery), vectors.dim))
            question = _asked(contest, trial, vectors, samples)
            mine, theirs = ([identity_of(samples[name]) for name in ids] for ids in (trial.queries, trial.gallery))
            each = -(-MOST_PAIRS * len(mine) // (2 * len(folds) * queries))
            pairs.append(sampled_pairs(question, mine, theirs, each, rng, facts.new))
            here = [name for name in trial.queries if name in wanted]
            rows = _Rows.of(contest, samples, question, theirs) if here else None
            for name in here:
                assert rows is not None
                score = oof.score.by_sample[name]
                drawn[name] = rows.drawn(trial.queries.index(name), fold, score, truths[name], answers[name])
    told = page.scores.get("retrieval") or {}
    every = joined_pairs(pairs)
    every = Pairs(every.same[: MOST_PAIRS // 2], every.different[: MOST_PAIRS // 2])
    equal = equal_error(every)
    threshold = told.get("threshold") if facts.new is not None else None
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


def _rankings(answers: Mapping[str, Any]) -> dict[str, Ranking]:
    assert all(isinstance(answer, Ranking) for answer in answers.values()), "contests of identities answer names"
    return dict(answers)


def _scored_embeddings(run: Run, settings: EmbedSettings, fold: int, scores: Mapping[str, Any]) -> Embeddings:
    """A fold's embeddings; RunError where they are not those that were scored."""
    found = embedded(run, f"oof/fold{fold}", settings, [fold])
    if (scores.get("predictions") or {}).get(f"fold{fold}") != sha256_json(dict(found.made_by)):
        raise RunError(
            f"the embeddings {run.vectors(f'oof/fold{fold}')} are not those that were scored; "
            f"run medalist score {run.competition}/{run.name} again"
        )
    return found


def _asked(contest: Contest, trial: RetrievalSplit, vectors: Embeddings, samples: Mapping[str, Sample]) -> Asked:
    key = contest.retrieval.apart
    hidden = None if key is None else {name: samples[name].meta.get(key) for name in (*trial.queries, *trial.gallery)}
    return asked(trial, vectors, vectors, apart=hidden)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Makes the rows of pictures of one trial's queries.

    number: of each name that may be answered; labels: int64[N], that of each gallery sample; unknown: the number of
    `new`, -1 where there is none.
    """

    contest: Contest
    samples: Mapping[str, Sample]
    question: Asked
    number: Mapping[str, int]
    labels: NDArray[np.int64]
    unknown: int

    @classmethod
    def of(cls, contest: Contest, samples: Mapping[str, Sample], question: Asked, who: Sequence[str]) -> _Rows:
        """Rows of a trial; who: the identity of each gallery sample."""
        number: dict[str, int] = {}
        names = who if contest.retrieval.names == "identities" else question.gallery
        labels = np.array([number.setdefault(name, len(number)) for name in names], np.int64)
        unknown = number.get(contest.retrieval.new, -1) if contest.retrieval.new is not None else -1
        return cls(contest, samples, question, number, labels, unknown)

    def drawn(self, row: int, fold: int, score: float, truth: Ranking, answer: Ranking) -> QueryPicture:
        """The row of pictures of one query: of its first answers, and of a right one that is not among them."""
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
            columns=min(MOST_HITS, self.contest.retrieval.depth),
        )
        what = f"{len(truth.names)} right answers" if len(truth.names) > 1 else ""
        return QueryPicture(name, identity, fold, score, what, picture)

    def _cosines(self, row: int) -> NDArray[np.float32]:
        """The cosine of each gallery sample, -inf for those that the query may not see and for unknown identities."""
        question, code = self.question, int(self.question.query_codes[row])
        barred = (question.gallery_codes == code) & (code >= 0) | (self.labels == self.unknown)
        values = question.gallery_vectors @ question.query_vectors[row]
        return np.where(barred, np.float32(-np.inf), values).astype(np.float32)

    def _missed(
        self, names: Sequence[str], answer: Ranking, cosines: NDArray[np.float32], best: NDArray[np.float64]
    ) -> tuple[Picture, str] | None:
        """Of right names that are not shown the first that stands further down in the answer, else the nearest."""
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
        """The picture of a name: its sample that is nearest to the query; a tile of text where it has none to see."""
        if not np.isfinite(self._best(name, best)):
            return text_tile(name), _lines(verdict, name)
        rows = np.flatnonzero(self.labels == self.number[name])
        shown = self.question.gallery[int(rows[cosines[rows].argmax()])]
        identity = identity_of(self.samples[shown])
        return self._image(shown), _lines(f"{self._best(name, best):.3f}  {verdict}", identity, shown)

    def _best(self, name: str, best: NDArray[np.float64]) -> float:
        return float(best[self.number[name]]) if name in self.number else -np.inf

    def _image(self, name: str) -> Picture:
        return read_image(self.samples[name].images[0], self.contest.competition.white)


def _lines(*words: str) -> str:
    """Lines below a picture; names may hold line breaks of their own, which are no lines here."""
    return "\n".join(printable(word, 80) for word in words)


def _map(
    vectors: Embeddings, held_out: Sequence[str], samples: Mapping[str, Sample], fold: int, new: str | None, umap: bool
) -> EmbeddingMap | None:
    """A map of samples that the fold's network did not see; None for fewer than three."""
    ids = [name for name in held_out if name in vectors.row_of]
    if len(ids) > MOST_MAPPED:
        chosen: NDArray[np.int64] = np.sort(np.random.default_rng(fold).choice(len(ids), MOST_MAPPED, replace=False))
        ids = [ids[at] for at in chosen.tolist()]
    if len(ids) < 3:
        return None
    points, how = flat(vectors.take(ids), umap=umap)
    return EmbeddingMap(map_figure(points, [identity_of(samples[name]) for name in ids], new), how, len(ids), fold)


def _facts(
    contest: Contest, config: RankConfig, truths: Mapping[str, Ranking], sizes: Sequence[tuple[int, int, int]]
) -> list[tuple[str, str]]:
    """Rows of the small table; sizes: queries, gallery samples and components of each trial."""
    new = contest.retrieval.new
    counts = Counter(identity_of(sample) for sample in contest.split.train)
    named = [count for name, count in counts.items() if name != new]
    lonely = sum(not truth.names or truth.names == (new,) for truth in truths.values())
    galleries = sorted(rows for _, rows, _ in sizes)
    span = f"{galleries[0]:,}" if galleries[0] == galleries[-1] else f"{galleries[0]:,} to {galleries[-1]:,}"
    many = any(q >= FEW_QUERIES and n >= FEW_ROWS and q * n * dim >= FEW_PRODUCTS for q, n, dim in sizes)
    how = f"by cells at a recall of at least {config.recall:g}" if many and config.recall < 1 else "exact"
    steps = [f"decide.{name}={value}" for name, value in _changed(config)]
    return [
        ("queries", f"{len(truths):,} in {len(sizes):,} {'trial' if len(sizes) == 1 else 'trials'}"),
        ("without an answer", f"{lonely:,} queries: their gallery has nobody of their identity"),
        ("gallery", f"{span} samples a trial"),
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
    """What a config adds to the ranking by cosines; new identities have their own section."""
    plain, found = (one.model_dump(mode="json", exclude={"new", "new_share"}) for one in (RankConfig(), config))
    found["rerank"] = found["rerank"]["kind"]
    plain["rerank"] = plain["rerank"]["kind"]
    return [(name, value) for name, value in found.items() if value != plain[name]]
