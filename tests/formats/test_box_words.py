"""A box as words: what the formats share beyond what test_boxes asks through them."""

from __future__ import annotations

import numpy as np
import pytest

from medalist.codecs.boxes import XYWH
from medalist.formats.box_words import BoxWords, sizes_of
from medalist.records import Boxes, Sample


def test_words_of_each_part_in_their_order() -> None:
    form = BoxWords(classes=("a b", "c"), parts=("box", "score", "label"), coordinates=XYWH, score_decimals=2)
    assert form.names == ("x", "y", "w", "h", "score", "label")
    one = Boxes(np.array([[1, 2, 4, 6]], np.float32), np.zeros(1, np.int32), np.full(1, 1 / 3, np.float32))
    assert form.words("i", one) == [["1", "2", "3", "4", "0.33", "a b"]]
    assert form.parsed(["1", "2", "3", "4", "x", "a b"], (9, 9)) == (4, "x", "score must be a number")
    place, word, rule = form.parsed([*"12340", "c", *"12340", "d"], (9, 9))  # type: ignore[misc]
    assert (place, word) == (11, "d") and str(rule).startswith("the contest has no such label")


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ()},
        {"classes": ("a", "a")},
        {"classes": "ab"},
        {"classes": ("a", "b"), "labels": (0, 1)},
        {"classes": ("a",), "decimals": 9},
        {"classes": ("a",), "labels": ("1", "2")},
        {"classes": ("a", "b"), "parts": ("box",)},
        {"classes": ("a",), "parts": ("label", "score")},
        {"classes": ("a",), "decimals": 9},
        {"classes": ("a",), "score_decimals": 0},
    ],
)
def test_settings_that_are_not_possible(wrong: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        BoxWords(**wrong)  # type: ignore[arg-type]


def test_sizes_by_id() -> None:
    assert sizes_of([Sample("a", (), (2, 3))]) == {"a": (2, 3)}
