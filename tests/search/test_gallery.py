from __future__ import annotations

import json
import operator
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.embeddings import Embeddings, joined, read_embeddings, refuse_other_space, write_embeddings
from medalist.search.fields import as_cell, kind_of, kinds_of, read_fields, values_of
from medalist.search.filters import F, has_id
from medalist.search.gallery import Gallery
from medalist.search.index import Index
from medalist.search.select import by_index, choose

RNG = np.random.default_rng(0)
MADE = {"fold0": "aa", "image": "{}", "run": "whales/tiny"}
KINDS = ("whale", "dolphin", "", 'orca\'s "own"')


def units(n: int, dim: int = 8, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def made(n: int = 30, dim: int = 8, start: int = 0, made_by: Any = MADE, seed: int = 0) -> Embeddings:
    return Embeddings(tuple(f"im{start + number}" for number in range(n)), units(n, dim, seed), made_by)


def columns(n: int, start: int = 0) -> dict[str, list[str]]:
    rows = range(start, start + n)
    return {
        "kind": [KINDS[row % 4] for row in rows],
        "depth": [str(row * 10) for row in rows],
        "weight": ["" if row % 3 == 0 else f"{row / 4}" for row in rows],
        "identity": [f"{row // 3:03}" for row in rows],
    }


def brute(
    gallery: Embeddings, query: NDArray[np.float32], k: int, allowed: set[str], group: Any = None, per: int = 1
) -> list[str]:
    scores = (gallery.vectors.astype(np.float64) * query).sum(axis=1)
    found: list[str] = []
    seen: dict[Any, int] = {}
    for row in np.argsort(-scores, kind="stable"):
        name = gallery.ids[row]
        key = name if group is None else group[name]
        if name in allowed and seen.get(key, 0) < per and len(found) < k:
            seen[key] = seen.get(key, 0) + 1
            found.append(name)
    return found


def answered(hits: Any) -> list[list[str]]:
    return [row[:count].tolist() for row, count in zip(hits.ids, hits.counts.tolist(), strict=True)]


# ------------------------------------------------------------------------------------------------------- embeddings


def test_embeddings_go_to_disk_and_back(tmp_path: Path) -> None:
    for count in (0, 1, 7):
        one = made(count)
        write_embeddings(tmp_path / "v.npy", one)
        back = read_embeddings(tmp_path / "v.npy")
        assert back.ids == one.ids and dict(back.made_by) == MADE and back.space == one.space
        assert not isinstance(back.vectors, np.memmap)  # a small file may be overwritten while it is read from
        np.testing.assert_array_equal(back.vectors, one.vectors)
    write_embeddings(tmp_path / "v.npy", back)  # over what it is mapped from
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.npy").vectors, one.vectors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.json", "v.npy"]


def test_take_and_space() -> None:
    one = made(5)
    np.testing.assert_array_equal(one.take(["im3", "im0"]), one.vectors[[3, 0]])
    assert one.take([]).shape == (0, 8)
    with pytest.raises(SearchError, match="2 of 3 ids are not there: 'x', 'y'"):
        one.take(["x", "im1", "y"])
    assert one.space == made(2, made_by={**MADE, "run": "other"}).space  # a run's name makes no vector
    assert one.space != made(2, made_by={**MADE, "fold0": "bb"}).space
    assert one.named == f"run whales/tiny (space {one.space})"
    assert made(1, made_by={}).named.startswith("space ")


def test_joined() -> None:
    every = joined([made(3), made(2, start=3, seed=1)])
    assert every.ids == ("im0", "im1", "im2", "im3", "im4")
    np.testing.assert_array_equal(every.vectors, np.concatenate([units(3), units(2, seed=1)]))
    other = made(2, start=9, made_by={"fold0": "bb", "run": "whales/big"})
    with pytest.raises(SearchError, match=r"run whales/tiny \(space .*run whales/big \(space "):
        joined([made(3), other])
    with pytest.raises(SearchError, match=r"8 components by run whales/tiny .*of 6 by run whales/tiny"):
        refuse_other_space(made(3), made(3, dim=6))
    with pytest.raises(SearchError, match="ids are repeated: 'im1', 'im2'"):
        joined([made(3), made(2, start=1)])
    with pytest.raises(SearchError, match="no embeddings"):
        joined([])


