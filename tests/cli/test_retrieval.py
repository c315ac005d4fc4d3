from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medalist.cli.arrays import read_npy
from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.twin import TwinIndex

Command = Callable[..., Any]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
Q = RNG.normal(size=(7, 6)).astype(np.float32)


def names(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with vectors, queries and ids, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("q.npy", Q)
    np.save("ids.npy", np.arange(300) + 1000)
    Path("ids.csv").write_text("fold,id\n" + "".join(f"{n % 5},{n:04}\n" for n in range(300)))
    Path("ids.txt").write_text("".join(f"image {n}.png\n" for n in range(300)))
    return tmp_path


@pytest.fixture
def built(here: Path, medalist: Command) -> Path:
    assert medalist("index", "build", "x.npy", "-o", "x.ann", "--ids", "ids.txt").code == 0
    return here


def twin(ids: Any = None, metric: Any = "cosine") -> TwinIndex:
    made = TwinIndex(6, metric)
    made.add(ids, X)
    return made


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_build_and_exact_search(medalist: Command, here: Path, metric: str) -> None:
    ended = medalist("index", "build", "x.npy", "-o", "deep/x.ann", "--metric", metric)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].startswith(f"deep/x.ann: 300 vectors of 6, {metric}; ")
    ended = medalist("search", "deep/x.ann", "q.npy", "-k", 4, "-o", "out/hits.parquet", "--exact")
    assert (ended.code, ended.err) == (0, "")
    told = "28 answers to 7 queries among 300 vectors; by exact (7), 300 rows compared for each"
    assert ended.out == f"out/hits.parquet: {told}\n"
    found, truth = pd.read_parquet("out/hits.parquet"), twin(metric=metric).exact(Q, 4)
    assert found.columns.tolist() == ["query", "rank", "id", "score", "distance"]
    assert found["query"].tolist() == np.repeat(range(7), 4).tolist() and found["rank"].tolist() == [1, 2, 3, 4] * 7
    assert found["id"].tolist() == truth.ids.ravel().tolist()
    np.testing.assert_allclose(found["score"], truth.scores.ravel(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["distance"], truth.distances.ravel(), rtol=1e-5, atol=1e-5)
    assert found.dtypes.astype(str).tolist() == ["int64", "int64", "int64", "float32", "float32"]
    assert names("deep") == ["x.ann"] and names("out") == ["hits.parquet"]


@pytest.mark.parametrize(
    ("file", "ids"),
    [
        ("ids.npy", list(range(1000, 1300))),
        ("ids.csv", [f"{n:04}" for n in range(300)]),
        ("ids.txt", [f"image {n}.png" for n in range(300)]),
    ],
)
def test_ids_of_every_kind(medalist: Command, here: Path, file: str, ids: list[Any]) -> None:
    assert medalist("index", "build", "x.npy", "-o", "x.ann", "--ids", file, "--threads", 2).code == 0
    truth = twin(ids).exact(Q, 5).ids.ravel().tolist()
    for name, read in (("h.parquet", pd.read_parquet), ("h.csv", lambda path: pd.read_csv(path, dtype={"id": str}))):
        assert medalist("search", "x.ann", "q.npy", "-k", 5, "-o", name, "--exact").code == 0
        found = read(name)["id"].tolist()  # type: ignore[operator]
        assert found == (truth if name == "h.parquet" else [str(value) for value in truth])


def test_csv_says_what_parquet_says(medalist: Command, built: Path) -> None:
    for name in ("h.parquet", "h.csv"):
        assert medalist("search", "x.ann", "q.npy", "-o", name).code == 0
    whole, text = pd.read_parquet("h.parquet"), pd.read_csv("h.csv", dtype={"score": "f4", "distance": "f4"})
    pd.testing.assert_frame_equal(text, whole, check_dtype=False, check_exact=True)
    assert len(whole) == 70


def test_the_ways_to_search(medalist: Command, built: Path) -> None:
    index = Index.open("x.ann")
    for flags, hits in (
        (("--ef", 12), index.search(Q, 3, ef=12)),
        (("--recall", 0.5), index.search(Q, 3, recall=0.5)),
        ((), index.search(Q, 3)),
        (("--threads", 2), index.search(Q, 3)),
    ):
        assert medalist("search", "x.ann", "q.npy", "-k", 3, "-o", "h.parquet", *flags).code == 0
        assert pd.read_parquet("h.parquet")["id"].tolist() == hits.ids.ravel().tolist()


def test_more_queries_than_a_block(medalist: Command, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.cli.retrieval.BLOCK", 3)
    for name in ("h.parquet", "h.csv"):
        assert medalist("search", "x.ann", "q.npy", "-k", 2, "-o", name, "--exact").code == 0
    found = pd.read_parquet("h.parquet")
    assert found["id"].tolist() == Index.open("x.ann").exact(Q, 2).ids.ravel().tolist()
    assert found["query"].tolist() == pd.read_csv("h.csv")["query"].tolist() == np.repeat(range(7), 2).tolist()


def test_fewer_answers_than_asked_for_have_fewer_rows(medalist: Command, here: Path) -> None:
    np.save("two.npy", X[:2])
    np.save("none.npy", X[:0])
    np.save("one.npy", Q[0])
    assert medalist("index", "build", "two.npy", "-o", "two.ann").code == 0
    assert medalist("index", "build", "none.npy", "-o", "none.ann").code == 0
    for index, queries, k, rows in (
        ("two", "q", 10, 14),
        ("two", "one", 10, 2),
        ("two", "none", 10, 0),
        ("none", "q", 10, 0),
        ("two", "q", 0, 0),
    ):
        for name, read in (("h.parquet", pd.read_parquet), ("h.csv", pd.read_csv)):
            ended = medalist("search", f"{index}.ann", f"{queries}.npy", "-k", k, "-o", name)
            assert (ended.code, ended.err) == (0, "")
            found = read(name)  # type: ignore[operator]
            assert len(found) == rows and found.columns.tolist() == ["query", "rank", "id", "score", "distance"]


def test_info(medalist: Command, built: Path) -> None:
    ended = medalist("index", "info", "x.ann")
    assert (ended.code, ended.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in ended.out.splitlines()[2:16])
    assert rows["vectors"].strip() == "300" and rows["dimensions"].strip() == "6" and rows["ids"].strip() == "strings"
    assert rows["metric"].strip() == "cosine" and rows["reachable"].strip() == "300 of 300"
    assert rows["fields"].strip() == "none" and rows["dead"].startswith("0, ") and rows["loose"].startswith("0 rows ")
    assert "bytes a vector" in ended.out


def test_the_same_command_makes_the_same_file(medalist: Command, here: Path) -> None:
    made = []
    for flags in (("--threads", 1), ("--threads", 3), ("--seed", 4), ("--refine", "float16"), ("--metric", "l2")):
        assert medalist("index", "build", "x.npy", "-o", "x.ann", *flags).code == 0
        made.append(Path("x.ann").read_bytes())
    assert made[0] == made[1] and len(set(made)) == 4


def test_arrays_of_other_types(medalist: Command, here: Path) -> None:
    np.save("fortran.npy", np.asfortranarray(X))
    np.save("double.npy", X.astype(np.float64))
    np.save("big.npy", X.astype(">f4"))
    made = []
    for name in ("x", "fortran", "double", "big"):
        assert medalist("index", "build", f"{name}.npy", "-o", "x.ann").code == 0
        made.append(Path("x.ann").read_bytes())
    assert len(set(made)) == 1


FIELDS = "id,kind,depth,place\n" + "".join(
    f'image {n}.png,{("whale", "seal", "")[n % 3]},{n % 50},"{n % 80}.5,{n % 180}"\n' for n in range(299, -1, -1)
)


@pytest.mark.parametrize("out", ["x.ann", "live"])
def test_search_with_fields(medalist: Command, here: Path, out: str) -> None:
    Path("f.csv").write_text(FIELDS)
    assert medalist("index", "build", "x.npy", "-o", out, "--ids", "ids.txt", "--fields", "f.csv").code == 0
    same = twin([f"image {n}.png" for n in range(300)])
    rows: list[dict[str, Any]] = [
        {"kind": ("whale", "seal", None)[n % 3], "depth": n % 50, "place": (n % 80 + 0.5, n % 180)} for n in range(300)
    ]
    ranked = same.exact(Q, 300)

    def wanted(k: int, keep: Callable[[dict[str, Any]], bool], per: int = 300, least: float = -2.0) -> list[str]:
        found: list[str] = []
        for ids, scores in zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True):
            seen: dict[str, int] = {}
            here: list[str] = []
            for name, score in zip(ids, scores, strict=True):
                row = rows[int(name[6:-4])]
                group = row["kind"] or name
                if keep(row) and seen.get(group, 0) < per and score >= least and len(here) < k:
                    seen[group] = seen.get(group, 0) + 1
                    here.append(name)
            found += here
        return found

    def near(row: dict[str, Any]) -> bool:
        return bool(10 <= row["place"][0] <= 12 and 20 <= row["place"][1] <= 30)

    where, as_json = "kind = whale and depth < 20", '{"must": [{"key": "kind", "match": {"value": "whale"}}, %s]}'
    as_json %= '{"key": "depth", "range": {"lt": 20}}'
    whales = wanted(4, lambda row: row["kind"] == "whale" and row["depth"] < 20)
    every, of_a_kind = wanted(9, lambda row: True, 2), wanted(4, lambda row: bool(row["kind"]), 1)
    for flags, ids in (
        (("--where", where), whales),
        (("--where", where, "--plan", "scan"), whales),
        (("--where", as_json), whales),
        (("--where", "not kind is missing", "--group-by", "kind", "--exact"), of_a_kind),
        (("--group-by", "kind", "--per", 2, "--exact", "-k", 9), every),
        (("--min-score", 0.5, "--exact"), wanted(4, lambda row: True, least=0.5)),
        (("--where", "place in box 10,20 to 12,30"), wanted(4, near)),
    ):
        ended = medalist("search", out, "q.npy", "-k", 4, "-o", "h.parquet", *flags)
        assert (ended.code, ended.err) == (0, ""), ended.err
        found = pd.read_parquet("h.parquet")
        assert found["id"].tolist() == ids
        assert ended.out.startswith("--where matches no vector\n") == (not ids)
        assert f"h.parquet: {len(ids)} answers to 7 queries among 300 vectors; by " in ended.out
        if "--plan" in flags:
            assert "by exact (7), 40 rows compared for each" in ended.out
    told = medalist("index", "info", out).out
    assert "kind (tag), depth (int), place (geo)" in told


# -------------------------------------------------------------------------------------------------------- mistakes


def spoil(name: str, content: Any) -> None:
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    elif content is not None:
        np.save(name, content, allow_pickle=True)


def header(text: str) -> bytes:
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


NPY = (
    (None, "no such file"),
    (b"", "not a .npy file"),
    (b"hello", "not a .npy file"),
    (b"PK\x03\x04" + bytes(50), "not a .npy file"),
    (b"\x80\x04K\x01.", "not a .npy file"),
    (b"\x93NUMPY", "damaged"),
    (b"\x93NUMPY\x09\x00" + bytes(99), "damaged"),
    (header("{"), "damaged"),
    (header("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 6)}\n"), "damaged"),
    (header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 6)}\n"), "damaged"),
    (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 6)}\n") + bytes(48), "damaged"),
    (header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 6)}\n") + bytes(96), "damaged"),
    (header("{'descr': '<f4', 'fortran_order': 1, 'shape': 6}\n") + bytes(96), "damaged"),
    (header("(" * 9000 + ")" * 9000), "damaged"),
    (header("__import__('os').system('true')"), "damaged"),
    (np.array([[1, None]], object), "damaged"),
    (np.ones((3, 6), complex), "dtype complex128"),
    (np.ones((3, 6), bool), "dtype bool"),
    (np.array([["a"] * 6]), "dtype <U1"),
    (np.full((3, 6), np.nan), "row 0: nan"),
    (np.ones((2, 3, 6)), "shape [2, 3, 6]"),
    (np.float32(3), "shape []"),
    (np.zeros((3, 6)), "row 0: a zero vector"),
)


