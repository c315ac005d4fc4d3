"""A run is refused where a file of its contest has other content, by the name of the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from refusals import one_line

from medalist.contest import Contest, contest_folds
from medalist.errors import RunError
from medalist.folds.folds import write_folds
from medalist.kinds import load_settings
from medalist.records import Sample, Split
from medalist.runs.contest_files import hash_contest, read_hashes, seal, write_hashes
from medalist.runs.opening import open_contest, open_run_contest
from medalist.runs.runs import Run, create_run, make_lock
from medalist.runs.sources import changed, reading_sources
from medalist.training.finished import finished
from medalist.training.request import TrainRequest

from .blobs import write_contest, write_data

CONFIG = """\
competition: {name}
folds: {{n: 2, seed: 1}}
model: {{kind: unet, encoder: test_resnet, weights: none, channels: [body]}}
loss: {{bce: 1.0}}
decide: {{kind: threshold}}
tracking: none
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MEDALIST_DATA", "MEDALIST_RUNS"):
        monkeypatch.delenv(name, raising=False)
    write_data(tmp_path / "data")
    return tmp_path


def begun(home: Path, name: str) -> tuple[Run, TrainRequest]:
    """A run that was prepared and not trained, with the request for it; nothing here needs torch."""
    config, root = home / f"{name}.yaml", home / "runs"
    config.write_text(CONFIG.format(name=name))
    settings, contest = load_settings(config), open_contest(name, home / "data", root)
    folds, files = contest_folds(contest, settings.folds, root), hash_contest(contest, root)
    lock = make_lock(
        *(settings, contest.split, folds, {}, contest.data, config, ()),
        contents=seal(files),
        sources=reading_sources(name),
    )
    run = create_run(root / name / "first", settings, lock)
    write_hashes(run, files)
    write_folds(run.folder / "folds.csv", folds)
    return run, TrainRequest(settings, config, (), str(home / "data"), (), "first", root)


def negative(path: Path) -> None:
    """Turn a mask into its negative, in a file of the same size and time."""
    about, pixels = path.stat(), np.asarray(Image.open(path))
    Image.fromarray(255 - pixels).save(path, compress_level=9)
    data = path.read_bytes()
    assert len(data) <= about.st_size + 200
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("named", [True, False], ids=["annotation", "sample"])
def test_a_mask_that_became_its_negative_is_named(home: Path, named: bool) -> None:
    """Also where no annotation names it, because the contest finds it by the id of the sample."""
    write_contest(home, f"blobs{named}", named)
    run, request = begun(home, f"blobs{named}")
    assert {f"masks/tr{number}.png" for number in range(6)} < (read_hashes(run, run.lock()) or {}).keys()
    contest = open_run_contest(run, request.settings.competition, None, request.root)
    assert finished(request) is None  # it may be trained
    path = home / "data" / "masks" / "tr3.png"
    kept = shutil.copy2(path, home / "kept.png")
    negative(path)
    for call in (
        lambda: open_run_contest(run, contest.competition.name, None, request.root),  # score, submit, predict
        lambda: finished(request),  # train
    ):
        message = one_line(RunError, call)
        assert "is not the data that first was trained on; give its folder with --data" in message
        assert "masks/tr3.png has other content" in message
    shutil.copy2(kept, path)
    open_run_contest(run, contest.competition.name, None, request.root)
    path.unlink()
    assert "masks/tr3.png is gone" in one_line(
        RunError, lambda: open_run_contest(run, contest.competition.name, None, request.root)
    )


@pytest.mark.parametrize("part", ["train/tr1.png", "test/te0.png"])
def test_other_pixels_of_the_same_file_are_named(home: Path, part: str) -> None:
    write_contest(home, "pixels")
    run, request = begun(home, "pixels")
    path = home / "data" / part
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-30] ^= 1  # an image need not decode to be another one
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    message = one_line(RunError, lambda: open_run_contest(run, "pixels", None, request.root))
    assert f"{part} has other content" in message


def test_moved_data_and_new_files_are_no_change(home: Path) -> None:
    write_contest(home, "moved", named=False)
    run, request = begun(home, "moved")
    (home / "data").rename(home / "elsewhere")
    (home / "elsewhere" / "notes_tr1.txt").write_text("my own")
    (home / "elsewhere" / "tr1_copy.png").write_text("nobody reads this")
    assert open_run_contest(run, "moved", str(home / "elsewhere"), request.root).data == home / "elsewhere"


