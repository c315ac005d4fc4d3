"""`medalist report`: the page of one run. Torch-free."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.files import read_image, sha256_json
from medalist.records import Ranking, Sample, Trial
from medalist.report.likeness import (
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
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import Picture, side_by_side
from medalist.report.retrieval import (
    MOST_HITS,
    EmbeddingMap,
    Hit,
    QueryPicture,
    RetrievalReport,
    Similarities,
    hits_grid,
    text_tile,
    write_retrieval_report,
)
from medalist.retrieval.asking import Asked, asked
from medalist.retrieval.neighbours import FEW_PRODUCTS, FEW_QUERIES, FEW_ROWS
from medalist.runs import Run
from medalist.search.embeddings import Embeddings
from medalist.settings import EmbedSettings
from medalist.stages.contest import Contest, fold_trials
from medalist.stages.score import Oof, oof_of_scores
from medalist.stages.vectors import embedded
from medalist.trials import identity_of

WORST, OTHERS = 12, 6
"""Queries on the page of a retrieval run: the worst; and as many typical and as many of the best."""


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
        trials = fold_trials(contest, run.folds(), fold)
        queries = sum(len(trial.queries) for trial in trials)
        for trial in trials:
            sizes.append((len(trial.queries), len(trial.gallery), vectors.dim))
            question = _asked(contest, trial, vectors, samples)
            mine, theirs = ([identity_of(samples[name]) for name in ids] for ids in (trial.queries, trial.gallery))
            each = -(-MOST_PAIRS * len(mine) // (2 * len(folds) * queries)) if queries else 0
            pairs.append(sampled_pairs(question, mine, theirs, each, rng, facts.new))
            for row, name in enumerate(trial.queries):
                if name in wanted:
                    asking = _Asking(contest, samples, question, theirs, row, truths[name], answers[name])
                    drawn[name] = asking.drawn(fold, oof.score.by_sample[name], mine[row])
    told = page.scores.get("retrieval") or {}
    every = joined_pairs(pairs)
    every = Pairs(every.same[:MOST_PAIRS], every.different[:MOST_PAIRS])
    equal = equal_error(every)
    threshold = told.get("threshold") if facts.new is not None else None
    some = len(every.same) + len(every.different) > 0
    return RetrievalReport(
        page,
        *([drawn[name] for name in group] for group in groups),
        map=first,
        similarities=Similarities(pairs_figure(every, equal, threshold), every, equal) if some else None,
        facts=_facts(contest, settings, truths, sizes),
        new=facts.new,
    )


def _rankings(answers: Mapping[str, Any]) -> dict[str, Ranking]:
    assert all(isinstance(answer, Ranking) for answer in answers.values()), "contests of identities answer names"
    return dict(answers)


def shown_queries(by_sample: Mapping[str, float]) -> tuple[list[str], list[str], list[str]]:
    """Ids of the worst, of typical (the middle of the rest) and of the best queries; none stands twice.

    Scores of queries often are equal: these are in the order of a hash, so that they are not all of one identity.
    """

    def place(name: str) -> tuple[float, str]:
        return by_sample[name], sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    ordered = sorted(by_sample, key=place)
    worst = ordered[: min(WORST, -(-len(ordered) // 2))]
    best = ordered[len(worst) :][::-1][:OTHERS]
    rest = ordered[len(worst) : len(ordered) - len(best)]
    start = max(0, (len(rest) - OTHERS) // 2)
    return worst, rest[start : start + OTHERS], best


def _scored_embeddings(run: Run, settings: EmbedSettings, fold: int, scores: Mapping[str, Any]) -> Embeddings:
    """A fold's embeddings; RunError where they are not those that were scored."""
    found = embedded(run, f"oof/fold{fold}", settings, [fold])
    if (scores.get("predictions") or {}).get(f"fold{fold}") != sha256_json(dict(found.made_by)):
        raise RunError(
            f"the embeddings {run.vectors(f'oof/fold{fold}')} are not those that were scored; "
            f"run medalist score {run.competition}/{run.name} again"
        )
    return found


