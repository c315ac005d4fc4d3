from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.codecs.images import read_image
from medalist.errors import DataError
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.search.embeddings import Embeddings, read_embeddings

Command = Callable[..., Any]
COLOURS = {"red": (250, 10, 10), "pink": (240, 120, 120), "blue": (10, 10, 240), "green": (20, 230, 20)}


def made_of(run: Run, settings: Any, folds: Sequence[int]) -> dict[str, str]:
    return {"weights": run.name, "run": f"{run.competition}/{run.name}"}


def embed_files(
    run: Run,
    settings: Any,
    files: Sequence[tuple[str, Path]],
    reporter: Reporter,
    fold: int | None = None,
    skip_bad: bool = False,
) -> tuple[Embeddings, list[str]]:
    """The stand-in: a vector is the mean colour."""
    rows, ids, bad = [], [], []
    for name, path in files:
        try:
            rows.append(read_image(path).mean(axis=(0, 1)) + 1)
            ids.append(name)
        except DataError as error:
            bad.append(f"{name}: {error}")
    if bad and not skip_bad:
        raise DataError(f"{len(bad)} of {len(files)} images cannot be read: {'; '.join(bad)}")
    vectors = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    made = {**made_of(run, None, []), **({} if fold is None else {"fold": str(fold)})}
    return Embeddings(tuple(ids), vectors.astype(np.float32), made), bad


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs and images, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDALIST_RUNS", raising=False)
    for name in ("tiny", "big"):
        (tmp_path / "runs" / "toys" / name).mkdir(parents=True)
        (tmp_path / "runs" / "toys" / name / "lock.json").write_text("{}")
    Path("images").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (12, 12), colour).save(f"images/{name}.png")
    Path("fields.csv").write_text("id,identity,depth\nred,warm,1\npink,warm,2\nblue,cold,3\ngreen,,4\n")
    embedding = SimpleNamespace(embed_files=embed_files, made_of=made_of)
    monkeypatch.setattr("medalist.workflows.galleries.run_settings", lambda run: None)
    monkeypatch.setattr("medalist.workflows.galleries.embedding_of", lambda run, settings: embedding)
    return tmp_path


