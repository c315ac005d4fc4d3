from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from refusals import one_line

from medalist.competition import load_competition
from medalist.contest import Contest, contest_folds
from medalist.errors import DataError, RunError
from medalist.files import write_json
from medalist.kinds import load_settings, run_settings
from medalist.records import Ranking
from medalist.reporter import SilentReporter
from medalist.retrieval.contests import fold_splits
from medalist.retrieval.splits import identity_of
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, create_run, make_lock
from medalist.search.gallery import Embeddings
from medalist.tasks.embed.page import shown_queries
from medalist.tasks.embed.report import retrieval_report
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import made_by, read_vectors, retrieval_of, stored
from medalist.workflows.report import report
from medalist.workflows.score import oof_of_scores, score_run

PROJECT = Path(__file__).parents[3]
EMBED = """\
competition: {name}
folds: {{n: {folds}, seed: 1}}
task: {{kind: embed}}
image: {{size: [32, 32]}}
model: {{kind: embedder, encoder: test_resnet, weights: none, dim: 16}}
loss: {{terms: [{{kind: arcface, margin: 0.3, scale: 30}}]}}
decide: {decide}
tracking: none
"""


def embedded_run(
    home: Path, name: str, decide: str = "{kind: rank}", folds: int = 2, noise: float = 1.2
) -> tuple[Run, Contest]:
    """A run as the training leaves it, of stand-ins: each embedding is its identity's direction and noise."""
    track = load_competition(name)
    data = home / "data"
    assert track.draw is not None
    track.draw(data, 3)
    config = home / "tiny.yaml"
    config.write_text(EMBED.format(name=name, decide=decide, folds=folds))
    settings = load_settings(config)
    assert isinstance(settings, EmbedSettings)
    contest = open_contest(name, data, home / "runs")
    made = contest_folds(contest, settings.folds, home / "runs")
    lock = make_lock(settings, contest.split, made, {}, data, config, ())
    run = create_run(home / "runs" / name / "tiny", settings, lock)
    folder = next((home / "runs" / name / "folds").glob("*.csv"))
    shutil.copy(folder, run.folder / "folds.csv")
    samples = {sample.id: sample for sample in contest.split.train}
    whom = sorted({identity_of(sample) for sample in contest.split.train})
    for fold in range(folds):
        run.fold_folder(fold).mkdir()
        run.checkpoint(fold, "last").write_bytes(bytes([fold]))
        rows = [{"epoch": epoch, "step": epoch, "lr": 0.1, "loss": 2.0 / (epoch + 1)} for epoch in range(6)]
        (run.fold_folder(fold) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        splits = fold_splits(contest, made, fold)
        ids = sorted({one for split in splits for one in (*split.queries, *split.gallery)})
        rng = np.random.default_rng(fold)
        prototypes = rng.standard_normal((len(whom), 16))
        vectors = np.stack([prototypes[whom.index(identity_of(samples[one]))] for one in ids])
        unknown = np.array([identity_of(samples[one]) == retrieval_of(contest).new for one in ids])
        vectors[unknown] = rng.standard_normal((int(unknown.sum()), 16))
        vectors += noise * rng.standard_normal(vectors.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        told = made_by(run, settings, [fold])
        store, part = stored(run, f"oof/fold{fold}")
        store.write(part, Embeddings(tuple(ids), vectors.astype(np.float32), told))
    return run, contest


@pytest.fixture(scope="module")
def scored_whales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a scored run. Tests must not change it."""
    home = tmp_path_factory.mktemp("whales")
    with contextlib.chdir(PROJECT):
        run, contest = embedded_run(home, "humpback_whale", "{kind: rank, new: tuned}")
        score_run(run, contest, run_settings(run), SilentReporter())
    return home


@pytest.fixture
def whales(scored_whales: Path, at_home: Path, tmp_path: Path) -> tuple[Run, Contest]:
    """A copy of the scored run, which a test may change."""
    shutil.copytree(scored_whales, tmp_path, dirs_exist_ok=True)
    contest = open_contest("humpback_whale", tmp_path / "data", tmp_path / "runs")
    return Run(tmp_path / "runs" / "humpback_whale" / "tiny"), contest


def test_the_page_of_a_retrieval_run(whales: tuple[Run, Contest]) -> None:
    run, contest = whales
    text = report(run, contest, run_settings(run)).read_text()
    oof = oof_of_scores(run, contest)
    groups = shown_queries(oof.score.by_sample)
    assert text.count("data:image/jpeg") == sum(map(len, groups)) == 24
    for name in (name for group in groups for name in group):
        assert f"query {name} and its answers" in text
    told = (run.scores() or {})["retrieval"]
    for value in (told["honest"], told["naive"], told["without_threshold"], (run.scores() or {})["oof"]["value"]):
        assert f"{value:.3f}" in text
    assert text.count("<svg") == 4 and "new below" in text and "equal-error rate" in text
    assert "two principal components" in text and f"{len(run.folds().held_out(0))} held-out samples of fold 0" in text
    assert "14 training samples are new_whale" in text and "12 in training, 4 of them with one sample" in text
    assert "<script" not in text and not re.search(r"""(?:src|href)=["'](?!data:image/|#)""", text)


def test_the_page_is_the_same_twice(whales: tuple[Run, Contest]) -> None:
    run, contest = whales
    settings = run_settings(run)
    assert report(run, contest, settings).read_bytes() == report(run, contest, settings).read_bytes()


def test_embeddings_that_were_not_scored_are_refused(whales: tuple[Run, Contest]) -> None:
    run, contest = whales
    scores = run.scores() or {}
    scores["predictions"]["fold1"] = "0" * 64
    write_json(run.folder / "scores.json", scores)
    message = one_line(RunError, lambda: report(run, contest, run_settings(run)))
    assert "oof/fold1.npy are not those that were scored; run medalist score humpback_whale/tiny again" in message
    run.checkpoint(0, "last").write_bytes(b"other")
    assert "come from other weights" in one_line(RunError, lambda: report(run, contest, run_settings(run)))
    assert not (run.folder / "report").exists()


def test_an_image_that_is_gone_is_one_line_and_no_page(whales: tuple[Run, Contest]) -> None:
    run, contest = whales
    for sample in contest.split.train:
        sample.images[0].write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        report(run, contest, run_settings(run))
    assert "\n" not in str(caught.value) and not (run.folder / "report").exists()


@pytest.mark.parametrize(
    "name", [pytest.param("omniglot", marks=pytest.mark.slow), "omniglot.oneshot", "google_landmark"]
)
def test_pages_of_other_contests(at_home: Path, tmp_path: Path, quiet: SilentReporter, name: str) -> None:
    run, contest = embedded_run(tmp_path, name)
    score_run(run, contest, run_settings(run), quiet)
    text = report(run, contest, run_settings(run)).read_text()
    assert "Worst queries" in text and "equal-error rate" in text
    assert "New identities" not in text and "nan" not in text.split()
    truths = oof_of_scores(run, contest).truths
    for query, truth in truths.items():  # which cannot be answered: no worst queries
        assert isinstance(truth, Ranking)
        assert truth.names or f"query {query} and" not in text


@pytest.mark.parametrize("name", ["humpback_whale", "grocery_retrieval"])
def test_rows_say_what_a_loop_finds(
    at_home: Path, tmp_path: Path, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Cosines, verdicts and the rank of a missed answer, against plain loops over the embeddings."""
    whale = name == "humpback_whale"
    run, contest = embedded_run(tmp_path, name, "{kind: rank, new: tuned}" if whale else "{kind: rank, expand: 3}")
    score_run(run, contest, run_settings(run), quiet)
    seen: list[tuple[str, list[Any], Any]] = []

    def record(picture: Any, hits: Any, caption: str, *, missed: Any, columns: int) -> np.ndarray:
        seen.append((caption, [(words, right) for _, words, right in hits], missed and missed[1]))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("medalist.tasks.embed.query_pictures.hits_grid", record)
    report(run, contest, run_settings(run))
    oof = oof_of_scores(run, contest)
    who = {sample.id: identity_of(sample) for sample in contest.split.train}
    for caption, hits, missed in seen:
        _, identity, query = caption.split("\n")
        assert identity == who[query]
        fold = run.folds().fold_of(query)
        found = read_vectors(run, f"oof/fold{fold}")
        (split,) = (one for one in fold_splits(contest, run.folds(), fold) if query in one.queries)
        cosine = {one: float(found.take([query])[0] @ found.take([one])[0]) for one in split.gallery if one != query}
        nearest: dict[str, str] = {}
        for one in sorted(cosine, key=lambda one: -cosine[one]):
            if who[one] != "new_whale":
                nearest.setdefault(who[one] if whale else one, one)
        answer, truth = oof.answers[query], oof.truths[query]
        assert isinstance(answer, Ranking) and isinstance(truth, Ranking)
        due = []
        for one in answer.names[:6]:
            verdict = "right" if one in truth.names else "wrong"
            words = f"{verdict}\n{one}"
            if one in nearest:
                words = f"{cosine[nearest[one]]:.3f}  {verdict}\n{who[nearest[one]]}\n{nearest[one]}"
            due.append((words, one in truth.names))
        assert hits == due
        lost = [one for one in nearest if one in truth.names and one not in answer.names]
        if lost:
            rank = list(nearest).index(lost[0]) + 1
            assert missed == f"{cosine[nearest[lost[0]]]:.3f}  rank {rank}\n{who[nearest[lost[0]]]}\n{nearest[lost[0]]}"
        elif truth.names == ("new_whale",) and "new_whale" not in answer.names:
            assert missed == "missed\nnew_whale"
        else:
            assert missed is None
    assert len(seen) == 24 and sum(missed is not None for _, _, missed in seen) > 2


def test_the_map_says_what_drew_it(whales: tuple[Run, Contest], monkeypatch: pytest.MonkeyPatch) -> None:
    class Umap:
        def __init__(self, **settings: Any) -> None:
            assert settings["random_state"] == 0

        def fit_transform(self, vectors: np.ndarray) -> np.ndarray:
            return vectors[:, :2]

    module = ModuleType("umap")
    module.UMAP = Umap  # type: ignore[attr-defined]
    module.__spec__ = ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    run, contest = whales
    settings, plain = run_settings(run), retrieval_report

    def drawn_by() -> str:
        text = report(run, contest, settings).read_text()
        (found,) = (how for how in ("UMAP by cosines", "two principal components") if how in text)
        return found

    assert drawn_by() == "two principal components"
    monkeypatch.setattr("medalist.tasks.embed.report.retrieval_report", partial(plain, umap=True))
    assert drawn_by() == "UMAP by cosines"
    monkeypatch.setitem(sys.modules, "umap", None)
    assert drawn_by() == "two principal components"
