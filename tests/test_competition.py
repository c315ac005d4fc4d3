from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medalist.competition import (
    Competition,
    competition_folders,
    competition_names,
    contests_fault,
    folder_names,
    folder_of,
    load_competition,
)
from medalist.errors import ConfigError, DataError
from medalist.formats.boxes import BoxesFormat
from medalist.formats.class_rle import ClassRleFormat
from medalist.formats.rle import RleFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.boxes import coco_map
from medalist.records import Boxes, Mask, Sample, Split

VALUE = """
from medalist.competition import Competition
from medalist.records import Mask, Sample, Score, Split
from medalist.formats.rle import RleFormat

from .data import read

COMPETITION = Competition(
    name="{name}",
    read=read,
    truth=lambda root, sample: None,
    score=lambda truths, answers: Score(1.0, {{}}, {{}}),
    submission=RleFormat(),
)
"""

TRACKS = """
from dataclasses import replace

TRACKS = {{"{track}": replace(COMPETITION, name="{name}", sample_submission="{track}.csv")}}
"""


def contest(folder: Path, name: str, value: str = VALUE) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(value.format(name=name))
    (folder / name / "data.py").write_text("def read(root):\n    return root.name\n")


def tracks(folder: Path, name: str, track: str, called: str) -> None:
    contest(folder, name)
    with (folder / name / "__init__.py").open("a") as file:
        file.write(TRACKS.format(track=track, name=called))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with two contests. Modules that are imported from it are removed from sys.modules afterwards."""
    before = dict(sys.modules)
    for name in ("tmp_salt", "tmp_whales"):
        contest(tmp_path / "competitions", name)
    yield tmp_path / "competitions"
    for name in sys.modules.keys() - before.keys():
        if name.startswith("competitions"):
            del sys.modules[name]


def test_a_competition_is_loaded_by_its_folders_name(folder: Path) -> None:
    salt = load_competition("tmp_salt", folder)
    assert salt.name == "tmp_salt"
    assert salt.read(Path("/x/data")) == "data"  # through its own relative import
    assert salt.sample_submission == "sample_submission.csv"
    assert load_competition("tmp_salt", folder) is salt
    assert load_competition("tmp_whales", folder).name == "tmp_whales"


def test_a_competition_is_sent_to_another_process_by_its_folder_and_name(folder: Path) -> None:
    tracks(folder, "tmp_signs", "pairs", "tmp_signs.pairs")
    for name in ("tmp_salt", "tmp_signs", "tmp_signs.pairs"):
        value = load_competition(name, folder)
        sent = pickle.dumps(value)
        assert pickle.loads(sent) is value
        code = "import pickle, sys; from pathlib import Path; found = pickle.load(sys.stdin.buffer)\n"
        code += "print(found.name, found.read(Path('/x/data')))"
        ended = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
        assert ended.stdout.decode() == f"{name} data\n"


def test_a_competition_of_no_folder_is_sent_by_its_fields() -> None:
    value = Competition("own", Path, max, min, RleFormat())  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(value)) == value


def test_two_checkouts_have_each_their_own(folder: Path, tmp_path: Path) -> None:
    contest(tmp_path / "other" / "competitions", "tmp_salt", VALUE.replace("read=read", "read=lambda root: 'mine'"))
    first = load_competition("tmp_salt", folder)
    other = load_competition("tmp_salt", tmp_path / "other" / "competitions")
    assert first.read(Path("/x/data")) == "data" and other.read(Path("/x/data")) == "mine"
    assert load_competition("tmp_salt", folder) is first
    assert load_competition("tmp_salt", folder / ".." / "competitions") is first


def test_a_copied_folder_must_be_given_its_own_name(folder: Path) -> None:
    contest(folder, "tmp_ships", VALUE.replace("{name}", "tmp_salt"))
    with pytest.raises(ConfigError, match=r"COMPETITION\.name is 'tmp_salt', and must be 'tmp_ships'"):
        load_competition("tmp_ships", folder)


def test_a_folder_can_be_deleted_and_nothing_else_breaks(folder: Path) -> None:
    shutil.rmtree(folder / "tmp_salt")
    assert competition_names(folder) == ["tmp_whales"]
    assert load_competition("tmp_whales", folder).name == "tmp_whales"
    with pytest.raises(ConfigError, match="no competition 'tmp_salt'"):
        load_competition("tmp_salt", folder)


def test_names_are_those_of_folders_with_code(folder: Path) -> None:
    (folder / "notes").mkdir()
    (folder / "notes" / "README.md").write_text("x")
    (folder / "__init__.py").write_text("")
    assert competition_names(folder) == ["tmp_salt", "tmp_whales"]
    assert folder_names(folder) == ["tmp_salt", "tmp_whales"]


def test_a_track_is_another_question_about_the_data_of_its_folder(folder: Path) -> None:
    tracks(folder, "tmp_signs", "pairs", "tmp_signs.pairs")
    whole, pairs = load_competition("tmp_signs", folder), load_competition("tmp_signs.pairs", folder)
    assert (whole.name, pairs.name) == ("tmp_signs", "tmp_signs.pairs")
    assert (whole.sample_submission, pairs.sample_submission) == ("sample_submission.csv", "pairs.csv")
    assert load_competition("tmp_signs.pairs", folder) is pairs
    assert competition_names(folder) == ["tmp_salt", "tmp_signs", "tmp_signs.pairs", "tmp_whales"]
    assert folder_names(folder) == ["tmp_salt", "tmp_signs", "tmp_whales"]
    assert folder_of("tmp_signs.pairs") == folder_of("tmp_signs") == "tmp_signs"


def test_an_unknown_track_is_told_with_those_that_are(folder: Path) -> None:
    tracks(folder, "tmp_signs", "pairs", "tmp_signs.pairs")
    with pytest.raises(ConfigError, match=r"no track 'pears'; there are: tmp_signs, tmp_signs\.pairs$"):
        load_competition("tmp_signs.pears", folder)
    with pytest.raises(ConfigError, match=r"no track 'pairs'; there are: tmp_salt$"):
        load_competition("tmp_salt.pairs", folder)
    with pytest.raises(ConfigError, match=r"no competition 'tmp_sign' in .*did you mean 'tmp_signs'\?"):
        load_competition("tmp_sign.pairs", folder)
    with pytest.raises(ConfigError, match=r"no track 'pairs\.more'"):
        load_competition("tmp_signs.pairs.more", folder)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (
            TRACKS.format(track="pairs", name="tmp_signs.pears"),
            r"TRACKS\['pairs'\]\.name is 'tmp_signs\.pears', and must",
        ),
        (TRACKS.format(track="pairs", name="tmp_signs"), r"must be 'tmp_signs\.pairs'"),
        ("\nTRACKS = {'pairs': read}\n", r"and each of TRACKS so"),
    ],
)
def test_a_faulty_track_is_refused_whichever_is_asked_for(folder: Path, value: str, match: str) -> None:
    contest(folder, "tmp_signs")
    with (folder / "tmp_signs" / "__init__.py").open("a") as file:
        file.write(value)
    for name in ("tmp_signs", "tmp_signs.pairs"):
        with pytest.raises(ConfigError, match=match):
            load_competition(name, folder)


def test_an_unknown_name_is_given_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_competition("tmp_whale", folder)
    message = str(caught.value)
    assert "no competition 'tmp_whale'" in message and "did you mean 'tmp_whales'?" in message
    assert "tmp_salt, tmp_whales" in message and "\n" not in message
    with pytest.raises(ConfigError, match=r"there are: tmp_salt, tmp_whales$"):
        load_competition("zebra", folder)
    for name in ("", "..", "tmp_salt/../tmp_whales", "os"):
        with pytest.raises(ConfigError, match="no competition"):
            load_competition(name, folder)


def test_a_folder_without_any_contest_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are: none"):
        load_competition("tmp_salt", tmp_path)


@pytest.mark.parametrize("value", ["", "COMPETITION = 'tmp_bad'", "competition = 1"])
def test_a_folder_without_its_value_is_refused(folder: Path, value: str) -> None:
    contest(folder, "tmp_bad", value)
    with pytest.raises(ConfigError, match=r"tmp_bad.*__init__\.py must define COMPETITION = Competition\("):
        load_competition("tmp_bad", folder)


def test_a_faulty_import_is_not_kept(folder: Path) -> None:
    contest(folder, "tmp_broken", "from .data import reed")
    for _ in range(2):
        with pytest.raises(ImportError, match="reed"):
            load_competition("tmp_broken", folder)
    (folder / "tmp_broken" / "__init__.py").write_text(VALUE.format(name="tmp_broken") + "# mended\n")
    assert load_competition("tmp_broken", folder).name == "tmp_broken"


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("from .data import reed\n", "ImportError: cannot import name 'reed'"),
        ("def f(:\n", "SyntaxError"),
        ("from medalist.formats.rle import RleFormat\nRleFormat(nothing=1)\n", "TypeError"),
        ("import json\njson.loads('')\n", "JSONDecodeError"),
        ("from medalist.metrics.labels import LabelTable\n", "ImportError"),
    ],
)
def test_what_a_contests_code_raises_is_the_contests_fault(folder: Path, after: str, kind: str) -> None:
    contest(folder, "tmp_wrong", after + VALUE)
    with pytest.raises((ArithmeticError, ImportError, SyntaxError, TypeError, ValueError)) as caught:
        load_competition("tmp_wrong", folder)
    line = contests_fault(caught.value)
    assert line is not None and "\n" not in line and kind in line and "correct the contest's code" in line
    assert re.match(rf"{folder}/tmp_wrong/__init__\.py, line \d+: ", line)


def test_what_medalist_raises_is_not_but_for_what_it_asserts(folder: Path) -> None:
    found = load_competition("tmp_salt", folder)
    with pytest.raises(AttributeError) as caught:
        load_competition(3, folder)  # type: ignore[arg-type]
    assert contests_fault(caught.value) is None
    assert found.name == "tmp_salt"
    contest(folder, "tmp_wrong", "LabelFormat(('id', 'label'), classes=('a ',))\n" + VALUE)
    init = folder / "tmp_wrong" / "__init__.py"
    init.write_text("from medalist.formats.labels import LabelFormat\n" + init.read_text())
    with pytest.raises(AssertionError) as asserted:
        load_competition("tmp_wrong", folder)
    line = contests_fault(asserted.value)
    assert line is not None and "classes that are no texts, empty, unprintable" in line and "tmp_wrong" in line


def test_the_folder_is_found_from_below(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "configs" / "x"
    below.mkdir(parents=True)
    assert competition_folders(tmp_path)[0] == folder
    assert competition_folders(below)[0] == folder
    monkeypatch.chdir(below)
    assert competition_folders()[0] == folder
    assert load_competition("tmp_salt").name == "tmp_salt"


def test_where_no_folder_is_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.competition.shipped_folder", lambda name: None)
    with pytest.raises(ConfigError, match=r"no folder 'competitions' in .* or above it; run medalist in the folder"):
        competition_folders(tmp_path)


def test_shipped_competitions_are_found_behind_those_of_the_user(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "package" / "competitions"
    contest(shipped, "tmp_ships")
    contest(shipped, "tmp_salt", "raise AssertionError('the shipped one')")
    monkeypatch.setattr("medalist.competition.shipped_folder", lambda name: shipped)
    monkeypatch.chdir(tmp_path)
    assert load_competition("tmp_salt").name == "tmp_salt"
    assert load_competition("tmp_ships").name == "tmp_ships"
    with pytest.raises(ConfigError, match=r"no competition 'tmp_slat' in .* and .*; there are: .*tmp_salt, tmp_ships"):
        load_competition("tmp_slat")
    monkeypatch.chdir(tmp_path.parent)
    assert competition_folders() == (shipped,)
    assert load_competition("tmp_ships").name == "tmp_ships"


def of_classes(*classes: str, form: object = None, truth: object = None) -> Competition:
    return Competition(
        "x", lambda root: None, lambda root, sample: truth, lambda a, b: None, form or object(), classes=classes
    )  # type: ignore[arg-type,return-value]


def test_names_of_classes_that_cannot_be_told_apart_are_refused() -> None:
    assert of_classes("background", "road").classes == ("background", "road")
    assert of_classes().classes == ()
    for classes, told in (
        (("a", "a"), "'a' is there twice or empty"),
        (("a", ""), "'' is there twice or empty"),
        (("a",), r"there must be 2\.\.255"),
        (tuple(map(str, range(256))), r"there must be 2\.\.255"),
    ):
        with pytest.raises(ConfigError, match=told):
            of_classes(*classes)


def test_classes_of_the_submission_are_those_of_the_contest() -> None:
    form = ClassRleFormat(("background", "car"))
    assert of_classes("background", "car", form=form).submission is form
    with pytest.raises(ConfigError, match="classes are background, road, and those of the submission background, car"):
        of_classes("background", "road", form=form)


def test_void_that_does_not_fit_its_mask_is_refused() -> None:
    one = Sample("s", (), (1, 2))
    classes = np.array([[1, 0]], np.uint8)
    for void, told in (
        (np.array([[True]]), "void of another shape"),
        (np.array([[1, 0]]), "void of another shape or type"),
        (np.array([[True, False]]), "classes at void pixels"),
    ):
        contest = of_classes("a", "b", truth=Mask(classes, void))  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"sample s: its mask has .*{told.removeprefix('void of ')}"):
            contest.checked_truth(Path(), one)
    good = of_classes("a", "b", truth=Mask(classes, np.array([[False, True]])))
    assert isinstance(good.checked_truth(Path(), one), Mask)


@pytest.mark.parametrize(
    ("corners", "label", "told"),
    [
        ((1, 2, np.nan, 4), 0, "its corners are not finite"),
        ((3, 2, 1, 4), 0, "it has no area, or its corners are swapped"),
        ((1, 2, 3, 4), 2, r"its label is not within 0\.\.1"),
    ],
)
def test_a_truth_with_a_box_that_is_none_is_refused(
    corners: tuple[float, ...], label: int, told: str, boxed: Competition
) -> None:
    xyxy = np.array([(0, 0, 1, 1), corners], np.float32)
    bad = Boxes(xyxy, np.array([0, label], np.int32), np.ones(2, np.float32))
    with pytest.raises(DataError, match=f"sample s: box 1 of its truth: {told}; correct `truth`"):
        replace(boxed, truth=lambda data, sample: bad).checked_truth(Path(), Sample("s", (), (9, 9)))


@pytest.fixture
def boxed() -> Competition:
    form = BoxesFormat(classes=("a", "b"))
    return Competition("c", lambda root: Split((), ()), box_truth(("a", "b")), coco_map(("a", "b")), form)
