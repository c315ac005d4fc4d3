from __future__ import annotations

from unicodedata import east_asian_width

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion

from medalist.errors import DataError
from medalist.metrics.label_arrays import calibration_bins, confusion
from medalist.report.charts import brief, svg
from medalist.tasks.classify import figures
from medalist.tasks.classify.figures import (
    MOST_CLASSES,
    MOST_CURVES,
    RIGHT,
    WRONG,
    calibration_figure,
    class_parts,
    class_ranks,
    class_table,
    confusion_figure,
    confusion_matrix,
    curves_by_class_figure,
    decisions_calibration,
    frequent_confusions,
    most_confused,
    shortened,
)

HOSTILE = ["<script>alert('x')</script>", "$x^{", "_hidden", "\u202eabc", "a\x00b", "\ud800", "", "核" * 40]


def one_hot(codes: list[int] | np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.bool_)[np.asarray(codes)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


# ----------------------------------------------------------------------------------------------------------- names


def test_names_are_cut_in_their_middle() -> None:
    assert shortened("rust") == "rust" and shortened("a" * 24) == "a" * 24
    assert shortened("tomato_leaf_mold_early_stage", 11) == "tomat…stage"
    assert shortened("abcdef", 5) == "ab…ef"
    assert shortened("a\nb\u202ec\x00") == "a b c "


@given(st.text(max_size=60), st.integers(3, 30))
def test_cut_names_are_never_wider(name: str, most: int) -> None:
    cut = shortened(name, most)
    assert sum(1 + (east_asian_width(letter) in "WF") for letter in cut) <= most and cut.isprintable()


def test_counts_are_brief() -> None:
    numbers = {
        0: "0",
        7: "7",
        9999: "9999",
        10_400: "10k",
        999_000: "999k",
        1_250_000: "1.2M",
        12e6: "12M",
        3e9: "3.0G",
    }
    assert {count: brief(count) for count in numbers} == numbers
    assert all(len(brief(10**power - 1)) <= 5 for power in range(12))


# ------------------------------------------------------------------------------------------------------ confusions


@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 10**6))
def test_the_confusions_of_single_labels_are_the_usual_matrix(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answer = rng.integers(classes, size=(2, count))
    found = confusion_matrix(one_hot(truth, classes), one_hot(answer, classes)).toarray()
    assert np.array_equal(found, confusion(truth, answer, classes)) and found.dtype == np.int64
    if count and classes > 1:  # of one class it warns
        assert np.array_equal(found, sklearn_confusion(truth, answer, labels=range(classes)))


def test_the_confusions_of_several_labels_pair_missed_with_false() -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.random((2, 30, 5)) < 0.4
    slow = np.zeros((5, 5), np.int64)
    for there, said in zip(truth, answer, strict=True):
        for row in np.flatnonzero(there):
            slow[row, row] += said[row]
            for column in np.flatnonzero(said):
                slow[row, column] += not said[row] and not there[column]
    assert np.array_equal(confusion_matrix(truth, answer).toarray(), slow)


def test_the_most_confused_are_in_the_order_of_classes() -> None:
    counts = np.array([[9, 0, 0, 1], [0, 5, 4, 0], [0, 3, 5, 0], [0, 0, 0, 99]])
    matrix = figures.csr_array(counts)
    assert most_confused(matrix, 2).tolist() == [1, 2]
    assert most_confused(matrix, 3).tolist() == [0, 1, 2]  # 0 and 3 have one each: the first is taken
    assert most_confused(matrix).tolist() == [0, 1, 2, 3]
    assert frequent_confusions(matrix) == [(1, 2, 4), (2, 1, 3), (0, 3, 1)]
    assert frequent_confusions(matrix, 1) == [(1, 2, 4)]
    assert frequent_confusions(figures.csr_array(np.diag([3, 4]))) == []


def test_the_matrix_shows_counts_and_shares() -> None:
    figure = confusion_figure(np.array([[3, 1], [0, 400]]), np.array([4, 100_000]), ["cat", "dog"])
    assert texts(figure) == ["3\n75%", "1\n25%", "400\n<1%"]  # shares are of the whole class; an empty cell is empty
    cells = [(patch.get_facecolor()[:3], patch.get_alpha()) for patch in figure.axes[0].patches]
    right, wrong = (tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)) for colour in (RIGHT, WRONG))
    assert np.allclose([colour for colour, _ in cells], [right, wrong, right])
    assert [alpha for _, alpha in cells] == pytest.approx([0.07 + 0.7 * share for share in (0.75, 0.25, 0.004)])


