"""From probabilities and grades to labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError

from medalist.errors import ConfigError
from medalist.tasks.classify.decide import decide, decided_flags, default_thresholds, is_tuned, refuse_unfit
from medalist.tasks.classify.decide_settings import DecideConfig

CLASSES = ("ant", "bee", "cat")
VALUES = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.55], [0.1, 0.1, 0.1]])


def config(text: dict[str, object]) -> DecideConfig:
    found: DecideConfig = TypeAdapter(DecideConfig).validate_python(text)
    return found


def names(values: np.ndarray, text: dict[str, object]) -> list[tuple[str, ...]]:
    how = config(text)
    return [one.names for one in decide(values, how, default_thresholds(how, CLASSES), CLASSES)]


def test_argmax_takes_the_most_probable_the_first_of_equals() -> None:
    assert names(VALUES, {"kind": "argmax"}) == [("bee",), ("ant",), ("ant",)]
    assert names(VALUES, {"kind": "argmax", "top": 2}) == [("bee", "cat"), ("ant", "cat"), ("ant", "bee")]


def test_a_threshold_takes_all_above_it_and_may_take_none() -> None:
    assert names(VALUES, {"kind": "threshold", "threshold": 0.5}) == [(), ("ant", "cat"), ()]
    assert names(VALUES, {"kind": "threshold", "threshold": 0.5, "least": 1}) == [("bee",), ("ant", "cat"), ("ant",)]
    assert names(VALUES, {"kind": "threshold", "threshold": 0.05, "most": 1}) == [("bee",), ("ant",), ("ant",)]


def test_thresholds_by_class_and_those_not_named() -> None:
    text = {"kind": "thresholds", "thresholds": {"ant": 0.15, "cat": 0.9}}
    assert names(VALUES, text) == [("ant",), ("ant",), ()]


def test_a_class_above_its_low_threshold_is_kept_before_a_more_probable_one_below_its_own() -> None:
    flags = decided_flags(np.array([[0.2, 0.6, 0.1]]), np.array([0.1, 0.7, 0.5]), least=0, most=1)
    assert flags.tolist() == [[True, False, False]]
    flags = decided_flags(np.array([[0.2, 0.6, 0.1]]), np.array([0.1, 0.7, 0.5]), least=2)
    assert flags.tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [("round", ["ant", "ant", "bee", "cat", "cat"]), ((0.9, 1.0), ["ant", "ant", "cat", "cat", "cat"])],
)
def test_grades_are_cut(cuts: object, expected: list[str]) -> None:
    values = np.array([[-3.0], [0.4], [1.2], [1.6], [9.0]])
    assert [one[0] for one in names(values, {"kind": "regression", "cuts": cuts})] == expected


def test_class_probabilities_are_cut_by_their_mean_grade() -> None:
    # The mean grade of the first row is 1.1, of the second 0.95 * ... beside what argmax says.
    values = np.array([[0.2, 0.5, 0.3], [0.5, 0.0, 0.5]])
    assert names(values, {"kind": "regression", "cuts": "round"}) == [("bee",), ("bee",)]


def test_answers_have_the_probabilities_unless_they_are_grades() -> None:
    how = config({"kind": "argmax"})
    one = decide(VALUES, how, default_thresholds(how, CLASSES), CLASSES)[0]
    assert one.probabilities is not None and one.probabilities.tolist() == VALUES[0].tolist()
    how = config({"kind": "regression", "cuts": "round"})
    assert decide(np.array([[1.0]]), how, default_thresholds(how, CLASSES), CLASSES)[0].probabilities is None


@given(
    arrays(np.float64, (4, 3), elements=st.floats(0, 1)),
    arrays(np.float64, 3, elements=st.floats(0, 1)),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_flags_against_a_loop(values: np.ndarray, thresholds: np.ndarray, one: int, other: int) -> None:
    least, most = min(one, other), max(one, other)
    found = decided_flags(values, thresholds, least, most)
    for row, flags in zip(values.tolist(), found.tolist(), strict=True):
        above = {at for at in range(3) if row[at] > thresholds[at]}
        ranked = sorted(range(3), key=lambda at: (at not in above, -row[at], at))
        count = min(max(len(above), least), most)
        assert {at for at in range(3) if flags[at]} == set(ranked[:count])


def test_what_does_not_fit_the_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"decide\.thresholds: there is no class 'cow'; there are: ant, bee, cat"):
        refuse_unfit(config({"kind": "thresholds", "thresholds": {"cow": 0.5}}), CLASSES)
    with pytest.raises(ConfigError, match=r"decide\.cuts has 1 numbers; 3 grades need 2"):
        refuse_unfit(config({"kind": "regression", "cuts": [0.5]}), CLASSES)
    with pytest.raises(ConfigError, match=r"decide\.top = 5, but there are 3 classes"):
        refuse_unfit(config({"kind": "argmax", "top": 5}), CLASSES)
    refuse_unfit(config({"kind": "argmax", "top": 3}), CLASSES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ({"kind": "regression", "cuts": [1.0, 0.5]}, "must rise"),
        ({"kind": "threshold", "threshold": 1.5}, "less than or equal to 1"),
        ({"kind": "threshold", "least": 3, "most": 2}, "is above decide.most"),
    ],
)
def test_bad_decisions_are_refused(text: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(text)


def test_what_is_tuned() -> None:
    assert is_tuned(config({"kind": "regression"})) and is_tuned(config({"kind": "thresholds"}))
    assert is_tuned(config({"kind": "threshold", "threshold": "tuned"}))
    assert not any(is_tuned(config(text)) for text in ({"kind": "argmax"}, {"kind": "threshold"}))


def test_names_come_with_the_most_probable_first() -> None:
    values = np.array([[0.2, 0.3, 0.8]])
    assert names(values, {"kind": "threshold", "threshold": 0.1}) == [("cat", "bee", "ant")]


def test_cuts_beyond_the_grades_are_refused() -> None:
    for cuts in ([-0.5, 1.0], [0.5, 2.5]):
        with pytest.raises(ConfigError, match="cuts lie between the grades 0 and 2"):
            refuse_unfit(config({"kind": "regression", "cuts": cuts}), CLASSES)
