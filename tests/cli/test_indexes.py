from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.search import Index

Command = Callable[..., Any]
X = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)


def save(name: str, first: int, last: int, seed: int = 0) -> None:
    """Vectors first to last as NAME.npy, their ids as NAME.txt, and their fields as NAME.csv."""
    rows = range(first, last)
    np.save(f"{name}.npy", X[first:last] + seed)
    Path(f"{name}.txt").write_text("".join(f"v{row}\n" for row in rows))
    lines = (f"{'whale' if row % 2 else 'seal'},v{row},{row}\n" for row in rows)
    Path(f"{name}.csv").write_text("kind,id,depth\n" + "".join(lines))


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medalist: Command) -> Path:
    """A folder with a live index of 40 vectors, and 20 more vectors, of which 10 have ids that are there."""
    monkeypatch.chdir(tmp_path)
    save("x", 0, 40)
    save("y", 40, 60)
    save("z", 30, 60, seed=1)
    ended = medalist("index", "build", "x.npy", "-o", "live", "--ids", "x.txt", "--fields", "x.csv", "--fsync", "os")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].startswith("live: 40 vectors of 6, cosine; ")
    return tmp_path / "live"


def test_build_makes_a_folder(live: Path) -> None:
    assert sorted(path.name for path in live.parent.iterdir() if path.suffix not in (".npy", ".txt", ".csv")) == [
        "live"
    ]
    with Index.open(live, read_only=True) as index:
        assert index.fields == {"kind": "tag", "depth": "int"} and index.ids().tolist() == [
            f"v{row}" for row in range(40)
        ]
        assert index.get(["v3", "v38"]) == [{"kind": ["whale"], "depth": 3}, {"kind": ["seal"], "depth": 38}]


def test_row_numbers_have_fields_too(live: Path, medalist: Command) -> None:
    np.save("w.npy", X[:3])
    Path("w.csv").write_text("id,seen\n2,2026-01-31\n0,\n1,2020-02-02\n")
    Path("empty").mkdir()
    assert medalist("index", "build", "w.npy", "-o", "empty", "--fields", "w.csv", "--metric", "l2").code == 0
    with Index.open("empty", read_only=True) as index:
        assert index.fields == {"seen": "datetime"} and index.metric == "l2"
        assert index.scroll("seen > 2020-01-01").ids.tolist() == [1, 2]
    assert medalist("index", "add", "empty", "y.npy").out.endswith("empty: 20 vectors added, 23 now\n")
    assert medalist("index", "delete", "empty", "--id", 1, "--id", 22, "--id", 99).out == (
        "1 of 3 ids were not found: '99'\nempty: 2 deleted, 21 vectors now\n"
    )
    assert medalist("index", "delete", "empty", "--id", "v1").line == "--id 'v1': ids of this index are whole numbers"


def test_add_and_upsert(live: Path, medalist: Command) -> None:
    flags = ("--ids", "y.txt", "--fields", "y.csv", "--fsync", "always")
    ended = medalist("index", "add", "live", "y.npy", *flags)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "live: 20 vectors added, 60 now")
    ended = medalist("index", "add", "live", "z.npy", "--ids", "z.txt")
    assert ended.code == 2 and ended.line.startswith("z.txt: ids, row 0: 'v30' is in the index already")
    assert medalist("index", "delete", "live", "--where", "depth >= 50").out == "live: 10 deleted, 50 vectors now\n"
    ended = medalist("index", "add", "live", "z.npy", "--ids", "z.txt", "--fields", "z.csv", "--upsert")
    assert ended.out.splitlines()[-1] == "live: 10 vectors added, 20 replaced, 60 now"
    with Index.open(live, read_only=True) as index:
        assert index.count("depth >= 50") == 10 and set(index.ids().tolist()) == {f"v{row}" for row in range(60)}
        wanted = (X[35] + 1) / np.linalg.norm(X[35] + 1)
        hits = index.search(X[35] + 1, 1, where="kind = whale")
        assert hits.ids.tolist() == ["v35"] and hits.scores[0] == pytest.approx(1, abs=1e-5)
        found = index.vectors(["v35"])[0]
        np.testing.assert_allclose(found / np.linalg.norm(found), wanted, atol=1e-5)


