from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.embeddings import Embeddings, joined, read_embeddings, refuse_other_space, write_embeddings
from medalist.search.fields import make_fields, read_fields, stacked, typed
from medalist.search.gallery import Gallery
from medalist.search.select import choose, exact_among

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
        assert isinstance(back.vectors, np.memmap) or not count
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
    with pytest.raises(SearchError, match="more than once: 'im1', 'im2'"):
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
        (("a", "a"), units(2), "more than once: 'a'"),
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
        (json.dumps({**good, "ids": ["a", "b", "c", "a"]}).encode(), "more than once"),
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
        (["1", "-2", "0"], "int64"),
        (["1", "", "0"], "int64"),
        (["1", "2.5", ""], "double"),
        (["1e3"], "double"),
        (["007", "1"], "string"),
        (["nan"], "string"),
        (["1e999"], "string"),
        (["1234567890123456789"], "string"),
        (["9007199254740993", "0.5"], "string"),
        (["", ""], "string"),
        (["1", "x"], "string"),
        (["1 "], "string"),
    ],
)
def test_types_of_columns(cells: list[str], kind: str) -> None:
    column = typed("depth", cells)
    assert str(column.type) == kind
    back = ["" if cell is None else cell for cell in column.to_pylist()]
    assert [str(cell) for cell in back] == cells or kind == "double"
    assert str(typed("identity", cells).type) == "string"


