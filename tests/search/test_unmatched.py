"""Values in a typed filter that no vector has."""

from __future__ import annotations

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import F, Index
from medalist.search.unmatched import nearest_value, unknown_values, unmatched

FIELDS = {
    "kind": ["Fruit", "Packages", "Vegetables", None],
    "depth": [3, 900, None, 7],
    "seen": ["2020-01-01", "2021-01-01", "2022-01-01", None],
    "good": [True, True, True, None],
}


@pytest.fixture(scope="module")
def index() -> Index:
    made = Index(2, fields={"kind": "tag", "depth": "int", "seen": "datetime", "good": "bool", "none": "tag"})
    made.add(["img_1", "img_2", "img_3", "img_4"], np.eye(4, 2) + 1, FIELDS)
    return made


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("kind = Frut", "no vector has kind = 'Frut'; did you mean 'Fruit'?"),
        ("kind = fruit", "no vector has kind = 'fruit'; did you mean 'Fruit'?"),
        ("kind = 'Fruit '", "no vector has kind = 'Fruit '; did you mean 'Fruit'?"),
        ("not (kind = Frut) and depth < 5", "no vector has kind = 'Frut'; did you mean 'Fruit'?"),
        ("kind in [Fruit, Pakages]", "no vector has kind = 'Pakages'; did you mean 'Packages'?"),
        ("kind = xyz", "no vector has kind = 'xyz'; there are 'Fruit', 'Packages', 'Vegetables'"),
        ("depth = 5", "no vector has depth = 5; values are 3 to 900"),
        ("good = false", "no vector has good = False; there are 'true'"),
        ("none = a", "no vector has none = 'a'; none has a value there"),
        ("id = Img_1", "no vector has the id 'Img_1'; did you mean 'img_1'?"),
        (
            '{"must": [{"key": "kind", "match": {"value": "Frut"}}]}',
            "no vector has kind = 'Frut'; did you mean 'Fruit'?",
        ),
    ],
)
def test_a_value_that_no_vector_has_is_named(where: str, said: str, index: Index) -> None:
    assert unknown_values(index, where) == [said]
    if index.count(where):
        assert unmatched(index, where) == [said]
    else:
        with pytest.raises(SearchError) as error:
            unmatched(index, where)
        assert str(error.value) == f"--where: {said}"


def test_moments_are_compared_as_moments(index: Index) -> None:
    (line,) = unknown_values(index, "seen = 2019-01-01")
    assert line.endswith("values are 2020-01-01T00:00:00+00:00 to 2022-01-01T00:00:00+00:00")
    assert unknown_values(index, "seen = 2020-01-01T00:00:00Z") == []


@pytest.mark.parametrize("where", [None, "kind = Fruit", "depth > 5000", "kind is missing", F.kind.any("Fruit")])
def test_a_filter_of_known_values_or_ranges_is_passed(where: object, index: Index) -> None:
    none = where is not None and not index.count(where)  # type: ignore[arg-type]
    assert unmatched(index, where) == ["--where matches no vector"] * none  # type: ignore[arg-type]
    assert unmatched(Index(2, fields={"kind": "tag", "depth": "int"}), where) == []  # type: ignore[arg-type]


def test_many_unknown_values_are_not_all_listed(index: Index) -> None:
    lines = unknown_values(index, F.kind.any(*(f"x{at}" for at in range(100))))
    assert len(lines) == 9 and lines[-1] == "and 92 more values that no vector has"


def test_nearest_value() -> None:
    assert nearest_value("LEMON", ["Melon", "Lemon"]) == "Lemon"
    assert nearest_value("q", ["Melon"]) is None and nearest_value("q", []) is None