@pytest.mark.parametrize(("content", "words"), NPY, ids=lambda value: str(value)[:40])
def test_vectors_and_queries_that_are_none(medalist: Command, built: Path, content: Any, words: str) -> None:
    before = names()
    spoil("bad.npy", content)
    for command in (("index", "build", "bad.npy", "-o", "new.ann"), ("search", "x.ann", "bad.npy", "-o", "h.csv")):
        ended = medalist(*command)
        assert ended.code == 2 and ended.line.startswith("bad.npy: ") and words in ended.line, ended.err
    assert sorted({*names()} - {"bad.npy"}) == before


def test_truncated_and_mutated_arrays(here: Path) -> None:
    data = Path("q.npy").read_bytes()
    rng = np.random.default_rng(0)
    for length in range(len(data)):
        spoil("bad.npy", data[:length])
        with pytest.raises(SearchError, match=r"^bad.npy: [^\n]+$"):
            read_npy(Path("bad.npy"))
    for _ in range(1500):
        changed = bytearray(data)
        changed[rng.integers(0, 128)] = rng.integers(256)
        spoil("bad.npy", bytes(changed))
        with contextlib.suppress(SearchError):
            read_npy(Path("bad.npy")).sum()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "none.txt: no such file"),
        ("few.txt", b"a\nb\n", "few.txt: ids: 2 ids for 300 vectors"),
        ("same.txt", b"a\n" * 300, "same.txt: ids, row 1: 'a' is also in row 0"),
        ("gap.txt", b"a\n\nb\n", "gap.txt: ids"),
        ("bytes.txt", b"\xff\n", "bytes.txt: byte 0 is not UTF-8"),
        ("empty.txt", b"", "0 ids for 300 vectors"),
        ("x.json", b"[]", "x.json: expected ids in a .npy, .csv or .txt"),
        ("no.csv", b"name\na\n", "no column 'id'"),
        ("bad.csv", b'id\n"a', "bad.csv"),
        ("float.npy", np.zeros(300), "float.npy: ids: dtype float64"),
        ("wide.npy", np.zeros((300, 1), int), "wide.npy: ids: shape [300, 1]"),
        ("objects.npy", np.array(["a", 1], object), "objects.npy: damaged"),
        ("large.npy", np.full(300, 2**63, np.uint64), "large.npy: ids, row 0: 9.223e+18 does not fit"),
        (".", None, ".: not a file"),
    ],
)
def test_ids_that_are_none(medalist: Command, here: Path, name: str, content: Any, words: str) -> None:
    spoil(name, content)
    ended = medalist("index", "build", "x.npy", "-o", "x.ann", "--ids", name)
    assert ended.code == 2 and words in ended.line, ended.err
    assert not Path("x.ann").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--metric", "cos"), "metric='cos': expected one of"),
        (("--refine", "int8"), "refine='int8'"),
        (("--threads", 0), "threads=0"),
        (("--seed", -1), "seed=-1"),
        (("-o", "x.npy"), "x.npy: is read by this command"),
        (("-o", "ids.txt"), "ids.txt: is read by this command"),
        (("-o", "link"), "link: is read by this command"),
        (("-o", "q.npy/x.ann"), "cannot write q.npy/x.ann"),
        (("-o", "folder"), "folder: is not empty; give -o another name"),
        (("-o", "name"), "name: is a file; give -o a name that ends in .ann"),
        (("-o", "fields.csv", "--fields", "fields.csv"), "fields.csv: is read by this command"),
        (("--fsync", "always"), "new.ann: is a file, but --fsync is for folders"),
        (("-o", "live", "--fsync", "never"), "--fsync 'never': expected always, interval, os"),
        (("--kind", "depth=int"), "--kind needs --fields FILE.csv"),
        (("--fields", "fields.csv", "--kind", "depth"), "--kind 'depth': expected FIELD=KIND, such as depth=int"),
        (("--fields", "fields.csv", "--kind", "a=int", "--kind", "a=tag"), "'a' is given twice"),
        (("--fields", "fields.csv", "--kind", "deep=int"), "fields.csv: kind deep=int: no column 'deep'"),
        (("--fields", "fields.csv", "--kind", "depth=text"), "unknown kind 'text'; expected one of tag, bool, int"),
        (
            ("--fields", "fields.csv", "--kind", "depth=bool"),
            "field 'depth', id 'image 0.png': '0' is neither true nor",
        ),
        (("--fields", "few.csv"), "few.csv: no row for 299 of 300 ids: 'image 1.png'"),
        (("--fields", "ids.txt"), "ids.txt, row 1: no column 'id'"),
        (("--fields", "none.csv"), "none.csv: No such file"),
    ],
)
def test_builds_that_are_refused(medalist: Command, here: Path, flags: tuple[Any, ...], words: str) -> None:
    Path("link").symlink_to("x.npy")
    Path("folder").mkdir()
    Path("folder/thesis.txt").write_text("mine")
    Path("name").write_text("mine")
    Path("fields.csv").write_text("id,depth\n" + "".join(f"image {n}.png,{n % 50}\n" for n in range(300)))
    Path("few.csv").write_text("id,depth\nimage 0.png,1\n")
    before = {name: Path(name).read_bytes() for name in ("x.npy", "ids.txt", "q.npy")}
    ended = medalist("index", "build", "x.npy", "-o", "new.ann", "--ids", "ids.txt", *flags)
    assert ended.code == 2 and words in ended.line, ended.err
    assert before == {name: Path(name).read_bytes() for name in before}
    assert not Path("new.ann").exists() and not Path("live").exists()
    assert not [name for name in names() if name.startswith(".")]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-k", -1), "k=-1"),
        (("-k", 2**40), "k=1099511627776"),
        (("--ef", 0), "ef=0"),
        (("--recall", 2), "recall=2"),
        (("--recall", 0.9, "--ef", 10), "give one of them"),
        (("--exact", "--ef", 10), "--exact finds all"),
        (("--exact", "--recall", 0.9), "--exact finds all"),
        (("--exact", "--plan", "walk"), "--exact finds all"),
        (("--plan", "fast"), "plan='fast': expected one of 'exact', 'scan', 'walk', 'bridge'"),
        (("--per", 2), "--per needs --group-by FIELD"),
        (("--group-by", "kind"), "field 'kind': unknown; the index has no fields"),
        (("--group-by", "kind", "--per", 0), "per=0"),
        (("--min-score", "nan"), "min_score: not a number"),
        (("--where", "depth < 3"), "--where, character 1: no field 'depth'; there are: id"),
        (("--where", "id = a and ("), "--where, character 13: "),
        (("--where", '{"must": 1'), "JSON"),
        (("--gallery", "g"), "--gallery and --picture need a run"),
        (("--threads", 0), "threads=0"),
        (("-o", "hits.json"), "hits.json: expected a name that ends in .parquet or .csv"),
        (("-o", "hits"), "hits: expected a name"),
        (("-o", "link.csv"), "link.csv: is read by this command"),
        (("-o", "x.ann/h.csv"), "cannot write x.ann/h.csv"),
        (("-o", "folder.csv"), "folder.csv"),
    ],
)
def test_searches_that_are_refused(medalist: Command, built: Path, flags: tuple[Any, ...], words: str) -> None:
    Path("link.csv").symlink_to("x.ann")
    Path("folder.csv").mkdir()
    whole, before = Path("x.ann").read_bytes(), names()
    ended = medalist("search", "x.ann", "q.npy", "-o", "h.csv", *flags)
    assert ended.code == 2 and words in ended.line, ended.err
    assert Path("x.ann").read_bytes() == whole and names() == before


