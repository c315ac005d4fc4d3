from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search.where import matching

BIG = 2**53
ROWS: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d"],
    "species": ["whale", "orca", "", 'it\'s a "fox"'],
    "depth": [100, 200, None, BIG + 1],
    "weight": [0.5, None, -2.0, 1e9],
    "taken on": ["2026-01-31", "2026-02-01", "", "2025-12-31"],
    "code": ["007", "7", "7.0", "x"],
}
TABLE = pa.table(ROWS)


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("species = whale", "a"),
        ("species=whale", "a"),
        ('"species" = "whale"', "a"),
        ("species != whale", "bcd"),
        ("species in [whale, orca]", "ab"),
        ("species not in [whale, orca]", "cd"),
        ("not species in [whale]", "bcd"),
        ("species = ''", "c"),
        ("species = 'it\\'s a \"fox\"'", "d"),
        ('species = "it\'s a \\"fox\\""', "d"),
        ("species = whale and depth < 200 or id = d", "ad"),
        ("species = whale and (depth < 200 or id = d)", "a"),
        ("id = d or species = whale and depth < 200", "ad"),
        ("not id = a and not id = b", "cd"),
        ("not (id = a or id = b)", "cd"),
        ("NOT (id = a OR id In [b])", "cd"),
        ("depth < 200", "a"),
        ("depth <= 200", "ab"),
        ("depth > 199.5", "bd"),
        ("depth >= 199.5", "bd"),
        ("depth < 200.5", "ab"),
        ("depth = 200.5", ""),
        ("depth != 200.5", "abcd"),
        ("depth = 2e2", "b"),
        ("depth = +200", "b"),
        ("not depth < 200", "bcd"),
        ("depth != 200", "acd"),
        ("depth = ''", "c"),
        ("depth != ''", "abd"),
        (f"depth = {BIG}", ""),
        (f"depth = {BIG + 1}", "d"),
        (f"depth > {BIG}", "d"),
        (f"depth < {BIG + 1}", "ab"),
        (f"depth < {2**63}", "abd"),
        (f"depth >= -{2**64}", "abd"),
        (f"depth > {2**63}", ""),
        (f"depth = {2**70}", ""),
        (f"depth != {2**70}", "abcd"),
        ("weight < 0.5", "c"),
        ("weight in [0.5, -2]", "ac"),
        ("weight = .5", "a"),
        ("weight != 0.5", "bcd"),
        ("weight = ''", "b"),
        ("'taken on' >= 2026-01-31", "ab"),
        ("'taken on' < '2026-01-01'", "cd"),
        ("code = 7", "b"),
        ("code = 007", "a"),
        ("code in [7, 7.0]", "bc"),
        ("code < '1'", "a"),
        ("id = a" + " or id = a" * 3000, "a"),
        ("(" * 60 + "id = a" + ")" * 60, "a"),
    ],
)
def test_what_an_expression_means(expression: str, ids: str) -> None:
    mask = matching(expression, TABLE)
    assert mask.dtype == bool and mask.shape == (4,)
    assert "".join(name for name, good in zip("abcd", mask.tolist(), strict=True) if good) == ids


@pytest.mark.parametrize(
    ("expression", "at", "words"),
    [
        ("", 1, "expected the name of a field, not or (, found the end"),
        ("species", 8, "expected = != < <= > >= or in, found the end"),
        ("species = ", 11, "expected a value, found the end"),
        ("species == whale", 10, "expected a value, found '='"),
        ("species whale", 9, "expected = != < <= > >= or in, found 'whale'"),
        ("species = whale depth < 3", 17, "expected and, or, or the end, found 'depth'"),
        ("species = whale and", 20, "expected the name of a field"),
        ("species = and", 11, "expected a value, found 'and'"),
        ("(species = whale", 17, "expected ), found the end"),
        ("species = whale)", 16, "expected and, or, or the end, found ')'"),
        ("species in whale", 12, "expected [, found 'whale'"),
        ("species in []", 13, "expected a value, found ']'"),
        ("species in [a b]", 15, "expected , or ], found 'b'"),
        ("species not whale", 13, "expected in, found 'whale'"),
        ("species = 'whale", 11, "a quote that is not closed"),
        ("species = a & id = b", 13, "'&' stands outside of quotes"),
        ("kind = whale", 1, "no field 'kind'; there are: id, species, depth"),
        ("id = a and kind = whale", 12, "no field 'kind'"),
        ("depth < deep", 9, "'depth' holds numbers, and this is no bare number"),
        ("depth = '200'", 9, "'depth' holds numbers"),
        ("depth < ''", 9, "'depth' holds numbers"),
        ("weight = 1e400", 10, "'weight' holds numbers"),
        ("depth = 1e999999999", 9, "'depth' holds numbers"),
        ("species < 3", 1, "'species' holds text"),
        ("(" * 70 + "id = a", 66, "nested more than 64 deep"),
        ("not " * 70 + "id = a", 261, "nested more than 64 deep"),
        ("id =\n&", 6, "'&' stands outside"),
    ],
)
def test_mistakes_point_at_their_character(expression: str, at: int, words: str) -> None:
    with pytest.raises(SearchError, match=re.escape(f"--where, character {at}: {words}")) as caught:
        matching(expression, TABLE)
    assert "\n" not in str(caught.value) and "»" in str(caught.value)


