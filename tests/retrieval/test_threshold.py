from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.metrics.retrieval import map_at
from medalist.records import Ranking, Score
from medalist.retrieval.rank import Candidates, answers
from medalist.retrieval.threshold import nested, share_threshold, tune

Found = dict[str, Candidates]
Truths = dict[str, Ranking]
NEW = "new"


def map_at_5(truths: Mapping[str, Ranking], given: Mapping[str, Ranking]) -> Score:
    """1 / rank of the one right name in the first five, by hand."""
    assert truths.keys() == given.keys()
    by_query = {}
    for query, truth in truths.items():
        names = given[query].names
        assert len(names) <= 5 and len(set(names)) == len(names)
        by_query[query] = 1 / (1 + names.index(truth.names[0])) if truth.names[0] in names else 0.0
    return Score(float(np.mean(list(by_query.values()))), {}, by_query)


def crowd(count: int, share: float, seed: int, gap: float = 0.25, offset: int = 0) -> tuple[Found, Truths]:
    """Queries whose best score tells, not always, whether they are new."""
    rng = np.random.default_rng(seed)
    found, truths = {}, {}
    for at in range(offset, offset + count):
        new = rng.random() < share
        scores = np.sort(rng.uniform(0, 0.6, rng.integers(1, 9)))[::-1]
        scores[0] = rng.normal(0.6 - gap / 2 if new else 0.6 + gap / 2, 0.15)
        names = tuple(f"n{name}" for name in range(len(scores)))
        found[f"q{at}"] = Candidates(names, np.sort(scores)[::-1].astype(np.float32))
        truths[f"q{at}"] = Ranking((NEW,) if new else (names[min(rng.geometric(0.7), len(names)) - 1],))
    return found, truths


def weighted(found: Found, truths: Truths, threshold: float | None, share: float | None, depth: int = 5) -> float:
    """The score by the answers themselves, at one threshold."""
    score = map_at_5({query: truths[query] for query in found}, answers(found, depth, new=NEW, threshold=threshold))
    if share is None:
        return score.value
    new = [value for query, value in score.by_sample.items() if truths[query].names == (NEW,)]
    known = [value for query, value in score.by_sample.items() if truths[query].names != (NEW,)]
    return float((share * np.mean(new) if share else 0) + ((1 - share) * np.mean(known) if share < 1 else 0))


def every_threshold(found: Found) -> list[float]:
    values = np.unique(np.concatenate([one.scores.astype(np.float64) for one in found.values()]))
    return [-1.0, *((values[1:] + values[:-1]) / 2).tolist(), 2.0]


@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.sampled_from([None, 0.0, 0.2, 0.7, 1.0]),
    st.integers(1, 5),
    st.booleans(),
)
def test_no_threshold_is_better(seed: int, count: int, share: float | None, depth: int, coarse: bool) -> None:
    found, truths = crowd(count, 0.4, seed)
    truths |= {"q0": Ranking((NEW,)), "q1": Ranking(("n0",))}
    found.setdefault("q1", Candidates(("n0",), np.array([0.5], np.float32)))
    if coarse:  # many equal scores
        found = {query: Candidates(one.names, np.round(one.scores, 1)) for query, one in found.items()}
    if seed % 3 == 0:  # as after a one-to-one assignment: not in the order of their scores
        found = {query: Candidates(one.names, one.scores[::-1].copy()) for query, one in found.items()}
    threshold = tune(found, truths, map_at_5, new=NEW, depth=depth, share=share)
    best = max(weighted(found, truths, at, share, depth) for at in every_threshold(found))
    assert weighted(found, truths, threshold, share, depth) == pytest.approx(best, abs=1e-8)


def one(*scores: float) -> Candidates:
    return Candidates(tuple(f"n{at}" for at in range(len(scores))), np.array(scores, np.float32))


