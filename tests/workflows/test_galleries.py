from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.images import read_image
from medalist.errors import DataError, SearchError
from medalist.reporter import Reporter, SilentReporter
from medalist.runs.runs import Run
from medalist.search.embeddings import Embeddings
from medalist.search.gallery import Gallery
from medalist.workflows import galleries

COLOURS = {"red": (250, 10, 10), "pink": (240, 120, 120), "blue": (10, 10, 240), "green": (20, 230, 20)}


def embed_files(
    run: Run,
    settings: Any,
    files: Sequence[tuple[str, Path]],
    reporter: Reporter,
    fold: int | None = None,
    skip_bad: bool = False,
) -> tuple[Embeddings, list[str]]:
    """The stand-in: a vector is the mean colour."""
    rows: list[NDArray[np.float64]] = []
    ids: list[str] = []
    bad: list[str] = []
    for name, path in files:
        try:
            rows.append(read_image(path).mean(axis=(0, 1)) + 1)
            ids.append(name)
        except DataError as error:
            bad.append(f"{name}: {error}")
    if bad and not skip_bad:
        raise DataError(f"{len(bad)} of {len(files)} images cannot be read: {'; '.join(bad)}")
    vectors = np.array(rows, np.float64).reshape(-1, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(tuple(ids), vectors.astype(np.float32), made_of(run, None, [0])), bad


def made_of(run: Run, settings: Any, folds: Sequence[int]) -> dict[str, str]:
    return {"weights": (run.folder / "weights").read_text(), "run": f"{run.competition}/{run.name}"}


STAND_IN = SimpleNamespace(embed_files=embed_files, made_of=made_of)


def paint(path: Path, colour: tuple[int, int, int], size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


def make_run(folder: Path, weights: str) -> Run:
    (folder / "fold0").mkdir(parents=True)
    (folder / "fold0" / "last.safetensors").write_bytes(b"")
    (folder / "lock.json").write_text("{}")
    (folder / "weights").write_text(weights)
    return Run(folder)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galleries, "run_settings", lambda run: None)
    monkeypatch.setattr(galleries, "embedding_of", lambda run, settings: STAND_IN)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "toys" / "tiny", "aa")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        paint(tmp_path / "images" / f"{name}.png", colour)
    return tmp_path / "images"


@pytest.fixture
def built(run: Run, images: Path, tmp_path: Path, quiet: SilentReporter) -> Gallery:
    fields = tmp_path / "f.csv"
    fields.write_text("id,identity,depth\nred,warm,1\npink,warm,2\nblue,cold,3\ngreen,,4\nother,x,5\n")
    made, left_out = galleries.build_gallery(run, images, run.folder / "gallery", quiet, fields=fields)
    assert not left_out
    return made


def test_ids_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.png", "sub/a.JPG", "sub/deep/c.tiff", ".hidden/x.png", "sub/.y.png"):
        paint(tmp_path / name, (1, 2, 3))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "odd.png").mkdir()
    found = galleries.find_images(tmp_path)
    assert [name for name, _ in found.files] == ["b", "a", "c"] and not found.columns
    paint(tmp_path / "c.png", (1, 2, 3))
    assert [name for name, _ in galleries.find_images(tmp_path).files] == [
        "b.png",
        "c.png",
        "sub/a.JPG",
        "sub/deep/c.tiff",
    ]