def spoilt(value: float) -> NDArray[np.float32]:
    rows = units(5000)
    rows[4711, 2] = value
    return rows


@pytest.mark.parametrize(
    ("ids", "vectors", "words"),
    [
        (("a", "a"), units(2), "ids are repeated: 'a'"),
        (("a", ""), units(2), "row 1: an empty string"),
        (("a",), units(2), "1 ids for 2 vectors"),
        ((1, 2), units(2), "strings"),
        (("a", "b"), units(2).astype(np.float64), "float64, expected float32"),
        (("a", "b"), units(2).astype(">f4"), ">f4, expected float32"),
        (("a", "b"), [[1.0], [1.0]], "list, expected float32"),
        (("a", "b"), units(2)[0], r"shape \[8\]"),
        (("a", "b"), np.empty((2, 0), np.float32), r"shape \[2, 0\]"),
        (("a", "b"), units(2) * np.float32(1.01), "row 0: length 1.01"),
        (("a", "b"), units(2) * np.float32(0), "row 0: length 0"),
        (tuple(map(str, range(5000))), spoilt(np.nan), "row 4711: not finite"),
        (tuple(map(str, range(5000))), spoilt(np.inf), "row 4711: not finite"),
        (tuple(map(str, range(5000))), spoilt(1e30), "row 4711: "),
    ],
)
def test_embeddings_that_are_none(ids: Any, vectors: Any, words: str) -> None:
    with pytest.raises(SearchError, match=words) as caught:
        Embeddings(ids, vectors, {})
    assert "\n" not in str(caught.value)


def test_hostile_files_of_embeddings(tmp_path: Path) -> None:
    path, note = tmp_path / "v.npy", tmp_path / "v.json"
    write_embeddings(path, made(4))
    good = json.loads(note.read_text())
    bad: tuple[tuple[bytes, str], ...] = (
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected 'format'"),
        (json.dumps({**good, "format": 2}).encode(), "expected 'format'"),
        (json.dumps({**good, "ids": "im0"}).encode(), "'ids' is not a list"),
        (json.dumps({**good, "ids": [1, 2, 3, 4]}).encode(), "'ids' is not a list"),
        (json.dumps({**good, "ids": ["a", "b", "c", "a"]}).encode(), "ids are repeated: 'a'"),
        (json.dumps({**good, "ids": ["a", "b", "c", "\ud800"]}).encode(), "UTF-8"),
        (json.dumps({**good, "ids": ["a"]}).encode(), "1 ids for 4"),
        (json.dumps({**good, "made_by": {"a": 1}}).encode(), "'made_by'"),
        (json.dumps({**good, "shape": [4, 9]}).encode(), "shape"),
    )
    for data, words in bad:
        note.write_bytes(data)
        with pytest.raises(SearchError, match=words) as caught:
            read_embeddings(path)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    note.unlink()
    with pytest.raises(SearchError, match="unknown origin"):
        read_embeddings(path)
    with pytest.raises(SearchError, match=r"ends in \.npy"):
        write_embeddings(tmp_path / "v.bin", made(2))


def test_a_write_that_breaks_leaves_nothing_that_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.npy"
    write_embeddings(path, made(4))

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medalist.search.embeddings.write_json", broken)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(path, made(4, seed=1))
    with pytest.raises(SearchError, match="unknown origin"):
        read_embeddings(path)