def test_read_fields(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("kind,id\nwhale,b\norca,a\nfox,c\n")
    assert read_fields(path, ["a", "b"]) == {"kind": ["orca", "whale"]}
    with pytest.raises(SearchError, match=r"f\.csv: no row for 2 of 3 ids: 'x', 'y'"):
        read_fields(path, ["x", "a", "y"])
    path.write_text("id,kind\na,1\na,2\n")
    with pytest.raises(SearchError, match=r"f\.csv: ids: 1 stand there more than once: 'a'"):
        read_fields(path, ["a"])


def test_stacked() -> None:
    above = make_fields(["a", "b"], {"n": ["1", ""], "t": ["x", ""], "e": ["", ""]})
    below = make_fields(["c"], {"n": ["2.5"], "e": ["7"], "new": ["z"]})
    assert stacked(above, below).to_pydict() == {
        "id": ["a", "b", "c"],
        "n": [1.0, None, 2.5],
        "t": ["x", "", ""],
        "e": [None, None, 7],
        "new": ["", "", "z"],
    }
    with pytest.raises(SearchError, match="field 't': text in the gallery, whole numbers in what is added"):
        stacked(above, make_fields(["c"], {"t": ["5"]}))


# ----------------------------------------------------------------------------------------------------------- gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "g", made(), columns(30))


def test_a_gallery_answers_as_brute_force_does(gallery: Gallery) -> None:
    queries = units(5, seed=9)
    every = set(gallery.embeddings.ids)
    identity = {f"im{row}": row // 3 for row in range(30)}
    whales = {f"im{row}" for row in range(0, 30, 4) if row * 10 < 200}
    for held in (gallery, Gallery.open(gallery.folder)):
        for k in (0, 1, 7, 30, 40):
            assert answered(held.search(queries, k, exact=True)) == [brute(made(), q, k, every) for q in queries]
            hits = held.search(queries, k, "kind = whale and depth < 200")
            assert answered(hits) == [brute(made(), q, k, whales) for q in queries]
            assert hits.ids.shape == (5, k) and (hits.counts == min(k, len(whales))).all()
            hits = held.search(queries, k, group_by="identity", exact=True)
            assert answered(hits) == [brute(made(), q, k, every, identity) for q in queries]
            hits = held.search(queries, k, "depth >= 50", group_by="identity", per=2)
            deep = {f"im{row}" for row in range(5, 30)}
            assert answered(hits) == [brute(made(), q, k, deep, identity, 2) for q in queries]
        one = held.search(queries[0], 3)
        assert one.ids.shape == (3,) and one.counts.shape == () and len(held) == 30
    assert gallery.search(queries, 4, "kind = nobody").counts.tolist() == [0] * 5


def test_add_and_remove_are_what_a_new_gallery_would_be(tmp_path: Path, gallery: Gallery) -> None:
    queries = units(4, seed=5)
    old = Gallery.open(gallery.folder)
    assert len(old.remove([])) == 30
    fewer = old.remove(["im3", "im4", "im0"])
    assert sorted(fewer.removed) == ["im0", "im3", "im4"] and len(fewer) == 27
    more = Gallery.open(gallery.folder).add(made(4, start=50, seed=2), {"kind": ["seal"] * 4})
    again = more.add(Embeddings(("im3",), units(1, seed=3), MADE))  # an id that was removed
    assert not again.removed and len(again) == 32
    few = again.remove([f"im{row}" for row in range(5, 20)])  # more than a quarter: written anew
    assert not few.removed and len(few.embeddings) == 17
    vectors = dict(zip(made().ids, units(30), strict=True))
    vectors.update(zip(made(4, start=50).ids, units(4, seed=2), strict=True))
    for held, names in (
        (fewer, {f"im{row}" for row in range(30)} - {"im0", "im3", "im4"}),
        (more, {f"im{row}" for row in (*range(30), *range(50, 54))} - {"im0", "im3", "im4"}),
        (few, {f"im{row}" for row in (1, 2, 3, *range(20, 30), *range(50, 54))}),
        (Gallery.open(gallery.folder), {f"im{row}" for row in (1, 2, 3, *range(20, 30), *range(50, 54))}),
    ):
        if "im3" in names:
            vectors["im3"] = units(1, seed=3)[0]
        twin = Embeddings(tuple(vectors), np.array(list(vectors.values())), MADE)
        for k in (5, 50):
            for hits in (held.search(queries, k, exact=True), held.search(queries, k, recall=1.0)):
                assert answered(hits) == [brute(twin, q, k, names) for q in queries]
        seals = {name for name in names if name >= "im50" and len(name) == 4}
        assert answered(held.search(queries, 9, "kind = seal")) == [brute(twin, q, 9, seals) for q in queries]
    assert answered(old.search(queries, 3, exact=True)) == [brute(made(), q, 3, set(made().ids)) for q in queries]
    assert len(list(gallery.folder.iterdir())) == 5  # nothing of former states is left


def test_a_gallery_refuses_what_is_not_of_it(gallery: Gallery) -> None:
    other = made(2, start=90, made_by={"fold0": "bb", "run": "whales/big"})
    before = sorted((path.name, path.stat().st_mtime_ns) for path in gallery.folder.iterdir())
    for give in (lambda: gallery.add(other), lambda: gallery.search(other)):
        with pytest.raises(SearchError, match=r"run whales/big \(space .*gallery .* of run whales/tiny"):
            give()
    with pytest.raises(SearchError, match=r"of 6 components by run .* of 8 by gallery"):
        gallery.add(made(2, dim=6, start=90))
    with pytest.raises(SearchError, match="2 ids are there already: 'im1', 'im2'"):
        gallery.add(made(2, start=1, seed=4))
    with pytest.raises(SearchError, match="1 of 2 ids are not there: 'x'"):
        gallery.remove(["im1", "x"])
    with pytest.raises(SearchError, match="1 of 1 ids are not there"):
        gallery.remove(["im1"]).remove(["im1"])
    gallery.folder.joinpath("gallery.json").write_text(json.dumps({**_told(gallery), "removed": []}))
    with pytest.raises(SearchError, match="field 'kind': text in the gallery, whole numbers"):
        gallery.add(made(1, start=90), {"kind": ["5"]})
    with pytest.raises(SearchError, match="no field 'x' to group by"):
        gallery.search(units(1), group_by="x")
    with pytest.raises(SearchError, match="--where, character 1: no field 'x'"):
        gallery.search(units(1), where="x = 1")
    after = sorted((path.name, path.stat().st_mtime_ns) for path in gallery.folder.iterdir())
    assert [one for one in before if one[0] != "gallery.json"] == [one for one in after if one[0] != "gallery.json"]


def _told(gallery: Gallery) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((gallery.folder / "gallery.json").read_text())
    return found


def test_folders_that_are_no_gallery(tmp_path: Path, gallery: Gallery) -> None:
    with pytest.raises(SearchError, match=r"is no gallery: it has no gallery\.json"):
        Gallery.open(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SearchError, match="holds other files"):
        Gallery.create(tmp_path / "full", made(2))
    with pytest.raises(SearchError, match="not a folder"):
        Gallery.create(tmp_path / "full" / "thesis.txt", made(2))
    good, path = _told(gallery), gallery.folder / "gallery.json"
    for change, words in (
        ({"format": "x"}, "not of a gallery"),
        ({"number": "../7"}, "not of a gallery"),
        ({"number": True}, "not of a gallery"),
        ({"number": 7}, "no such file"),
        ({"removed": "im1"}, "not a list of strings"),
        ({"removed": ["who"]}, "never were there: 'who'"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(SearchError, match=words):
            Gallery.open(gallery.folder)
    path.write_text(json.dumps(good))
    other = Gallery.create(tmp_path / "h", made(31))
    for mine, his, words in (
        ("index-0.ann", "index-0.ann", "is not of the 30 vectors"),
        ("fields-0.parquet", "fields-0.parquet", "its ids are not those"),
        ("fields-0.parquet", "index-0.ann", "damaged or not a parquet file"),
    ):
        kept = (gallery.folder / mine).read_bytes()
        (gallery.folder / mine).write_bytes((other.folder / his).read_bytes())
        with pytest.raises(SearchError, match=words):
            Gallery.open(gallery.folder)
        (gallery.folder / mine).write_bytes(kept)
    assert len(Gallery.open(gallery.folder)) == 30


def test_truncated_and_mutated_fields(gallery: Gallery) -> None:
    path = gallery.folder / "fields-0.parquet"
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(150):
        changed = bytearray(data[: rng.integers(len(data))] if number % 3 == 0 else data)
        for _ in range(3):
            if changed:
                changed[rng.integers(len(changed))] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            Gallery.open(gallery.folder)
        except SearchError as error:
            assert "\n" not in str(error)


def test_an_interrupted_change_leaves_the_gallery_as_it_was(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    queries = units(3, seed=8)
    before = answered(gallery.search(queries, 5, exact=True))
    for what in ("write_embeddings", "write_parquet", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(f"medalist.search.gallery.{what}", broken)
            with pytest.raises(KeyboardInterrupt):
                gallery.add(made(3, start=70, seed=6))
            with pytest.raises(KeyboardInterrupt):
                gallery.remove([f"im{row}" for row in range(20)])
        held = Gallery.open(gallery.folder)
        assert len(held) == 30 and answered(held.search(queries, 5, exact=True)) == before
    assert len(gallery.add(made(3, start=70, seed=6))) == 33


def test_creating_over_a_gallery_replaces_it(gallery: Gallery) -> None:
    Gallery.create(gallery.folder, made(4, seed=7, made_by={"fold0": "new"}))
    held = Gallery.open(gallery.folder)
    assert held.embeddings.ids == made(4).ids and held.fields.column_names == ["id"]
    assert len(list(gallery.folder.iterdir())) == 5


# ------------------------------------------------------------------------------------------------------------ select


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_choose_loses_nothing(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 60))
    k, most = data.draw(st.integers(0, 70)), data.draw(st.integers(1, 4))
    groups = np.array(data.draw(st.lists(st.integers(-1, 6), min_size=n, max_size=n)), np.int64)
    vectors, queries = units(n, 4, 1).reshape(n, 4), units(3, 4, 2)
    found = choose(exact_among(vectors, np.arange(n)), queries, k, groups, most)
    for query, rows, count in zip(queries, found.rows, found.counts.tolist(), strict=True):
        seen: dict[int, int] = {}
        wanted: list[int] = []
        for row in np.argsort(-(vectors.astype(np.float64) @ query), kind="stable").tolist():
            group = int(groups[row])
            if group >= 0 and seen.get(group, 0) < most and len(wanted) < k:
                seen[group] = seen.get(group, 0) + 1
                wanted.append(row)
        assert rows[:count].tolist() == wanted and (rows[count:] == -1).all()


def test_blocks_of_exact_among_are_one_search() -> None:
    vectors = units(2600, 6)
    vectors[1500] = vectors[20]  # equally close, in different blocks: the earlier one first
    rows = np.arange(0, 2600)[::-1].copy()
    found, scores = exact_among(vectors, rows)(vectors[[20, 7]], 2600, True)
    assert rows[found[0, :2]].tolist() == [1500, 20] and rows[found[1, 0]] == 7
    assert sorted(found[0].tolist()) == list(range(2600))
    assert (np.diff(scores, axis=1) <= 0).all()