@pytest.mark.parametrize("size", [1, 5, 8, 24])
def test_matrices_of_any_size_are_drawn(size: int) -> None:
    names = [HOSTILE[at % len(HOSTILE)] + "x" * (at // len(HOSTILE)) for at in range(size)]
    figure = confusion_figure(np.full((size, size), 12_345), np.full(size, 12_345 * size), names)
    text = svg(figure)
    assert "<script" not in text and "\u202e" not in text and "\x00" not in text
    assert (">12345<" in text) == (size <= 8) and (">12k<" in text) == (size > 8)
    assert figure.get_figheight() < 12


def test_nothing_is_drawn_of_nothing() -> None:
    svg(confusion_figure(np.zeros((3, 3), np.int64), np.zeros(3, np.int64), ["a", "b", "c"]))


# ----------------------------------------------------------------------------------------------------- calibration


def test_the_calibration_of_all_decisions_is_that_of_the_flat_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.random((53, 7)) ** 3
    truth = rng.random((53, 7)) < probabilities
    flat = calibration_bins(truth.ravel(), probabilities.ravel(), 10)
    for block in (1, 20, 10**6):  # in blocks of one row, of two, and all at once
        monkeypatch.setattr(figures, "_BLOCK", block)
        bins = decisions_calibration(truth, probabilities, 10)
        assert np.array_equal(bins.edges, flat.edges) and np.array_equal(bins.counts, flat.counts)
        np.testing.assert_allclose(bins.confidence, flat.confidence, atol=1e-12)
        np.testing.assert_allclose(bins.accuracy, flat.accuracy, atol=1e-12)
        assert bins.expected_error() == pytest.approx(flat.expected_error(), abs=1e-12)
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        decisions_calibration(truth, probabilities - 0.5)


def test_the_calibration_curve_and_its_bars() -> None:
    confidence = np.array([0.1] * 4 + [0.9] * 10)
    right = np.array([True] + [False] * 3 + [True] * 8 + [False] * 2)
    upper, lower = calibration_figure(calibration_bins(right, confidence, 5), "p", "share right").axes
    x, y = upper.lines[-1].get_data()
    assert x == pytest.approx([0.1, 0.9]) and y == pytest.approx([0.25, 0.8])
    assert [bar.get_height() for bar in lower.patches] == [4, 0, 0, 0, 10]
    assert lower.get_title(loc="left") == "images by p" and lower.get_yscale() == "linear"


def test_bars_of_very_different_heights_are_on_a_log_scale() -> None:
    confidence = np.array([0.5] + [0.99] * 5000)
    figure = calibration_figure(calibration_bins(confidence > 0.7, confidence), "p", "share", "decisions")
    assert figure.axes[1].get_yscale() == "log"
    text = svg(figure)
    assert "decisions by p, log scale" in text and ">100<" in text and "10^" not in text
    svg(calibration_figure(calibration_bins(np.array([True]), np.array([1.0])), "p", "share"))


# ------------------------------------------------------------------------------------------------ curves by class


def test_ranks_are_those_of_scikit_learn_and_the_lowest_come_first() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((80, 5)) < 0.4
    truth[:, 1], truth[:, 3] = False, True
    probabilities = rng.random((80, 5))
    ranks = class_ranks(truth, probabilities)
    some = [0, 2, 4]
    assert np.isnan(ranks.auc[[1, 3]]).all() and np.isnan(ranks.precision[[1, 3]]).all()
    auc = [roc_auc_score(truth[:, at], probabilities[:, at]) for at in some]
    assert ranks.auc[some] == pytest.approx(auc)
    assert ranks.precision[some] == pytest.approx(
        [average_precision_score(truth[:, at], probabilities[:, at]) for at in some]
    )
    assert ranks.lowest().tolist() == [some[at] for at in np.argsort(auc)]
    assert ranks.lowest(1).tolist() == [some[int(np.argmin(auc))]]
    assert class_ranks(np.zeros((4, 2), bool), np.zeros((4, 2))).lowest().tolist() == []


def test_curves_are_drawn_with_their_figures() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.3], [0.1, 0.4]])
    ranks = class_ranks(truth, probabilities)
    figure = curves_by_class_figure(truth, probabilities, ["cat", "dog"], ranks, ranks.lowest())
    (box,) = figure.legends
    assert [text.get_text() for text in box.get_texts()] == ["AUC 0.750 · AP 0.833 · dog", "AUC 1.000 · AP 1.000 · cat"]
    left, right = figure.axes
    dog, cat, chance = (np.array(line.get_data()) for line in left.lines)
    assert dog.tolist() == [[0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1]]
    assert cat.tolist() == [[0, 0, 0, 0.5, 1], [0, 0.5, 1, 1, 1]]
    assert chance.tolist() == [[0, 1], [0, 1]] and len(right.lines) == 2
    strata = {"cat": "#112233", "dog": "#445566"}  # classes that are strata have the colours of strata
    figure = curves_by_class_figure(truth, probabilities, ["cat", "dog"], ranks, ranks.lowest(), strata)
    assert [line.get_color() for line in figure.axes[1].lines] == ["#445566", "#112233"]