def test_a_csv_of_images(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("kind,id,path\nfish,1,in/a.png\nbird,2,/abs/b.png\n")
    found = galleries.find_images(path)
    assert found.files == (("1", tmp_path / "in/a.png"), ("2", Path("/abs/b.png")))
    assert found.without(["2"]) == {"kind": ["bird"], "path": ["/abs/b.png"]}
    for text, words in (
        ("id,path\n", "no rows"),
        ("id\n1\n", "no column 'path'"),
        ("id,path\n1,a\n1,b\n", "list.csv: ids are repeated: '1'"),
        ("id,path\n1,\n", "row 2: the cell of 'path' is empty"),
        ("id,path\n,a\n", "row 2: the cell of 'id' is empty"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            galleries.find_images(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images below it"):
        galleries.find_images(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder or csv"):
        galleries.find_images(tmp_path / "none")


def test_a_gallery_of_a_run_is_searched(
    run: Run, built: Gallery, images: Path, tmp_path: Path, quiet: SilentReporter
) -> None:
    assert built.fields == {"identity": "tag", "depth": "int", "path": "tag"}
    assert built.index.get(["blue"]) == [{"identity": ["cold"], "depth": 3, "path": [str(images / "blue.png")]}]
    query = tmp_path / "query.png"
    paint(query, (255, 0, 0), size=40)
    ask = [query, images / "blue.png", query]
    gallery, answers = galleries.search_images(run, ask, built.folder, quiet, k=3)
    assert answers[0].ids[:2] == ("red", "pink") and len(answers) == 2
    assert answers[1].ids[0] == "blue" and answers[1].scores[0] == pytest.approx(1, abs=1e-4)
    columns, rows = galleries.answer_table(gallery, answers[0])
    assert columns == ["rank", "id", "score", "identity", "depth"]
    assert rows[0] == [1, "red", f"{answers[0].scores[0]:.4f}", "warm", "1"] and rows[1][0] == 2
    _, some = galleries.search_images(run, [query], built.folder, quiet, where="depth > 1 and identity != ''")
    assert some[0].ids == ("pink", "blue")
    _, one_each = galleries.search_images(run, [query], built.folder, quiet, group_by="identity")
    assert set(one_each[0].ids) == {"red", "blue", "green"}
    _, close = galleries.search_images(run, [query], built.folder, quiet, min_score=0.8, plan="exact")
    assert close[0].ids == answers[0].ids[: len(close[0].ids)] and min(close[0].scores) >= 0.8
    _, two = galleries.search_images(run, [query], built.folder, quiet, k=2, group_by="identity", per=2)
    assert two[0].ids == ("red", "pink")
    _, none = galleries.search_images(run, [query], built.folder, quiet, where="depth > 9")
    assert none[0].ids == () and galleries.answer_table(gallery, none[0])[1] == []
    (images / "pink.png").unlink()
    picture = galleries.draw_hits(gallery, [*answers, *none])
    assert (
        picture.dtype == np.uint8 and picture.shape[1] >= 4 * galleries.SIDE and picture.shape[0] > 3 * galleries.SIDE
    )
    assert (picture == (250, 10, 10)).all(axis=2).sum() >= galleries.SIDE**2  # the hit is drawn at full size
    galleries.write_picture(tmp_path / "p" / "grid.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "p" / "grid.png"), picture)


def test_many_hits_are_drawn_up_to_a_number(built: Gallery, images: Path) -> None:
    found = galleries.Found(images / "red.png", ("red",) * 200, (0.5,) * 200)
    rows = -(-(1 + galleries.MOST_DRAWN) // galleries.COLUMNS)
    assert galleries.draw_hits(built, [found]).shape[0] < (rows + 1) * (galleries.SIDE + 60)


def test_images_that_cannot_be_read(run: Run, images: Path, quiet: SilentReporter) -> None:
    (images / "torn.png").write_bytes((images / "red.png").read_bytes()[:40])
    (images / "text.jpg").write_text("hello")
    folder = run.folder / "gallery"
    with pytest.raises(DataError, match=r"2 of 6 images cannot be read: text: .*torn: ") as caught:
        galleries.build_gallery(run, images, folder, quiet)
    assert "\n" not in str(caught.value) and not folder.exists()
    made, left_out = galleries.build_gallery(run, images, folder, quiet, skip_bad=True)
    assert sorted(made.index.ids().tolist()) == sorted(COLOURS) and [line[:4] for line in left_out] == ["text", "torn"]
    for name in COLOURS:
        (images / f"{name}.png").unlink()
    with pytest.raises(DataError, match="none of 2 images can be read"):
        galleries.build_gallery(run, images, folder, quiet, skip_bad=True)
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read"):
        galleries.search_images(run, [images / "text.jpg"], folder, quiet)
    with pytest.raises(DataError, match=r"cannot be read: .*none\.png"):
        galleries.search_images(run, [images / "none.png"], folder, quiet)


def test_a_gallery_of_other_weights_is_refused(
    run: Run, built: Gallery, images: Path, tmp_path: Path, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("embedded, though it was clear before that it is in vain")

    monkeypatch.setattr(STAND_IN, "embed_files", never)
    other = make_run(tmp_path / "runs" / "toys" / "big", "bb")
    paint(tmp_path / "more" / "gray.png", (9, 9, 9))
    words = r"gallery .* of run toys/tiny \(space .* cannot be searched by run toys/big \(space "
    with pytest.raises(SearchError, match=words):
        galleries.search_images(other, [images / "red.png"], built.folder, quiet)
    with pytest.raises(SearchError, match=words):
        galleries.add_images(other, tmp_path / "more", built.folder, quiet)
    (run.folder / "weights").write_text("trained on")  # the same run, but its weights are others now
    with pytest.raises(SearchError, match=r"of run toys/tiny .* by run toys/tiny "):
        galleries.search_images(run, [images / "red.png"], built.folder, quiet)
    (run.folder / "weights").write_text("aa")
    for where, group_by, word in (("depth <", None, "--where, character 8"), (None, "kind", "field 'kind': unknown")):
        with pytest.raises(SearchError, match=word):
            galleries.search_images(run, [images / "red.png"], built.folder, quiet, where=where, group_by=group_by)
    with pytest.raises(SearchError, match="4 ids are there already: 'blue'"):
        galleries.add_images(run, images, built.folder, quiet)
    fields = tmp_path / "few.csv"
    fields.write_text("id,kind\nred,x\n")
    with pytest.raises(SearchError, match=r"few\.csv: no row for 3 of 4 ids"):
        galleries.build_gallery(run, images, run.folder / "new", quiet, fields=fields)


def test_more_images(run: Run, built: Gallery, tmp_path: Path, quiet: SilentReporter) -> None:
    listed = tmp_path / "more.csv"
    paint(tmp_path / "more" / "gray.png", (90, 90, 90))
    listed.write_text("path,id,identity\nmore/gray.png,007,warm\n")
    made, _ = galleries.add_images(run, listed, built.folder, quiet)
    assert len(made) == 5 and made.index.scroll("identity = warm").ids.tolist() == ["007", "pink", "red"]
    assert made.index.get(["007"]) == [{"identity": ["warm"], "path": [str(tmp_path / "more/gray.png")]}]
    with pytest.raises(SearchError, match="column 'identity' too"):
        galleries.build_gallery(run, listed, built.folder, quiet, fields=listed)
    assert len(Gallery.open(built.folder)) == 5
    for cells, words in (
        ("a,warm,x,3", "column 'kind' is no field of the index"),
        ("a,warm,,deep", "'deep' is no whole number"),
    ):
        listed.write_text(f"path,id,identity,kind,depth\nmore/gray.png,{cells}\n")
        if "whole" in words:
            listed.write_text(f"path,id,identity,depth\nmore/gray.png,{cells.replace(',,', ',')}\n")
        with pytest.raises(SearchError, match=words):
            galleries.add_images(run, listed, built.folder, quiet)
    few = Gallery.create(tmp_path / "few", Embeddings(("x",), np.eye(3, dtype=np.float32)[:1], made_of(run, None, [])))
    grown, _ = galleries.add_images(run, tmp_path / "more", few.folder, quiet)  # it has no field 'path', and needs none
    assert len(grown) == 2 and grown.index.get(["gray"]) == [{}]


def test_what_does_not_fit_is_told_before_anything_is_embedded(
    run: Run, images: Path, tmp_path: Path, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("embedded, though it was clear before that it is in vain")

    monkeypatch.setattr(STAND_IN, "embed_files", never)
    with pytest.raises(SearchError, match="the folder has other files"):
        galleries.build_gallery(run, images, images, quiet)
    fields = tmp_path / "fields.csv"
    fields.write_text("id,depth,soon\n" + "".join(f"{name},{row},x\n" for row, name in enumerate(COLOURS)))
    for kinds, words in (
        ({"depht": "int"}, "kind depht=int: no column 'depht'; there are: 'depth', 'soon', 'path'"),
        ({"soon": "int"}, "field 'soon', id 'blue': 'x' is no whole number"),
        ({"path": "id"}, "'path' is always a tag"),
    ):
        with pytest.raises(SearchError, match=words):
            galleries.build_gallery(run, images, run.folder / "gallery", quiet, fields=fields, kinds=kinds)
    listed = tmp_path / "list.csv"
    for row, words in (
        (f"{'x' * 2000},images/red.png", "row 2, column id, value 'xxx"),
        ('"a\nb",images/red.png', "expected 1 to 1024 printable letters"),
        (f"a,{'x' * 5000}", "row 2, column path: File name too long"),
    ):
        listed.write_text(f"id,path\n{row}\n")
        with pytest.raises(DataError, match=words):
            galleries.find_images(listed)


def test_a_query_cannot_be_left_out(run: Run, built: Gallery, images: Path, quiet: SilentReporter) -> None:
    (images / "text.jpg").write_text("hello")
    asked = [images / "red.png", images / "text.jpg"]
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read: .*text\.jpg: not a PNG.*; use other images$"):
        galleries.search_images(run, asked, built.folder, quiet)


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"kind": ["a", "a", "b", "b"], "breed": ["x", "y", "z", "z"], "file": ["1a", "2a", "3a", "4a"]}, "breed"),
        ({"kind": ["a", "a", "b", "b"], "label": ["p", "q", "r", "s"]}, "label"),
        ({"label": ["p", "q", "r", "s"], "identity": ["u", "u", "v", "v"]}, "identity"),
        ({"file": ["1a", "2a", "3a", "4a"], "depth": ["1", "2", "3", "4"]}, None),
        ({}, None),
    ],
)
def test_the_picture_shows_the_column_that_says_what_is_seen(
    columns: dict[str, list[str]], wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ("0d1e", "1f2a", "2b3c", "3c4d")
    embeddings = Embeddings(ids, np.eye(4, dtype=np.float32), {"weights": "w"})
    gallery = Gallery.create(tmp_path / "g", embeddings, columns)
    assert galleries.label_field(gallery) == wanted
    told: list[str] = []
    monkeypatch.setattr(galleries, "grid", lambda pictures, _, captions: told.extend(captions) or pictures[0])
    galleries.draw_hits(gallery, [galleries.Found(tmp_path / "q.png", ids[1:2], (0.5,))])
    assert told == ["query q.png", f"1  0.500  {columns[wanted][1] if wanted else '1f2a'}"]
