"""Charts of boxes: which classes they show, and what is drawn without boxes."""

import numpy as np

from medalist.report.box_counts import AllBoxes, ClassCurve
from medalist.report.box_figures import MOST_MATRIX, confusion_figure, curves_figure, drawn_classes, sizes_figure
from medalist.report.charts import svg


def sized(areas: list[float], found: list[bool]) -> AllBoxes:
    none = np.empty(0, np.int64)
    kinds = np.where(found, "found", "missed").astype(np.str_)
    return AllBoxes(none, np.empty(0), none.astype(np.str_), np.zeros(len(areas), np.int64), kinds, np.array(areas))


def test_curves_are_named_by_the_lowest_average_precision_first() -> None:
    up = np.array([0.5, 1.0])
    curves = [ClassCurve(0, 2, up, np.ones(2), 1.0), ClassCurve(1, 2, up, up, 0.5), ClassCurve(2, 0, up, up, np.nan)]
    figure = curves_figure(curves, ("<b>", "$dog$", "cow"))
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["AP 0.500 · $dog$", "AP 1.000 · <b>"]
    assert "&lt;b&gt;" in svg(figure)
    assert curves_figure(curves[2:], ("", "", "cow")) is None
    silent = ClassCurve(0, 3, np.empty(0), np.empty(0), 0.0)
    assert curves_figure([silent], ("cat",)) is not None


def test_the_classes_with_the_most_confusions_are_drawn() -> None:
    counts = np.diag(np.arange(31))
    counts[3, 4] = 9
    counts[30, 7] = 5
    drawn = drawn_classes(counts)
    assert len(drawn) == MOST_MATRIX
    assert {3, 4, 7} <= set(drawn)
    figure = confusion_figure(counts, [f"class {number}" for number in range(30)])
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()][-1] == "missed"
    assert confusion_figure(np.zeros((3, 3), np.int64), ("cat", "dog")) is None


def test_sizes_of_found_and_missed_truths_are_stacked() -> None:
    figure = sizes_figure(sized([16, 16, 1024, 1024, 4096], [True, False, True, True, False]))
    assert figure is not None
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights[: len(heights) // 2]) == 3
    assert sum(heights[len(heights) // 2 :]) == 2
    assert sizes_figure(sized([], [])) is None
    assert sizes_figure(sized([9.0], [True])) is not None