# ------------------------------------------------------------------------------------------------------------ fields


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "0"], "int"),
        (["1", "", "0"], "int"),
        (["999999999999999999"], "int"),
        (["1", "2.5", ""], "float"),
        (["1e3"], "float"),
        (["9007199254740992", "0.5"], "float"),
        (["true", "False", ""], "bool"),
        (["2026-01-31", ""], "datetime"),
        (["2026-01-31", "2026-02-01T10:30:00+02:00", "2026-02-01 10:30"], "datetime"),
        (["54.3,10.1", "-90,180", ""], "geo"),
        (["54.3, 10.1"], "geo"),
        (["3,5", "2,75"], "tag"),  # German decimals
        (["54.3,10.1", "91,0"], "tag"),
        (["54.3,10.1,7"], "tag"),
        (["007", "1"], "tag"),
        (["nan"], "tag"),
        (["1e999"], "tag"),
        (["1234567890123456789"], "tag"),
        (["9007199254740993", "0.5"], "tag"),
        (["", ""], "tag"),
        ([], "tag"),
        (["1", "x"], "tag"),
        (["1 "], "tag"),
        (["true", "1"], "tag"),
        (["2026-02-30"], "tag"),
        (["2026-01-31", "soon"], "tag"),
        (["2026-01-31T10:00:00.0000001"], "tag"),  # finer than microseconds: it would be lost
    ],
    ids=str,
)
def test_kinds_of_columns(cells: list[str], kind: str) -> None:
    assert kind_of("depth", cells) == kind
    assert kind_of("identity", cells) == kind_of("path", cells) == "tag"
    assert kinds_of({"id": cells, "identity": cells, "depth": cells}) == {"identity": "tag", "depth": kind}


def test_cells_become_values_and_cells_again() -> None:
    cells = {
        "t": ["whale", "", "007"],
        "b": ["TRUE", "false", ""],
        "n": ["", "-7", "12"],
        "x": ["2.5", "", "-3"],
        "at": ["2026-01-31", "2026-01-31T12:00:00+02:00", ""],
        "place": ["54.3, 10.1", "", "-90,180.0"],
    }
    ids = ["a", "b", "c"]
    kinds = kinds_of(cells)
    assert list(kinds.values()) == ["tag", "bool", "int", "float", "datetime", "geo"]
    index = Index(4, fields=kinds)
    index.add(ids, units(3, 4), values_of(cells, kinds, ids))
    assert index.get(ids) == [
        {"t": ["whale"], "b": True, "x": 2.5, "at": datetime(2026, 1, 31, tzinfo=UTC), "place": (54.3, 10.1)},
        {"b": False, "n": -7, "at": datetime(2026, 1, 31, 10, tzinfo=UTC)},
        {"t": ["007"], "n": 12, "x": -3.0, "place": (-90.0, 180.0)},
    ]
    rows = [[as_cell(row.get(name)) for name in cells] for row in index.get(ids)]
    assert rows == [
        ["whale", "true", "", "2.5", "2026-01-31", "54.3,10.1"],
        ["", "false", "-7", "", "2026-01-31T10:00:00Z", ""],
        ["007", "", "12", "-3.0", "", "-90.0,180.0"],
    ]
    again = {name: [row[place] for row in rows] for place, name in enumerate(cells)}
    assert kinds_of(again) == kinds and str(values_of(again, kinds, ids)) == str(values_of(cells, kinds, ids))
    assert as_cell(["b", "c d"]) == "b, c d" and as_cell(datetime(2026, 1, 1, 1, 2, 3, 4, UTC))[19:] == ".000004Z"


def test_kinds_that_the_user_says() -> None:
    cells = {"depth": ["007", "+8"], "place": ["54,10", ""], "ref": ["1", "2"], "x": ["3", ".5"], "ok": ["true", ""]}
    said = {"depth": "int", "place": "geo", "ref": "id", "x": "float", "ok": "tag"}
    assert kinds_of(cells, said) == said
    assert values_of(cells, kinds_of(cells, said), ["a", "b"]) == {
        "depth": [7, 8],
        "place": [(54.0, 10.0), None],
        "ref": ["1", "2"],
        "x": [3.0, 0.5],
        "ok": ["true", None],
    }
    for name, kind, words in (
        ("deep", "int", "kind deep=int: no column 'deep'; there are: 'depth', 'place', 'ref', 'x', 'ok'"),
        ("id", "int", "no column 'id'"),
        ("depth", "integer", "kind depth=integer: unknown kind 'integer'; expected one of tag, bool, int, float"),
        ("identity", "int", "kind identity=int: 'identity' is always a tag"),
    ):
        with pytest.raises(SearchError, match=words):
            kinds_of({**cells, "identity": ["7", "8"]} if name == "identity" else cells, {name: kind})
    for name, kind, words in (
        ("place", "int", "field 'place', id 'a': '54,10' is no whole number; the field's kind is int"),
        ("depth", "geo", "field 'depth', id 'a': '007' is no latitude,longitude such as 54.3,10.1"),
        ("place", "float", "'54,10' is no finite number"),
        ("ok", "datetime", "'true' is no date or time"),
        ("ref", "bool", "'1' is neither true nor false"),
    ):
        with pytest.raises(SearchError, match=words):
            values_of(cells, kinds_of(cells, {**said, name: kind}), ["a", "b"])
    for cell, kind in (("9" * 30, "int"), ("nan", "float"), ("1e999", "float"), ("91,0", "geo"), ("0" * 5000, "int")):
        with pytest.raises(SearchError, match="field 'n', id 'a': ") as caught:
            values_of({"n": [cell]}, kinds_of({"n": [cell]}, {"n": kind}), ["a"])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(
        SearchError, match="column 'new' is no field of the index, which has: 'depth'; leave the column"
    ):
        values_of({"new": ["1"]}, {"depth": "int"}, ["a"])