@pytest.fixture
def built(here: Path, medalist: Command) -> Path:
    ended = medalist("index", "build", "tiny", "--gallery", "images", "--fields", "fields.csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("runs/toys/tiny/gallery: 4 vectors of 3 by run toys/tiny (space ")
    return here / "runs" / "toys" / "tiny" / "gallery"


def test_embed(medalist: Command, here: Path) -> None:
    ended = medalist("embed", "toys/tiny", "--images", "images", "-o", "out/v.npy", "--fold", 1)
    assert (ended.code, ended.err) == (0, "") and ended.out.startswith("out/v.npy: 4 vectors of 3 by run toys/tiny ")
    found = read_embeddings(Path("out/v.npy"))
    assert found.ids == ("blue", "green", "pink", "red") and found.made_by["fold"] == "1"
    Path("list.csv").write_text("id,path\na,images/red.png\nb,images/none.png\n")
    assert medalist("embed", "tiny", "--csv", "list.csv").line.startswith("1 of 2 images cannot be read: b: ")
    ended = medalist("embed", "tiny", "--csv", "list.csv", "--skip-bad")
    assert ended.code == 0 and ended.out.startswith("left out: b: images/none.png: ")
    assert read_embeddings(Path("runs/toys/tiny/vectors.npy")).ids == ("a",)
    # What embed writes, today's commands take.
    assert medalist("index", "build", "out/v.npy", "-o", "v.ann").code == 0
    assert medalist("search", "v.ann", "out/v.npy", "-o", "hits.csv").code == 0


def test_search_by_images(medalist: Command, built: Path) -> None:
    ended = medalist("search", "tiny", "--image", "images/red.png", "--image", "images/blue.png", "-k", 2)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["images/red.png"] and lines[1] == ["rank", "id", "score", "identity", "depth"]
    assert lines[2] == ["1", "red", "1.0000", "warm", "1"] and lines[3][:2] == ["2", "pink"]
    assert lines[4] == ["images/blue.png"] and lines[6][:2] == ["1", "blue"] and len(lines) == 8
    where = ("--where", "identity in [cold, warm] and depth >= 2", "--picture", "grid.png", "--exact")
    ended = medalist("search", "tiny", "--image", "images/red.png", *where)
    assert ended.code == 0 and ended.out.splitlines()[-1] == "grid.png: 1 query with their hits"
    assert [line.split()[1] for line in ended.out.splitlines()[2:-1]] == ["pink", "blue"]
    assert read_image(Path("grid.png")).shape[0] > 100
    ended = medalist("search", "tiny", "--image", "images/red.png", "--group-by", "identity")
    assert [line.split()[1] for line in ended.out.splitlines()[2:]] == ["red", "green", "blue"]
    ended = medalist("search", "tiny", "--image", "images/red.png", "--where", "depth > 9")
    assert ended.out == "images/red.png: no answer among 4 vectors\n--where matches no vector\n"
    ended = medalist("search", "tiny", "--image", "images/red.png", "--where", "identity = Wram")
    assert (ended.code, ended.line) == (2, "--where: no vector has identity = 'Wram'; did you mean 'warm'?")
    ended = medalist("search", "tiny", "--image", "images/red.png", "--where", "identity != wram")
    assert ended.code == 0 and ended.out.splitlines()[-1] == "no vector has identity = 'wram'; did you mean 'warm'?"


def test_add_delete_and_info(medalist: Command, built: Path) -> None:
    Path("more").mkdir()
    Image.new("RGB", (5, 5), (99, 99, 99)).save("more/gray.png")
    Path("more/bad.png").write_text("")
    assert "bad: more/bad.png" in medalist("index", "add", "tiny", "--images", "more").line
    ended = medalist("index", "add", "tiny", "--images", "more", "--skip-bad")
    assert ended.code == 0 and ended.out.splitlines()[-1] == "runs/toys/tiny/gallery: 5 vectors now"
    ended = medalist("index", "delete", "tiny", "--id", "gray", "--id", "who")
    assert ended.out == "1 of 2 ids were not found: 'who'\nruns/toys/tiny/gallery: 1 deleted, 4 vectors now\n"
    ended = medalist("index", "info", "runs/toys/tiny/gallery")
    told = ended.out.splitlines()
    assert medalist("index", "info", "tiny").out == ended.out
    assert ended.code == 0 and told[2].split() == ["vectors", "4"] and told[3].startswith("made by  run toys/tiny (")
    assert told[4] == "runs/toys/tiny/gallery/index" and told[7].startswith("dead        1, deleted")
    assert "identity (tag), depth (int), path (tag)" in ended.out
    ended = medalist("index", "delete", "tiny", "--identity", "warm", "--id", "red")
    assert ended.out == "runs/toys/tiny/gallery: 2 deleted, 2 vectors now\n"
    ended = medalist("index", "delete", "runs/toys/tiny/gallery", "--identity", "warm")
    assert (ended.code, ended.out) == (0, "runs/toys/tiny/gallery: nothing to delete, 2 vectors\n")
    ended = medalist("search", "tiny", "--image", "images/red.png")
    assert sorted(line.split()[1] for line in ended.out.splitlines()[2:]) == ["blue", "green"]
    ended = medalist("index", "delete", "tiny", "--where", "depth > 3 or identity is missing")
    assert ended.out == "runs/toys/tiny/gallery: 1 deleted, 1 vector now\n"


def test_kinds_of_fields(medalist: Command, here: Path) -> None:
    Path("odd.csv").write_text(
        "id,seen,code,place\n" + "".join(f'{one},2026-01-0{row},7,"5{row},10"\n' for row, one in enumerate(COLOURS, 1))
    )
    flags = ("--fields", "odd.csv", "--kind", "code=tag", "--kind", "place=geo")
    assert medalist("index", "build", "tiny", "--gallery", "images", *flags).code == 0
    told = medalist("index", "info", "runs/toys/tiny/gallery").out
    assert "seen (datetime), code (tag), place (geo), path (tag)" in told
    where = "seen >= 2026-01-02 and code = 7 and not place within 50 km of 53,10"
    ended = medalist("search", "tiny", "--image", "images/red.png", "--where", where, "--plan", "scan")
    assert [line.split()[1:] for line in ended.out.splitlines()[2:]] == [
        ["pink", ended.out.splitlines()[2].split()[2], "2026-01-02", "7", "52.0,10.0"],
        ["green", ended.out.splitlines()[3].split()[2], "2026-01-04", "7", "54.0,10.0"],
    ]


def test_a_gallery_is_searched_by_vectors_of_its_space(medalist: Command, built: Path) -> None:
    folder = "runs/toys/tiny/gallery"
    assert medalist("embed", "tiny", "--images", "images", "-o", "v.npy").code == 0
    ended = medalist("search", folder, "v.npy", "-k", 1, "-o", "h.csv", "--where", "identity = warm")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split(",")[2] for line in Path("h.csv").read_text().splitlines()[1:]] == [
        "pink",
        "pink",
        "pink",
        "red",
    ]
    assert medalist("embed", "big", "--images", "images", "-o", "w.npy").code == 0
    ended = medalist("search", folder, "w.npy", "-o", "h.csv")
    assert ended.code == 2 and "other weights make other vectors" in ended.line


def test_upkeep_of_a_gallery(medalist: Command, built: Path) -> None:
    folder = "runs/toys/tiny/gallery"
    for what in ("tiny", folder):
        assert medalist("index", "verify", what).out == f"{folder}: nothing is wrong\n"
        assert medalist("index", "repair", what).out == f"{folder}: nothing to repair, 4 vectors\n"
        assert medalist("index", "compact", what).out.startswith(f"{folder}: 4 vectors, 0 dead ones reclaimed; ")
    assert medalist("index", "snapshot", "tiny", "-o", "copy").out == f"copy: 4 vectors of {folder}\n"
    ended = medalist("search", "tiny", "--image", "images/red.png", "--gallery", "copy", "-k", 1)
    assert ended.code == 0 and ended.out.splitlines()[2].split()[1] == "red"
    assert (
        medalist("index", "delete", "tiny", "--gallery", "copy", "--id", "red").out
        == "copy: 1 deleted, 3 vectors now\n"
    )
    for path in (built / "index").glob("segment-*.ann"):
        path.write_bytes(path.read_bytes()[:-100])
    ended = medalist("index", "verify", "tiny")
    assert ended.code == 2 and "damaged, " in ended.line and "segment-" in ended.out
    assert medalist("search", "tiny", "--image", "images/red.png").code == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("embed tiny", "images are missing"),
        ("embed tiny --images images --csv fields.csv", "images are missing"),
        ("embed tiny --images none", "none: no such folder or csv"),
        ("embed tiny --images images -o v.txt", "v.txt: expected a name that ends in .npy"),
        ("embed who --images images", "no run 'who'"),
        ("index build tiny", "images are missing; type --gallery"),
        ("index build tiny --gallery images --metric l2", "are for VECTORS.npy"),
        ("index build tiny --gallery images -o images", "images: the folder has other files"),
        ("index build tiny --gallery images --fields few.csv", "few.csv: no row for 4 of 4 ids"),
        ("index build v.npy -o v.ann --gallery images", "need a run"),
        ("index build v.npy", "-o is missing: type the file or folder"),
        ("index build tiny --gallery images --fsync os", "are for VECTORS.npy"),
        ("index build tiny --gallery images --fields fields.csv --kind depth=geo", "is no latitude,longitude"),
        ("index add tiny", "nothing to add is given; for a folder type VECTORS.npy; for a run type --images DIR"),
        ("index add tiny --upsert", "need VECTORS.npy"),
        ("index add tiny v.npy", "runs/toys/tiny/gallery: a gallery can only hold vectors of its run"),
        (
            "index add runs/toys/tiny/gallery v.npy",
            "runs/toys/tiny/gallery: a gallery can only hold vectors of its run",
        ),
        ("index add tiny v.npy --images images", "need a run, not an array of vectors"),
        ("index add tiny --images images", "4 ids are there already"),
        ("index add big --images images", "runs/toys/big/gallery is no gallery"),
        ("index add big --images images --gallery runs/toys/tiny/gallery", "cannot be searched by run toys/big"),
        ("index delete tiny", "nothing is selected: type --id ID, --identity NAME or --where EXPR"),
        ("index delete who --id a", "no run 'who'"),
        ("index delete tiny --where depth<", "--where, character 7"),
        ("index delete fields.csv --id a", "fields.csv: a file cannot be changed"),
        ("index delete big --id a", "runs/toys/big/gallery is no gallery"),
        ("index verify big", "runs/toys/big/gallery is no gallery"),
        ("index snapshot tiny -o images", "images: is not empty"),
        ("index snapshot tiny -o fields.csv", "fields.csv: is a file"),
        ("search tiny", "type QUERIES.npy -o"),
        ("search tiny q.npy -o h.csv --where a=1", "tiny: cannot be opened"),
        ("search tiny q.npy -o h.csv --gallery g", "need a run and --image"),
        ("search tiny --image images/red.png --per 2", "--per needs --group-by FIELD"),
        ("search tiny --image images/red.png --plan best", "plan='best'"),
        ("search tiny --image images/red.png --exact --plan walk", "--exact finds all"),
        ("search tiny --image images/red.png --min-score nan", "min_score: not a number"),
        ("search tiny q.npy --image images/red.png", "cannot be used with it"),
        ("search tiny --image images/red.png --ef 9", "cannot be used with it"),
        ("search tiny --image images/red.png --exact --recall 0.5", "--exact finds all"),
        ("search tiny --image images/red.png --picture p.jpg", "p.jpg: expected a name that ends in .png"),
        ("search tiny --image images/red.png --where depth<", "--where, character 7"),
        (
            "search tiny --image images/red.png --group-by kind",
            "field 'kind': unknown; known are: identity, depth, path",
        ),
        ("search tiny --image images/none.png", "images/none.png"),
        ("search tiny --image images/red.png -k -1", "k=-1"),
        ("search tiny --image images/red.png -k 0", "k=0: no answer is asked for"),
        ("search tiny --image images/red.png --recall 2", "recall=2"),
        ("search tiny --image images/red.png --threads 0", "threads=0"),
        ("search big --image images/red.png", "runs/toys/big/gallery is no gallery"),
        ("search big --image images/red.png --gallery runs/toys/tiny/gallery", "cannot be searched by run toys/big"),
    ],
)
def test_mistakes_are_one_line(medalist: Command, built: Path, command: str, words: str) -> None:
    Path("few.csv").write_text("id,kind\n")
    before = {path: path.stat().st_mtime_ns for path in sorted(Path().rglob("*"))}
    ended = medalist(*command.split())
    assert ended.code == 2 and words in ended.line, ended.err
    assert {path: path.stat().st_mtime_ns for path in sorted(Path().rglob("*"))} == before