def test_the_middle_of_the_widest_best_range() -> None:
    found = {"a": one(0.75, 0.25), "b": one(0.5), "c": one(0.25)}
    truths = {"a": Ranking(("n0",)), "b": Ranking((NEW,)), "c": Ranking((NEW,))}
    assert tune(found, truths, map_at_5, new=NEW, depth=5) == pytest.approx(0.625)
    # Nobody new: every threshold up to the lowest right score is as good, and cosines begin at -1.
    assert tune(found, dict.fromkeys("abc", Ranking(("n0",))), map_at_5, new=NEW, depth=5) == pytest.approx(-0.375)
    # Everybody new: all above the highest.
    assert tune(found, dict.fromkeys("abc", Ranking((NEW,))), map_at_5, new=NEW, depth=5) == pytest.approx(0.875)


def test_the_prior_moves_the_threshold() -> None:
    found, truths = crowd(2000, 0.3, 1)
    tuned = [tune(found, truths, map_at_5, new=NEW, depth=5, share=share) for share in (0.05, 0.3, 0.8)]
    assert tuned == sorted(tuned) and tuned[2] > tuned[0] + 0.1


def test_the_metric_of_the_contest_gives_the_same() -> None:
    by_fold, truths = folds(3, 40)
    ours = nested(by_fold, truths, map_at(5), new=NEW, depth=5, share=0.4)
    by_hand = nested(by_fold, truths, map_at_5, new=NEW, depth=5, share=0.4)
    assert ours.by_fold == by_hand.by_fold and ours.honest == pytest.approx(by_hand.honest)


def test_queries_without_candidates_count_too() -> None:
    nobody = Candidates((), np.empty(0, np.float32))
    assert tune({"a": nobody}, {"a": Ranking((NEW,))}, map_at_5, new=NEW, depth=5) == 0.0
    found = {"a": nobody, "b": one(0.5), "c": one(0.25)}
    truths = {"a": Ranking((NEW,)), "b": Ranking(("n0",)), "c": Ranking((NEW,))}
    assert tune(found, truths, map_at_5, new=NEW, depth=5) == pytest.approx(0.375)


# ------------------------------------------------------------------------------------------------------------- nested


def folds(count: int, each: int, share: float = 0.3, gap: float = 0.25) -> tuple[dict[int, Found], Truths]:
    by_fold, truths = {}, {}
    for fold in range(count):
        by_fold[fold], more = crowd(each, share, fold, gap, offset=fold * each)
        truths |= more
    return by_fold, truths


@pytest.mark.parametrize("share", [None, 0.5])
def test_nested_is_what_it_says(share: float | None) -> None:
    by_fold, truths = folds(4, 60)
    result = nested(by_fold, truths, map_at_5, new=NEW, depth=5, share=share)
    everything = {query: one for found in by_fold.values() for query, one in found.items()}
    honest: dict[str, Ranking] = {}
    for fold, found in by_fold.items():
        others = {query: one for other, part in by_fold.items() if other != fold for query, one in part.items()}
        assert result.by_fold[fold] == tune(others, truths, map_at_5, new=NEW, depth=5, share=share)
        honest |= answers(found, 5, new=NEW, threshold=result.by_fold[fold])
    assert result.final == tune(everything, truths, map_at_5, new=NEW, depth=5, share=share)
    score = map_at_5(truths, honest)
    is_new = np.array([truths[query].names == (NEW,) for query in score.by_sample])
    values = np.array(list(score.by_sample.values()))
    expected = score.value if share is None else share * values[is_new].mean() + (1 - share) * values[~is_new].mean()
    assert result.honest == pytest.approx(expected)
    assert result.naive == pytest.approx(weighted(everything, truths, result.final, share))
    assert result.without == pytest.approx(weighted(everything, truths, None, share))
    assert result.naive >= result.honest - 1e-9
    assert result.gain == result.honest - result.without > 0.05