def _asked(contest: Contest, trial: Trial, vectors: Embeddings, samples: Mapping[str, Sample]) -> Asked:
    key = contest.retrieval.apart
    hidden = None if key is None else {name: samples[name].meta.get(key) for name in (*trial.queries, *trial.gallery)}
    return asked(trial, vectors, vectors, apart=hidden)


@dataclass(frozen=True, eq=False)
class _Asking:
    """One query of a trial, its truth and its answer. who: the identity of each gallery sample."""

    contest: Contest
    samples: Mapping[str, Sample]
    question: Asked
    who: Sequence[str]
    row: int
    truth: Ranking
    answer: Ranking

    def drawn(self, fold: int, score: float, identity: str) -> QueryPicture:
        """Its row of pictures."""
        name = self.question.queries[self.row]
        cosines, ranks = self._cosines()
        shown = self.answer.names[:MOST_HITS]
        hits: list[Hit] = [self._hit(one, cosines) for one in shown]
        right = [one for one in self.truth.names if one not in shown]
        what = f"{len(self.truth.names)} right answers" if len(self.truth.names) > 1 else ""
        picture = hits_grid(
            self._image(name),
            hits,
            f"query\n{identity}\n{name}",
            missed=self._missed(right, cosines, ranks),
            columns=min(MOST_HITS, self.contest.retrieval.depth),
        )
        return QueryPicture(name, identity, fold, score, what, picture)

    def _cosines(self) -> tuple[dict[str, tuple[float, str]], dict[str, int]]:
        """Of each name that may be answered the cosine and the id of its nearest sample, and its rank by cosine."""
        question, code = self.question, int(self.question.query_codes[self.row])
        values = question.gallery_vectors @ question.query_vectors[self.row]
        seen = question.gallery_codes != code if code >= 0 else np.ones(len(values), np.bool_)
        named = self.contest.retrieval.names == "identities"
        found: dict[str, tuple[float, str]] = {}
        for at in np.argsort(-values, kind="stable").tolist():
            name = self.who[at] if named else question.gallery[at]
            if seen[at] and name != self.contest.retrieval.new:
                found.setdefault(name, (float(values[at]), question.gallery[at]))
        return found, {name: rank for rank, name in enumerate(found, start=1)}

    def _hit(self, name: str, cosines: Mapping[str, tuple[float, str]]) -> Hit:
        right = name in self.truth.names
        verdict = "right" if right else "wrong"
        if name not in cosines:
            return text_tile(name), f"{verdict}\n{name}", right
        cosine, nearest = cosines[name]
        return self._image(nearest), f"{cosine:.3f}  {verdict}\n{identity_of(self.samples[nearest])}\n{nearest}", right

    def _missed(
        self, right: Sequence[str], cosines: Mapping[str, tuple[float, str]], ranks: Mapping[str, int]
    ) -> tuple[Picture, str] | None:
        """A right answer that is not shown: the first of those further down in the answer, else the nearest."""
        if not right:
            return None
        later = [one for one in self.answer.names if one in right]
        name = later[0] if later else min(right, key=lambda one: ranks.get(one, len(ranks) + 1))
        place = f"answered at {self.answer.names.index(name) + 1}" if later else "missed"
        if name not in cosines:
            return text_tile(name), f"{place}\n{name}"
        cosine, nearest = cosines[name]
        place = place if later else f"rank {ranks[name]:,}"
        return self._image(nearest), f"{cosine:.3f}  {place}\n{identity_of(self.samples[nearest])}\n{nearest}"

    def _image(self, name: str) -> Picture:
        return read_image(self.samples[name].images[0], self.contest.competition.white)


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
    contest: Contest, settings: EmbedSettings, truths: Mapping[str, Ranking], sizes: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[str, str]]:
    """Rows of the small table; sizes: queries, gallery samples and components of each trial."""
    raise NotImplementedError
