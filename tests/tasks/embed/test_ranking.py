from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medalist.errors import ConfigError, RunError, SubmissionError
from medalist.files import read_table
from medalist.kinds import run_settings
from medalist.metrics.retrieval import map_at, recall_at
from medalist.records import Ranking
from medalist.reporter import SilentReporter
from medalist.retrieval.contests import fold_splits, format_of_test
from medalist.retrieval.splits import identity_of, right_names
from medalist.runs.runs import find_run
from medalist.search.embeddings import Embeddings
from medalist.tasks.embed.answering import NMI
from medalist.tasks.embed.ranking import rank_test
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import read_vectors, retrieval_of, stored
from medalist.workflows.score import changed_settings, oof_of_scores, score_run
from medalist.workflows.submit import submit


def told_apart(made: Any, folds: tuple[int, ...] = (0, 1), noise: float = 0.5) -> None:
    """Replace the embeddings by ones in which an identity is a direction: what a good network would give."""
    contest = made.contest()
    by_id = {sample.id: sample for sample in contest.split.train}
    who = sorted({identity_of(sample) for sample in by_id.values()})
    rng = np.random.default_rng(0)
    for fold in folds:
        store, part = stored(made.run, f"oof/fold{fold}")
        found = store.read(part)
        rows = np.eye(len(who))[[who.index(identity_of(by_id[name])) for name in found.ids]]
        unknown = [identity_of(by_id[name]) == retrieval_of(contest).new for name in found.ids]
        rows[unknown] = rng.normal(size=(sum(unknown), len(who)))
        rows = rows + noise * rng.normal(size=rows.shape) / np.sqrt(len(who))
        vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        store.write(part, Embeddings(found.ids, vectors, found.made_by))


def by_hand(made: Any, fold: int) -> dict[str, list[str]]:
    """The slow twin: each query, all gallery samples by cosine, identities by their best sample."""
    contest = made.contest()
    by_id = {sample.id: sample for sample in contest.split.train}
    found = read_vectors(made.run, f"oof/fold{fold}")
    ranked: dict[str, list[str]] = {}
    for split in fold_splits(contest, made.run.folds(), fold):
        for query in split.queries:
            cosines = {name: float(found.take([name])[0] @ found.take([query])[0]) for name in split.gallery}
            order = sorted((name for name in split.gallery if name != query), key=lambda name: -cosines[name])
            if retrieval_of(contest).names == "identities":
                order = list(dict.fromkeys(identity_of(by_id[name]) for name in order))
                order = [name for name in order if name != retrieval_of(contest).new]
            ranked[query] = order[: retrieval_of(contest).depth]
    return ranked


@pytest.mark.parametrize("which", ["whales", "signs"])
def test_oof_answers_go_through_the_file_and_are_those_of_brute_force(
    which: str, request: pytest.FixtureRequest, quiet: SilentReporter
) -> None:
    made = request.getfixturevalue(which)
    told_apart(made, noise=2.0)
    contest = made.contest()
    settings = changed_settings(made.run, ["decide.assign=false"], "decide")
    scores = score_run(made.run, contest, settings, quiet, keep=True)
    column = contest.competition.submission.columns
    rows = {row[column[0]]: row[column[1]].split() for row in read_table(made.run.folder / "oof.csv", column)}
    expected = {**by_hand(made, 0), **by_hand(made, 1)}
    assert rows == expected
    by_id = {sample.id: sample for sample in contest.split.train}
    splits = [split for fold in (0, 1) for split in fold_splits(contest, made.run.folds(), fold)]
    facts = retrieval_of(contest)
    truths = right_names(splits, by_id, facts.names, facts.new, facts.exclusion_key)
    metric = map_at(5) if which == "whales" else recall_at(1)
    value = metric(truths, {name: Ranking(tuple(names)) for name, names in expected.items()}).value
    assert scores["oof"]["value"] == pytest.approx(value)
    assert 0.2 < value < 1
    plain = scores["retrieval"]["cosine_alone"]
    if which == "signs":  # samples by cosine are its answers
        assert plain["recall@1"] == pytest.approx(value)
    assert 0 < plain["map@r"] <= plain["recall@10"] <= 1 and "nmi" not in plain
    again = oof_of_scores(made.run, contest)
    assert again.score.value == scores["oof"]["value"] and again.truths == {s.id: truths[s.id] for s in again.samples}


def test_clusters_are_told_on_request(whales: Any, quiet: SilentReporter) -> None:
    told_apart(whales, noise=0.0)
    scores = score_run(whales.run, whales.contest(), run_settings(whales.run), quiet, [NMI])
    assert 0.5 < scores["retrieval"]["cosine_alone"]["nmi"] <= 1


def test_one_to_one_answers_are_all_different(signs: Any, quiet: SilentReporter) -> None:
    told_apart(signs, noise=2.0)
    contest = signs.contest()
    values = {}
    for assign in ("true", "false"):
        settings = changed_settings(signs.run, [f"decide.assign={assign}"], "decide")
        values[assign] = score_run(signs.run, contest, settings, quiet, keep=True)["oof"]["value"]
        answers = oof_of_scores(signs.run, contest).answers
        splits = fold_splits(contest, signs.run.folds(), 0)
        first = [[answers[name].names[0] for name in split.queries] for split in splits]
        assert all(len(set(names)) == len(names) for names in first) == (assign == "true")
    assert values["true"] > values["false"]