def test_tables_without_rows() -> None:
    assert matching("id = a or not id in [b]", TABLE.slice(0, 0)).tolist() == []
    assert matching("depth < 3", TABLE.slice(0, 0)).shape == (0,)
    with pytest.raises(SearchError, match="letters, more than"):
        matching("id = a" + " or id = a" * 20_000, TABLE)


# -------------------------------------------------------------------------------------------------- the slow twin

SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Tree = tuple[Any, ...]
NUMBERS = st.one_of(
    st.integers(-3, 3).map(str),
    st.sampled_from(["0.5", "-1.5", "1e1", str(BIG), str(BIG + 1), str(2**63), f"-{2**63}"]),
)
TEXTS = st.sampled_from(["a", "b", "", "A b", "or", '"', "\\", "7", "ß", "\n"])


def leaf() -> st.SearchStrategy[Tree]:
    numbers = st.tuples(st.just("is"), st.sampled_from(["n", "f"]), st.sampled_from(list(SIGNS)), NUMBERS)
    texts = st.tuples(st.just("is"), st.just("t"), st.sampled_from(list(SIGNS)), TEXTS)
    among = st.tuples(st.just("in"), st.just("t"), st.lists(TEXTS, min_size=1, max_size=3))
    return st.one_of(numbers, texts, among)


TREES = st.recursive(
    leaf(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=8,
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(tree: Tree) -> str:
    match tree:
        case ("is", "t", sign, value):
            return f"t{sign}{quoted(value)}"
        case ("is", field, sign, value):
            return f"{field} {sign} {value}"
        case ("in", field, values):
            return f"{field} in [{', '.join(map(quoted, values))}]"
        case ("not", one):
            return f"not ({written(one)})"
        case (word, one, two):
            return f"({written(one)}) {word} ({written(two)})"
    raise AssertionError(tree)


def means(tree: Tree, row: dict[str, Any]) -> bool:
    match tree:
        case ("is", "t", sign, value):
            return SIGNS[sign](row["t"], value)
        case ("is", field, sign, value):
            if row[field] is None:
                return bool(sign == "!=")
            wanted = Decimal(value) if field == "n" else float(value)
            return SIGNS[sign](row[field], wanted)
        case ("in", field, values):
            return row[field] in values
        case ("not", one):
            return not means(one, row)
        case ("and", one, two):
            return means(one, row) and means(two, row)
        case ("or", one, two):
            return means(one, row) or means(two, row)
    raise AssertionError(tree)


CELLS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3) | st.sampled_from([BIG, BIG + 1, 2**63 - 1, -(2**63)]),
        "f": st.none() | st.sampled_from([0.5, -1.5, 10.0, 0.0, -0.0, float(BIG)]),
        "t": TEXTS,
    }
)


@settings(max_examples=120, deadline=None)
@given(TREES, st.lists(CELLS, max_size=6))
def test_masks_are_those_of_row_by_row(tree: Tree, rows: list[dict[str, Any]]) -> None:
    kinds = {"n": pa.int64(), "f": pa.float64(), "t": pa.string()}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    assert matching(written(tree), table).tolist() == [means(tree, row) for row in rows]


@settings(max_examples=120, deadline=None)
@given(st.text(alphabet="ab ()[]=<>!,'\"\\1.-\n\0é", max_size=30))
def test_any_text_is_a_mask_or_one_line(text: str) -> None:
    try:
        assert matching(text, TABLE).shape == (4,)
    except SearchError as error:
        assert "\n" not in str(error)