def test_delete(live: Path, medalist: Command) -> None:
    for flags, said in (
        (("--id", "v0", "--id", "v0"), "live: 1 deleted, 39 vectors now\n"),
        (("--id", "v0"), "1 of 1 ids were not found: 'v0'\nlive: nothing to delete, 39 vectors\n"),
        (("--where", "kind = whale and depth < 10", "--id", "v3", "--id", "v2"), "live: 6 deleted, 33 vectors now\n"),
        (("--where", "depth > 99"), "live: nothing to delete, 33 vectors\n"),
        (("--where", "id in [v4, v6]"), "live: 2 deleted, 31 vectors now\n"),
        (("--where", "depth >= 0"), "live: 31 deleted, 0 vectors now\n"),
        (("--id", "v9"), "1 of 1 ids were not found: 'v9'\nlive: nothing to delete, 0 vectors\n"),
    ):
        ended = medalist("index", "delete", "live", *flags)
        assert (ended.code, ended.out, ended.err) == (0, said, "")
    assert medalist("index", "delete", "live", "--identity", "who").line.startswith("there is no field 'identity'")


def test_a_value_that_no_vector_has_is_named_with_the_nearest_one(live: Path, medalist: Command) -> None:
    said = "no vector has kind = 'Whael'; did you mean 'whale'?"
    ended = medalist("index", "delete", "live", "--where", "kind = Whael")
    assert (ended.code, ended.out) == (0, f"{said}\nlive: nothing to delete, 40 vectors\n")
    np.save("q.npy", X[:3])
    ended = medalist("search", "live", "q.npy", "-o", "h.csv", "--where", "kind = Whael and depth < 30")
    assert (ended.code, ended.line) == (2, f"--where: {said}") and not Path("h.csv").exists()
    ended = medalist("search", "live", "q.npy", "-o", "h.csv", "--where", "kind in [whale, Whael]")
    assert ended.code == 0 and ended.out.splitlines()[0] == said


def test_a_filter_that_matches_nothing_is_said(live: Path, medalist: Command) -> None:
    np.save("q.npy", X[:1])
    for where in ("depth > 99", "kind is missing", "kind = ''"):
        ended = medalist("search", "live", "q.npy", "-o", "h.csv", "--where", where)
        assert (ended.code, ended.out.splitlines()[0]) == (0, "--where matches no vector")
    assert "0 answers to 1 query among 40 vectors" in ended.out
    ended = medalist("search", "live", "q.npy", "-o", "h.csv", "--where", "Kind = whale")
    assert ended.code == 2 and "no field 'Kind'; did you mean 'kind'?; there are:" in ended.line


def test_a_folder_may_have_a_long_name(live: Path, medalist: Command) -> None:
    """The temporary name beside it is no longer than a name may be."""
    name = "y" * 250
    assert medalist("index", "build", "x.npy", "-o", name).code == 0 and Path(name).is_dir()
    assert "y: File name too long" in medalist("index", "build", "x.npy", "-o", name + name).line