def test_honest_is_below_naive_where_there_is_nothing_to_be_learned() -> None:
    """Scores say nothing of who is new, and few queries tune: what naive gains is luck."""
    naive, honest = 0.0, 0.0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        by_fold = {fold: {f"{fold}{at}": one(rng.uniform()) for at in range(6)} for fold in range(4)}
        truths = {query: Ranking((NEW if rng.random() < 0.5 else "n0",)) for part in by_fold.values() for query in part}
        result = nested(by_fold, truths, map_at_5, new=NEW, depth=1)
        naive, honest = naive + result.naive / 150, honest + result.honest / 150
    assert naive > 0.6 and abs(honest - 0.5) < 0.035  # three standard errors


# ------------------------------------------------------------------------------------------------------------ by share


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30, unique=True), st.floats(0, 1))
def test_as_many_are_below_as_the_share_says(bests: list[float], share: float) -> None:
    threshold = share_threshold(bests, share)
    assert sum(best < threshold for best in bests) == round(share * len(bests))


def test_share_by_hand() -> None:
    assert share_threshold([0.5, 0.25, 1.0, 0.75], 0.5) == pytest.approx(0.625)
    assert share_threshold([0.5], 0.0) == pytest.approx(-0.25)
    assert share_threshold([0.5], 1.0) == pytest.approx(0.75)
    assert share_threshold([-np.inf, 0.5], 0.5) == pytest.approx(-0.25)
    assert sum(best < share_threshold([0.5] * 4, 0.5) for best in [0.5] * 4) in (0, 4)


# ----------------------------------------------------------------------------------------------------------- bad input


def refusal(match: str) -> Any:
    return pytest.raises(SearchError, match=match)


def test_what_is_refused() -> None:
    found, truths = crowd(10, 0.5, 3)
    known = {query: Ranking(("n0",)) for query in found}
    new = {query: Ranking((NEW,)) for query in found}
    with refusal("no queries to tune"):
        tune({}, truths, map_at_5, new=NEW, depth=5)
    with refusal("1 queries have no truth: 'q3'"):
        tune(found, {query: truths[query] for query in found if query != "q3"}, map_at_5, new=NEW, depth=5)
    with refusal("new_share=0.3, but out of fold no query has a new identity"):
        tune(found, known, map_at_5, new=NEW, depth=5, share=0.3)
    with refusal("new_share=0.3, but out of fold no query has no new identity"):
        tune(found, new, map_at_5, new=NEW, depth=5, share=0.3)
    with refusal("share=1.5: expected 0 to 1"):
        tune(found, truths, map_at_5, new=NEW, depth=5, share=1.5)
    with refusal("1 of 2 folds have answers"):
        nested({0: found, 1: {}}, truths, map_at_5, new=NEW, depth=5)
    with refusal("fold 1: 10 queries are in another fold too"):
        nested({0: found, 1: found}, truths, map_at_5, new=NEW, depth=5)
    with refusal("no queries"):
        share_threshold([], 0.5)
    with refusal("expected 0 to 1"):
        share_threshold([0.5], -0.1)
    half = {0: crowd(10, 0.0, 1)[0], 1: crowd(10, 1.0, 2, offset=10)[0]}
    truth = crowd(10, 0.0, 1)[1] | crowd(10, 1.0, 2, offset=10)[1]
    with refusal("without fold 0: decide.new_share=0.3, but out of fold no query has no new"):
        nested(half, truth, map_at_5, new=NEW, depth=5, share=0.3)


def test_a_metric_that_is_no_mean_is_refused() -> None:
    found, truths = crowd(10, 0.5, 4)

    def other(right: Mapping[str, Ranking], given: Mapping[str, Ranking]) -> Score:
        score = map_at_5(right, given)
        return Score(score.value**2 + 0.1, {}, score.by_sample)

    def partial(right: Mapping[str, Ranking], given: Mapping[str, Ranking]) -> Score:
        score = map_at_5(right, given)
        return Score(score.value, {}, dict(list(score.by_sample.items())[1:]))

    for metric in (other, partial):
        with refusal("needs a metric that is a mean over all queries"):
            tune(found, truths, metric, new=NEW, depth=5)