def test_hostile_names_do_not_break_the_legend() -> None:
    rng = np.random.default_rng(3)
    truth, probabilities = rng.random((30, 8)) < 0.5, rng.random((30, 8))
    ranks = class_ranks(truth, probabilities)
    text = svg(curves_by_class_figure(truth, probabilities, HOSTILE, ranks, ranks.lowest()))
    assert "<script" not in text and "\u202e" not in text and "$x^{" in text
    with pytest.raises(AssertionError):
        curves_by_class_figure(truth, probabilities, HOSTILE, ranks, np.arange(MOST_CURVES + 1))


# --------------------------------------------------------------------------------------------------------- classes


def test_the_figures_of_classes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    truth, answer, probabilities = rng.random((40, 6)) < 0.4, rng.random((40, 6)) < 0.4, rng.random((40, 6))
    truth[:, 4], answer[:, 5], truth[:, 5] = False, False, False
    table = class_table("abcdef", truth, answer, class_ranks(truth, probabilities))
    assert table.heads == ("precision", "recall", "F1", "AUC", "AP") and table.left_out == 0
    slow = precision_recall_fscore_support(truth, answer, zero_division=np.nan)
    for at, (name, there, said, figures_of) in enumerate(table.rows):
        assert (name, there, said) == ("abcdef"[at], truth[:, at].sum(), answer[:, at].sum())
        assert figures_of[:3] == pytest.approx([float(one[at]) for one in slow[:3]], nan_ok=True)
    assert np.isnan(table.rows[5][3]).all() and np.isnan(table.rows[4][3][1]) and table.rows[4][3][2] == 0


def test_figures_of_the_score_go_before() -> None:
    truth = one_hot([0, 0, 1], 2)
    table = class_table(["cat", "dog"], truth, truth, None, {"recall": {"dog": 0.25}, "log_loss": {"cat": -0.5}})
    assert table.heads == ("precision", "recall", "F1", "log loss")
    assert table.rows[0] == ("cat", 2, 2, pytest.approx((1, 1, 1, -0.5)))
    assert table.rows[1] == ("dog", 1, 1, pytest.approx((1, 0.25, 1, np.nan), nan_ok=True))


def test_of_many_classes_the_lowest_are_shown() -> None:
    classes = MOST_CLASSES + 5
    truth = one_hot(np.repeat(np.arange(classes - 1), 2), classes)  # the last has none
    answer = truth.copy()
    answer[2 * 7] = False
    table = class_table([f"c{at}" for at in range(classes)], truth, answer)
    assert len(table.rows) == MOST_CLASSES and table.left_out == 5
    assert [row[0] for row in table.rows[:3]] == ["c7", "c0", "c1"]
    assert f"c{classes - 1}" not in [row[0] for row in table.rows]


def test_parts_of_classes_are_split_off() -> None:
    parts = {
        "accuracy": 0.5,
        "recall leaf rust": 0.25,
        "recall rust": 0.75,
        "f1 x": 1.0,
        "left out": 1.0,
        "auc rust": None,
    }
    rest, by_class = class_parts(parts, ["leaf rust", "rust", "out", ""])
    assert by_class == {"recall": {"leaf rust": 0.25, "rust": 0.75}}
    assert rest == {"accuracy": 0.5, "f1 x": 1.0, "left out": 1.0, "auc rust": None}