@given(st.lists(st.text(alphabet="01-9.,eE+TZ: truefals", max_size=9), max_size=5))
def test_every_cell_can_be_read_as_its_columns_kind(cells: list[str]) -> None:
    kinds = kinds_of({"x": cells})
    found = values_of({"x": cells}, kinds, [str(row) for row in range(len(cells))])["x"]
    assert [value is None for value in found] == [not cell for cell in cells]
    if kinds["x"] == "int":
        assert [str(value) for value in found if value is not None] == [
            cell.replace("-0", "0") for cell in cells if cell
        ]


def test_read_fields(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("kind,id\nwhale,b\norca,a\nfox,c\n")
    assert read_fields(path, ["a", "b"]) == {"kind": ["orca", "whale"]}
    with pytest.raises(SearchError, match=r"f\.csv: no row for 2 of 3 ids: 'x', 'y'"):
        read_fields(path, ["x", "a", "y"])
    path.write_text("id,kind\na,1\na,2\n")
    with pytest.raises(SearchError, match=r"f\.csv: ids are repeated: 'a'"):
        read_fields(path, ["a"])


# --------------------------------------------------------------------------- what --where means of the cells of a csv

BIG = 2**53
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
DAYS = st.sampled_from(["2026-01-31", "2026-02-01", "1969-12-31T23:59:59Z"])
LEAVES = st.one_of(
    st.tuples(st.just("is"), st.sampled_from(["n", "f"]), st.sampled_from(list(SIGNS)), NUMBERS),
    st.tuples(st.just("is"), st.just("at"), st.sampled_from(list(SIGNS)), DAYS),
    st.tuples(st.just("is"), st.just("t"), st.sampled_from(["=", "!="]), TEXTS),
    st.tuples(st.just("in"), st.just("t"), st.lists(TEXTS, min_size=1, max_size=3)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=8,
)
CELLS = st.fixed_dictionaries(
    {
        "n": st.sampled_from(["", "-3", "0", "2", str(BIG), str(BIG + 1)]),
        "f": st.sampled_from(["", "0.5", "-1.5", "10.0", "0.0", "-0.0"]),
        "t": TEXTS,
        "at": st.sampled_from(["", "2026-01-31", "2026-01-31T10:00:00Z", "1969-12-31T23:59:59Z"]),
    }
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


def means(tree: Tree, row: dict[str, str]) -> bool:
    """Of the cells as they stand; a text that is none equals "" and nothing else."""
    match tree:
        case ("is", "t", sign, value):
            return SIGNS[sign](row["t"], value)
        case ("is", field, sign, value):
            if not row[field]:
                return bool(sign == "!=")
            read: Any = {"n": Decimal, "f": float, "at": datetime.fromisoformat}[field]
            cell, wanted = read(row[field]), read(value)
            if field == "at":
                cell, wanted = (one if one.tzinfo else one.replace(tzinfo=UTC) for one in (cell, wanted))
            return SIGNS[sign](cell, wanted)
        case ("in", field, values):
            return row[field] in values
        case ("not", one):
            return not means(one, row)
        case ("and", one, two):
            return means(one, row) and means(two, row)
        case ("or", one, two):
            return means(one, row) or means(two, row)
    raise AssertionError(tree)


@given(TREES, st.lists(CELLS, max_size=6))
def test_where_means_what_it_does_row_by_row(tree: Tree, rows: list[dict[str, str]]) -> None:
    ids = [f"r{row}" for row in range(len(rows))]
    cells = {name: [row[name] for row in rows] for name in ("n", "f", "t", "at")}
    kinds = kinds_of(cells, {"n": "int", "f": "float", "t": "tag", "at": "datetime"})
    index = Index(4, fields=kinds)
    index.add(ids, units(len(rows), 4).reshape(-1, 4), values_of(cells, kinds, ids))
    wanted = [name for name, row in zip(ids, rows, strict=True) if means(tree, row)]
    assert index.scroll(written(tree)).ids.tolist() == wanted
    assert index.count(written(tree)) == len(wanted)


# ----------------------------------------------------------------------------------------------------------- gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "g", made(), columns(30))


def test_a_gallery_answers_as_brute_force_does(gallery: Gallery) -> None:
    queries = units(5, seed=9)
    every = set(made().ids)
    assert gallery.fields == {"kind": "tag", "depth": "int", "weight": "float", "identity": "tag"}
    identity = {f"im{row}": row // 3 for row in range(30)}
    whales = {f"im{row}" for row in range(0, 30, 4) if row * 10 < 200}
    for held in (gallery, Gallery.open(gallery.folder)):
        for k in (0, 1, 7, 30, 40):
            assert answered(held.search(queries, k, plan="exact")) == [brute(made(), q, k, every) for q in queries]
            for where in ("kind = whale and depth < 200", (F.kind == "whale") & (F.depth < 200)):
                hits = held.search(queries, k, where)
                assert answered(hits) == [brute(made(), q, k, whales) for q in queries]
                assert hits.ids.shape == (5, k) and (hits.counts == min(k, len(whales))).all()
            hits = held.search(queries, k, group_by="identity", plan="exact")
            assert answered(hits) == [brute(made(), q, k, every, identity) for q in queries]
            hits = held.search(queries, k, "depth >= 50", group_by="identity", per=2)
            deep = {f"im{row}" for row in range(5, 30)}
            assert answered(hits) == [brute(made(), q, k, deep, identity, 2) for q in queries]
        one = held.search(queries[0], 3)
        assert one.ids.shape == (3,) and one.counts.shape == () and len(held) == 30
        close = held.search(queries, 30, min_score=0.3)
        assert (close.scores[close.ids != ""] >= 0.3).all() and 0 < close.counts.sum() < 150
    assert gallery.search(queries, 4, "kind = nobody").counts.tolist() == [0] * 5
    assert gallery.search(queries, 40, "kind = ''", group_by="kind", plan="exact").counts.tolist() == [7] * 5


def test_add_and_delete_are_what_a_new_gallery_would_be(gallery: Gallery) -> None:
    queries = units(4, seed=5)
    old = Gallery.open(gallery.folder)
    assert old.delete([])[1] == old.delete(["who"])[1] == 0
    fewer, count = old.delete(["im3", "im4", "im0", "im3", "who"])
    assert count == 3 and len(fewer) == 27
    more = fewer.add(made(4, start=50, seed=2), {"kind": ["seal"] * 4})
    again = more.add(Embeddings(("im3",), units(1, seed=3), MADE))  # an id that was deleted
    few, count = again.delete(["im8"], identities=["002", "003"], where="depth > 190 or kind = seal and id = im50")
    assert count == 17  # im6 to im11, im20 to im29, im50
    gone = {*range(6, 12), *range(20, 30), 50}
    vectors = dict(zip(made().ids, units(30), strict=True))
    vectors.update(zip(made(4, start=50).ids, units(4, seed=2), strict=True))
    numbers = {*range(30), *range(50, 54)} - {0, 3, 4}
    for held, names in (
        (fewer, {f"im{row}" for row in numbers if row < 50}),
        (more, {f"im{row}" for row in numbers}),
        (again, {f"im{row}" for row in numbers | {3}}),
        (few, {f"im{row}" for row in (numbers | {3}) - gone}),
        (Gallery.open(gallery.folder), {f"im{row}" for row in (numbers | {3}) - gone}),
    ):
        if "im3" in names:
            vectors["im3"] = units(1, seed=3)[0]
        assert set(held.index.ids().tolist()) == names and len(held) == len(names)
        twin = Embeddings(tuple(vectors), np.array(list(vectors.values())), MADE)
        for k in (5, 50):
            for hits in (held.search(queries, k, plan="exact"), held.search(queries, k, recall=1.0)):
                assert answered(hits) == [brute(twin, q, k, names) for q in queries]
        seals = {name for name in names if name >= "im50" and len(name) == 4}
        assert answered(held.search(queries, 9, "kind = seal")) == [brute(twin, q, 9, seals) for q in queries]
    assert answered(old.search(queries, 3, plan="exact")) == [brute(made(), q, 3, set(made().ids)) for q in queries]
    assert few.delete(where=~has_id([]))[1] == len(few)
    empty = Gallery.open(gallery.folder)
    hits = empty.search(queries, 3)
    assert hits.ids.dtype.kind == "U" and set(hits.ids.ravel().tolist()) == {""} and not len(empty)
    assert empty.delete(["im1"])[1] == 0 and len(empty.add(made(2))) == 2


def test_a_gallery_of_nothing(tmp_path: Path) -> None:
    empty = Gallery.create(tmp_path / "g", made(0))
    assert len(empty) == 0 and empty.search(units(2), 2).ids.tolist() == [["", ""], ["", ""]]
    assert empty.search(made(2), 0).ids.dtype.kind == "U" and empty.delete(["a"])[1] == 0
    assert len(empty.add(made(3))) == 3


def test_a_gallery_refuses_what_is_not_of_it(gallery: Gallery) -> None:
    other = made(2, start=90, made_by={"fold0": "bb", "run": "whales/big"})
    before = _files(gallery.folder)
    for give in (lambda: gallery.add(other), lambda: gallery.search(other)):
        with pytest.raises(SearchError, match=r"run whales/big \(space .*gallery .* of run whales/tiny"):
            give()
    with pytest.raises(SearchError, match=r"of 6 components by run .* of 8 by gallery"):
        gallery.add(made(2, dim=6, start=90))
    with pytest.raises(SearchError, match="2 ids are there already: 'im28', 'im29'; delete them first"):
        gallery.add(made(4, start=28))
    with pytest.raises(SearchError, match="field 'depth', id 'im90': 'deep' is no whole number"):
        gallery.add(made(1, start=90), {"depth": ["deep"]})
    with pytest.raises(SearchError, match="column 'new' is no field of the index, which has: 'kind', 'depth'"):
        gallery.add(made(1, start=90), {"new": ["5"]})
    with pytest.raises(SearchError, match="field 'x': unknown"):
        gallery.search(units(1), group_by="x")
    for where, words in (("x = 1", "--where, character 1: no field 'x'"), ("depth <", "--where, character 8: ")):
        with pytest.raises(SearchError, match=words):
            gallery.search(units(1), where=where)
        with pytest.raises(SearchError, match=words):
            gallery.delete(where=where)
    with pytest.raises(SearchError, match="kind deep=int: no column 'deep'"):
        Gallery.create(gallery.folder, made(3), columns(3), kinds={"deep": "int"})
    assert _files(gallery.folder) == before and len(Gallery.open(gallery.folder)) == 30
    plain = Gallery.create(gallery.folder.parent / "h", made(3))
    with pytest.raises(SearchError, match="there is no field 'identity'; build it with --fields"):
        plain.delete(identities=["7"])


def _told(gallery: Gallery) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((gallery.folder / "gallery.json").read_text())
    return found


def _files(folder: Path) -> dict[str, bytes]:
    """Everything that a gallery is made of; of its index, the lock's time does not count."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folders_that_are_no_gallery(tmp_path: Path, gallery: Gallery) -> None:
    with pytest.raises(SearchError, match=r"is no gallery: it has no gallery\.json"):
        Gallery.open(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SearchError, match="the folder has other files"):
        Gallery.create(tmp_path / "full", made(2))
    with pytest.raises(SearchError, match="not a folder"):
        Gallery.create(tmp_path / "full" / "thesis.txt", made(2))
    with pytest.raises(SearchError, match=r"cannot write .*new"):
        Gallery.create(tmp_path / "full" / "thesis.txt" / "new", made(2))
    good, path = _told(gallery), gallery.folder / "gallery.json"
    assert sorted(good) == ["dim", "format", "index", "made_by", "space"] and good["index"] == "index"
    for change, words in (
        ({"format": "x"}, "not of a gallery"),
        ({"format": "medalist gallery 1"}, "of an earlier version; build it again with medalist index build RUN"),
        ({"index": "../index"}, "'index' or 'dim' is damaged"),
        ({"index": 7}, "'index' or 'dim' is damaged"),
        ({"dim": True}, "'index' or 'dim' is damaged"),
        ({"index": "index-7"}, "index-7: no such folder; build it again"),
        ({"made_by": 1}, "'made_by' does not map strings"),
        ({"made_by": {"fold0": "cc"}}, "'space' is not that of 'made_by'"),
        ({"dim": 9}, "does not fit gallery.json"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(SearchError, match=words) as caught:
            Gallery.open(gallery.folder)
        assert "\n" not in str(caught.value)
    path.write_text(json.dumps(good))
    shutil.rmtree(gallery.folder / "index")
    with Index.create(gallery.folder / "index", 8) as numbers:
        numbers.add(None, units(3))
    with pytest.raises(SearchError, match=r"does not fit gallery\.json"):
        Gallery.open(gallery.folder)
    path.write_text("[" * 100_000)
    with pytest.raises(SearchError, match="not JSON"):
        Gallery.open(gallery.folder)


def test_an_interrupted_change_leaves_the_gallery_as_it_was(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    queries = units(3, seed=8)
    before = answered(gallery.search(queries, 5, plan="exact"))
    for what in ("gallery.write_json", "gallery.Index.add", "gallery.Index.checkpoint"):
        with monkeypatch.context() as patch:
            patch.setattr(f"medalist.search.{what}", broken)
            for folder in (gallery.folder, tmp_path / "new"):
                with pytest.raises(KeyboardInterrupt):
                    Gallery.create(folder, made(3, seed=6))
            if what == "gallery.Index.add":
                with pytest.raises(KeyboardInterrupt):
                    gallery.add(made(3, start=70, seed=6))
        held = Gallery.open(gallery.folder)
        assert len(held) == 30 and answered(held.search(queries, 5, plan="exact")) == before
        assert sorted(path.name for path in gallery.folder.iterdir()) == ["gallery.json", "index"]
        assert not (tmp_path / "new").exists()
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C while vectors are linked
        gallery.add(made(2000, start=100, seed=6), progress=broken)
    assert len(Gallery.open(gallery.folder)) == 30
    assert len(gallery.add(made(3, start=70, seed=6))) == 33


def test_creating_over_a_gallery_replaces_it(gallery: Gallery) -> None:
    for name in ("vectors-0.npy", "index-0.ann", "fields-0.parquet"):
        (gallery.folder / name).write_text("of format 1")
    queries = units(3, seed=4)
    before = answered(gallery.search(queries, 4, plan="exact"))
    held = Gallery.create(gallery.folder, made(4, seed=7, made_by={"fold0": "new"}))
    assert held.index.ids().tolist() == list(made(4).ids) and not held.fields
    (name,) = {path.name for path in gallery.folder.iterdir()} - {"gallery.json"}
    assert re.fullmatch("index-[0-9a-f]{8}", name)
    assert answered(gallery.search(queries, 4, plan="exact")) == before  # opened before: it answers as it did
    for change in (lambda: gallery.add(made(2, start=90)), lambda: gallery.delete(["im1"])):
        with pytest.raises(SearchError, match="the gallery was built again by another process; run the command again"):
            change()
    (gallery.folder / "index").mkdir()  # of a build that was killed
    Gallery.create(gallery.folder, made(5))
    (other,) = {path.name for path in gallery.folder.iterdir()} - {"gallery.json"}
    assert other not in (name, "index") and len(Gallery.open(gallery.folder)) == 5


def test_what_is_written_into_a_gallery_that_is_replaced_is_not_lost_in_silence(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(_: int, __: int) -> None:
        Gallery.create(gallery.folder, made(5, seed=3))

    with pytest.raises(SearchError, match="the gallery was built again by another process; run the command again"):
        gallery.add(made(1500, start=100), progress=replaced)
    assert len(Gallery.open(gallery.folder)) == 5


def test_two_builds_of_one_gallery_do_not_meet(gallery: Gallery) -> None:
    asked: list[int] = []

    def again(done: int, _: int) -> None:
        asked.append(done)
        with pytest.raises(SearchError, match="is being built by another process; wait until it ends"):
            Gallery.create(gallery.folder, made(5, seed=3))

    assert len(Gallery.create(gallery.folder, made(1500), progress=again)) == 1500
    assert asked and len(list(gallery.folder.iterdir())) == 2


def test_an_open_gallery_is_in_nobodys_way(gallery: Gallery) -> None:
    queries = units(2, seed=3)
    before = answered(gallery.search(queries, 30, plan="exact"))
    code = (
        "import sys, numpy as np; from pathlib import Path; from medalist.search.gallery import Gallery, Embeddings\n"
        "held = Gallery.open(Path(sys.argv[1])); rows = np.eye(8, dtype=np.float32)\n"
        "more = held.add(Embeddings(tuple('abcdefgh'), rows, held.made_by), {'kind': ['seal'] * 8})\n"
        "print(more.delete(['im0'])[1], len(Gallery.open(Path(sys.argv[1]))))"
    )
    other = [sys.executable, "-c", code, str(gallery.folder)]
    assert subprocess.run(other, check=True, capture_output=True, text=True).stdout == "1 37\n"
    assert answered(gallery.search(queries, 30, plan="exact")) == before and len(gallery) == 30
    assert Gallery.open(gallery.folder).search(np.eye(8, dtype=np.float32)[2], 1, "kind = seal").ids.tolist() == ["c"]
    with (
        Index.open(gallery.folder / "index"),
        pytest.raises(SearchError, match="is being written by another process"),
    ):
        gallery.add(made(1, start=99))


def test_a_snapshot_is_a_gallery(gallery: Gallery, tmp_path: Path) -> None:
    Gallery.create(gallery.folder, made(), columns(30))  # its index has another name now
    held, _ = Gallery.open(gallery.folder).delete(where="depth < 50")
    queries = units(3, seed=2)
    copy = held.snapshot(tmp_path / "deep" / "copy")
    held.delete(where="depth < 100")
    assert len(copy) == 25 and copy.space == gallery.space and copy.fields == gallery.fields
    assert answered(copy.search(queries, 9, "kind = whale")) == answered(held.search(queries, 9, "kind = whale"))
    with pytest.raises(SearchError, match="is not empty; give another folder"):
        held.snapshot(tmp_path / "deep")
    assert len(copy.add(made(2, start=60))) == 27 and len(Gallery.open(gallery.folder)) == 20


# ------------------------------------------------------------------------------------------------------------ select


@given(st.data())
def test_choose_loses_nothing(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 60))
    k, most = data.draw(st.integers(0, 70)), data.draw(st.integers(1, 4))
    groups = np.array(data.draw(st.lists(st.integers(-1, 6), min_size=n, max_size=n)), np.int64)
    vectors, queries = units(n, 4, 1).reshape(n, 4), units(3, 4, 2)
    index = Index(4)
    index.add(None, vectors)
    found = choose(by_index(index), queries, k, groups, most, exact=True)
    for query, rows, count in zip(queries, found.rows, found.counts.tolist(), strict=True):
        seen: dict[int, int] = {}
        wanted: list[int] = []
        for row in np.argsort(-(vectors.astype(np.float64) @ query), kind="stable").tolist():
            group = int(groups[row])
            if group >= 0 and seen.get(group, 0) < most and len(wanted) < k:
                seen[group] = seen.get(group, 0) + 1
                wanted.append(row)
        assert rows[:count].tolist() == wanted and (rows[count:] == -1).all()