def test_runs_below_the_data_are_no_data(home: Path) -> None:
    """Stored predictions bear the names of samples too."""
    write_contest(home, "below", named=False)
    contest = open_contest("below", home / "data", home / "data" / "runs")
    (home / "data" / "runs" / "below" / "first" / "oof").mkdir(parents=True)
    (home / "data" / "runs" / "below" / "first" / "oof" / "tr1.png").write_bytes(b"a prediction")
    assert not [name for name in hash_contest(contest, home / "data" / "runs") if name.startswith("runs")]


def test_links_in_the_data_end(home: Path) -> None:
    write_contest(home, "linked", named=False)
    (home / "data" / "train" / "again").symlink_to(home / "data")
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "tr0.json").write_text("{}")
    (home / "data" / "more").symlink_to(home / "elsewhere")
    found = hash_contest(open_contest("linked", home / "data", home / "runs"), home / "runs")
    assert "more/tr0.json" in found and len(found) == 6 + 2 + 6 + 1


def test_an_edited_or_missing_list_of_hashes_is_refused(home: Path) -> None:
    write_contest(home, "listed")
    run, request = begun(home, "listed")
    path = run.folder / "data.csv"
    text = path.read_text()
    for change in (text.replace("tr1", "tr9"), "", text + "x\n"):
        path.write_text(change)
        message = one_line(RunError, lambda: open_run_contest(run, "listed", None, request.root))
        assert f"{path} is missing or was edited" in message
    path.unlink()
    assert f"{path} is missing" in one_line(RunError, lambda: open_run_contest(run, "listed", None, request.root))


def test_of_older_runs_nothing_is_known_and_nothing_refused(home: Path) -> None:
    write_contest(home, "older")
    run, request = begun(home, "older")
    lock = run.lock()
    (run.folder / "data.csv").unlink()
    path = run.folder / "lock.json"
    path.write_text(path.read_text().replace(f'"contents": "{lock.contents}"', '"contents": ""'))
    negative(home / "data" / "masks" / "tr3.png")
    open_run_contest(run, "older", None, request.root)


@pytest.mark.parametrize(
    ("annotation", "truths"),
    [
        (("m_0.png",), {"masks/m_0.png"}),
        (("m_0",), {"masks/m_0.png"}),
        (("sub/m_0.png",), {"masks/m_0.png"}),
        (("cat",), {"masks/im0.png"}),
        (("1 5 9 2",), set()),
        ((), {"masks/im0.png"}),
    ],
)
def test_files_of_truths_are_found_by_their_name_alone(
    tmp_path: Path, annotation: tuple[str, ...], truths: set[str]
) -> None:
    data = tmp_path / "data"
    for name in ("images/im0.png", "masks/m_0.png", "masks/im0.png", "truths.npz", "sample_submission.csv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    sample = Sample("im0", (data / "images" / "im0.png",), (4, 4), annotation)
    of_masks = SimpleNamespace(name="x", submission=SimpleNamespace(one_class=True))
    contest = Contest(of_masks, data, Split((sample,), ()))  # type: ignore[arg-type]
    found = set(hash_contest(contest, tmp_path / "runs")) - {"images/im0.png"}
    assert truths <= found and "sample_submission.csv" not in found and "truths.npz" not in found

    # Where no sample has a file of its own, the truths are in one that all share.
    if not annotation:
        shutil.rmtree(data / "masks")
        assert set(hash_contest(contest, tmp_path / "runs")) == {"images/im0.png", "truths.npz"}


def test_leftovers_and_links_in_a_contests_folder_are_no_code(home: Path) -> None:
    write_contest(home, "blobs")
    folder = home / "competitions" / "blobs"
    before = reading_sources("blobs")
    (folder / "up").symlink_to(home)
    (folder / "data").symlink_to(home / "data")
    (folder / "again").symlink_to(folder)
    for name in ("data.py~", "data.py.orig", "notes.md", "submission.csv"):
        (folder / name).write_text("x")
    assert changed(before, reading_sources("blobs")) == []
    (home / "competitions" / "helper.py").write_text("x = 1")  # what contests share
    (folder / "more.py").write_text("x = 1")
    assert changed(before, reading_sources("blobs")) == ["competitions/blobs/more.py", "competitions/helper.py"]