def test_queries_of_another_width(medalist: Command, built: Path) -> None:
    np.save("wide.npy", np.ones((3, 7)))
    np.save("flat.npy", np.ones(7))
    np.save("bad.npy", np.where(np.arange(9 * 6).reshape(9, 6) == 40, np.inf, 1))
    for name, words in (
        ("wide", "wide.npy: queries: shape [3, 7], expected [n, 6]"),
        ("flat", "flat.npy: queries: shape [7], expected [6] or [n, 6]"),
        ("bad", "bad.npy: queries, row 6: inf in column 4"),
    ):
        ended = medalist("search", "x.ann", f"{name}.npy", "-o", "h.csv")
        assert ended.code == 2 and words in ended.line


@pytest.mark.parametrize("content", [None, b"", b"x" * 9000])
def test_what_is_no_index(medalist: Command, here: Path, content: bytes | None) -> None:
    spoil("bad.ann", content)
    for command in (("index", "info", "bad.ann"), ("search", "bad.ann", "q.npy", "-o", "h.csv")):
        ended = medalist(*command)
        assert ended.code == 2 and ended.line.startswith("bad.ann: ")
    ended = medalist("index", "info", ".")
    assert ended.code == 2 and ended.line.startswith(".: ")


def test_an_interrupt_leaves_no_file(medalist: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    np.save("x.npy", RNG.normal(size=(1500, 6)))
    monkeypatch.setattr("medalist.reporter.TimedProgress.advance", interrupted)
    before = names()
    assert medalist("index", "build", "x.npy", "-o", "x.ann").code == 130
    assert names() == before
    monkeypatch.setattr("medalist.reporter.TimedProgress.advance", lambda *_: None)
    assert medalist("index", "build", "x.npy", "-o", "y.ann").code == 0
    monkeypatch.setattr("medalist.reporter.TimedProgress.advance", interrupted)
    for name in ("h.csv", "h.parquet"):
        assert medalist("search", "y.ann", "q.npy", "-o", name).code == 130
    assert sorted({*names()} - {"y.ann"}) == before