def test_searches_go_on_while_another_process_writes(live: Path, medalist: Command) -> None:
    code = (
        "import sys; from medalist.search import Index; index = Index.open('live'); index.delete(['v0'])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
        ended = medalist("search", "live", "x.npy", "-k", 1, "-o", "h.csv", "--exact")
        assert (ended.code, ended.err) == (0, "") and "among 39 vectors" in ended.out
        assert medalist("index", "info", "live").code == medalist("index", "verify", "live").code == 0
        assert medalist("index", "snapshot", "live", "-o", "copy").out == "copy: 39 vectors of live\n"
        for words in (
            ("add", "live", "y.npy", "--ids", "y.txt"),
            ("delete", "live", "--id", "v1"),
            ("compact", "live"),
        ):
            assert "live: is being written by another process" in medalist("index", *words).line
        writer.stdin.close()
    assert medalist("index", "delete", "live", "--id", "v1").out == "live: 1 deleted, 38 vectors now\n"


def test_an_interrupt_leaves_no_folder(live: Path, medalist: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    np.save("many.npy", np.random.default_rng(0).normal(size=(1500, 6)))
    before = sorted(path.name for path in live.parent.iterdir())
    monkeypatch.setattr("medalist.reporter.TimedProgress.advance", interrupted)
    assert medalist("index", "build", "many.npy", "-o", "deep").code == 130
    assert sorted(path.name for path in live.parent.iterdir()) == before
    Path("many.txt").write_text("".join(f"m{row}\n" for row in range(1500)))
    assert medalist("index", "add", "live", "many.npy", "--ids", "many.txt").code == 130
    with Index.open(live) as index:
        assert len(index) == 40 and not Index.verify(live)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("build x.npy -o live", "live: holds an index already; medalist index add adds to it; give -o another name"),
        ("build x.npy -o .", ".: give -o the name of a new folder"),
        ("build x.npy -o ..", "..: is not empty"),
        ("build x.npy -o x.npy/live", "cannot write x.npy/live"),
        ("add live", "live: nothing to add is given"),
        ("add live y.npy", "ids: no ids (row numbers) given, but the index holds strings"),
        ("add live y.npy --upsert", "--upsert and --fields need ids; type --ids"),
        ("add live y.npy --fields y.csv", "--upsert and --fields need ids; type --ids"),
        ("add live y.npy --ids x.txt", "x.txt: ids: 40 ids for 20 vectors"),
        ("add live y.npy --ids y.txt --fields x.csv", "x.csv: no row for 20 of 20 ids: 'v40'"),
        ("add live y.npy --ids y.txt --fields new.csv", "new.csv: column 'length' is no field of the index"),
        ("add live y.npy --ids y.txt --fields odd.csv", "odd.csv: field 'depth', id 'v40': 'deep' is no whole number"),
        ("add live y.npy --ids y.txt --fsync no", "--fsync 'no': expected always, interval, os"),
        ("add live wide.npy --ids y.txt", "wide.npy: vectors: shape [20, 3]"),
        ("add live none.npy --ids y.txt", "none.npy: no such file"),
        ("add x.npy y.npy", "x.npy: a file cannot be changed"),
        ("add empty y.npy", "empty: holds no index: there is no MANIFEST"),
        ("add none y.npy", "no run 'none'"),
        ("add live --images empty", "no run 'live'"),
        ("delete live", "nothing is selected: type --id ID, --identity NAME or --where EXPR"),
        (
            "delete live --where deep<3",
            "--where, character 1: no field 'deep'; there are: id, kind, depth",
        ),
        ("delete live --where kind<3", "--where, character 5: "),
        ("delete live --id v1 --fsync x", "--fsync 'x'"),
        ("delete live --gallery empty --id v1", "no run 'live'"),
        ("info none", "no run 'none'"),
        ("info empty", "empty: holds no index"),
        ("verify empty", "empty: damaged, 1 finding;"),
        ("repair empty", "empty: holds no segment: there is nothing to repair"),
        ("snapshot live -o empty/../live", "holds an index already"),
        ("snapshot live -o x.npy", "x.npy: is a file"),
        ("compact x.npy", "x.npy: a file cannot be changed"),
    ],
)
def test_mistakes_are_one_line(medalist: Command, live: Path, command: str, words: str) -> None:
    Path("empty").mkdir()
    np.save("wide.npy", X[:20, :3])
    Path("new.csv").write_text("id,length\n" + "".join(f"v{row},1\n" for row in range(40, 60)))
    Path("odd.csv").write_text("id,depth\n" + "".join(f"v{row},deep\n" for row in range(40, 60)))
    before = {path: path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    ended = medalist("index", *command.split())
    assert ended.code == 2 and words in ended.line, ended.err
    after = {path: path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    same = set(before) ^ set(after)
    assert not {path for path in same if path.parts[0] != "live"}
    with Index.open(live, read_only=True) as index:
        assert len(index) == 40
    assert all(after[path] == data for path, data in before.items() if path.parts[0] != "live")