def test_the_threshold_of_new_identities_is_nested_and_then_used(
    whales: Any, quiet: SilentReporter, tmp_path: Any
) -> None:
    told_apart(whales)
    contest = whales.contest()
    settings = changed_settings(whales.run, ["decide.new=tuned"], "decide")
    scores = score_run(whales.run, contest, settings, quiet)
    told = scores["retrieval"]
    assert told["queries"] == len(contest.split.train)
    assert scores["oof"]["value"] == pytest.approx(told["honest"]) and told["naive"] >= told["honest"]
    assert told["honest"] > told["without_threshold"], "half of these whales are new"
    assert set(told["thresholds"]) == {"0", "1"}
    submit([whales.run], tmp_path / "s.csv", str(whales.data), whales.runs, quiet)
    # The test part is embedded by untrained networks: what counts is that the tuned threshold is used.
    assert isinstance(settings, EmbedSettings)
    same = rank_test([(whales.run, settings)], contest, settings.decide, told["threshold"], quiet)
    parsed = format_of_test(contest).parse(tmp_path / "s.csv", contest.split.test)
    assert parsed == same


def test_a_threshold_must_be_found_before_it_is_used(whales: Any, quiet: SilentReporter, tmp_path: Any) -> None:
    config = whales.run.folder / "config.yaml"
    config.write_text(config.read_text().replace("new: null", "new: tuned"))
    with pytest.raises(RunError, match=r"decide\.new = tuned: no threshold yet; run medalist score"):
        submit([whales.run], tmp_path / "s.csv", str(whales.data), whales.runs, quiet)
    assert not (tmp_path / "s.csv").exists()


def test_new_identities_need_a_name(signs: Any, quiet: SilentReporter) -> None:
    settings = changed_settings(signs.run, ["decide.new=0.5"], "decide")
    with pytest.raises(RunError, match=r"omniglot\.oneshot has no name for a new identity"):
        score_run(signs.run, signs.contest(), settings, quiet)


@pytest.mark.parametrize("way", ["head=knn", "head=prototype", "prototypes=0.5", "expand=2", "augment_gallery=2"])
def test_every_way_of_ranking_makes_a_valid_file(whales: Any, quiet: SilentReporter, tmp_path: Any, way: str) -> None:
    settings = changed_settings(whales.run, [f"decide.{way}"], "decide")
    scores = score_run(whales.run, whales.contest(), settings, quiet)
    assert 0 <= scores["oof"]["value"] <= 1
    assert submit([whales.run], tmp_path / "s.csv", str(whales.data), whales.runs, quiet) > 0


def test_ways_that_do_not_fit_the_contest_are_refused(signs: Any, quiet: SilentReporter) -> None:
    settings = changed_settings(signs.run, ["decide.head=knn"], "decide")
    with pytest.raises(ConfigError, match=r"decide\.head=knn is for contests that answer identities"):
        score_run(signs.run, signs.contest(), settings, quiet)


def test_two_runs_are_blended_by_their_mean_cosine(whales: Any, quiet: SilentReporter, tmp_path: Any) -> None:
    import shutil

    from medalist.runs.runs import Run

    other = Run(shutil.copytree(whales.run.folder, whales.runs / "humpback_whale" / "other"))
    submit([whales.run], tmp_path / "one.csv", str(whales.data), whales.runs, quiet)
    submit([other], tmp_path / "other.csv", str(whales.data), whales.runs, quiet)
    submit([whales.run, other], tmp_path / "both.csv", str(whales.data), whales.runs, quiet)
    assert (tmp_path / "both.csv").read_text() == (tmp_path / "one.csv").read_text(), "equal runs change nothing"
    store, part = stored(other, "test/queries")
    found = store.read(part)
    mixed = found.take([*found.ids[1:], found.ids[0]])
    store.write(part, Embeddings(found.ids, mixed, found.made_by))
    submit([whales.run, other], tmp_path / "mixed.csv", str(whales.data), whales.runs, quiet)
    assert (tmp_path / "mixed.csv").read_text() != (tmp_path / "one.csv").read_text()


def test_a_run_of_masks_and_one_of_vectors_are_not_blended(
    whales: Any, trained: Any, quiet: SilentReporter, tmp_path: Any
) -> None:
    with pytest.raises(RunError, match="different contests"):
        submit([whales.run, trained.run], tmp_path / "s.csv", None, whales.runs, quiet)


def test_names_that_the_gallery_does_not_have_are_refused(whales: Any, quiet: SilentReporter, tmp_path: Any) -> None:
    contest = whales.contest()
    text = contest.reference.read_text()
    lines = text.splitlines()
    spoilt = tmp_path / "s.csv"
    spoilt.write_text("\n".join([lines[0], lines[1].replace("new_whale", "w_nobody"), *lines[2:]]) + "\n")
    problems = format_of_test(contest).validate(spoilt, contest.split.test, contest.reference)
    assert [problem.row for problem in problems] == [2]
    with pytest.raises(SubmissionError, match="w_nobody"):
        format_of_test(contest).parse(spoilt, contest.split.test)


def test_a_run_whose_folder_was_moved_is_scored_and_sent(whales: Any, quiet: SilentReporter, tmp_path: Any) -> None:
    before = score_run(whales.run, whales.contest(), run_settings(whales.run), quiet)
    submit([whales.run], tmp_path / "before.csv", str(whales.data), whales.runs, quiet)
    whales.run.folder.rename(whales.run.folder.with_name("moved"))
    moved = find_run("humpback_whale/moved", whales.runs)
    after = score_run(moved, whales.contest(), run_settings(moved), quiet)
    assert after["oof"] == before["oof"]
    submit([moved], tmp_path / "after.csv", str(whales.data), whales.runs, quiet)
    assert (tmp_path / "after.csv").read_text() == (tmp_path / "before.csv").read_text()
