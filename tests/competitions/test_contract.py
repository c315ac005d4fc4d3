"""What every folder of competitions/ owes; a contest that draws no data and has none here is skipped.

A contest of masks or of labels is asked about training samples; one of identities about the queries of a fold's trials.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from drawn_files import files
from PIL import Image

from medalist.competition import Competition, Retrieval, competition_names, find_groups, folder_of, load_competition
from medalist.errors import SubmissionError
from medalist.folds.folds import check_folds, make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import (
    AnyFormat,
    ArchiveFormat,
    SubmissionFormat,
    check_submission,
    suffix_of,
    write_submission,
)
from medalist.records import Answer, Labels, Ranking, RetrievalSplit, Sample, Split
from medalist.retrieval.splits import answerable, identity_of, right_names, splits_of_test

COMPETITIONS = Path(__file__).parents[2] / "competitions"
NAMES = competition_names(COMPETITIONS)
IDENTITIES = [name for name in NAMES if load_competition(name, COMPETITIONS).retrieval]
DRAWN = list({folder_of(name): name for name in NAMES if load_competition(name, COMPETITIONS).draw}.values())
"""One contest of each folder that draws its data: the tracks of a folder share them."""
of_identities = pytest.mark.parametrize("competition", IDENTITIES, indirect=True)
TRUTHS = 40
"""How many truths are decoded and scored; all of a real contest would take too long."""


@pytest.fixture(params=NAMES)
def competition(request: pytest.FixtureRequest) -> Competition:
    loaded = load_competition(request.param, COMPETITIONS)
    assert loaded.name == request.param, "COMPETITION bears the name of its folder"
    return loaded


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path, int], None]], Path]:
    """Draws a contest, once, also where several tracks share it."""

    @cache
    def drawn(make: Callable[[Path, int], None]) -> Path:
        folder = tmp_path_factory.mktemp("drawn")
        make(folder, 1)
        return folder

    return drawn


@pytest.fixture
def root(
    competition: Competition,
    contest_data: Callable[[str], Path],
    draw: Callable[[Callable[[Path, int], None]], Path],
) -> Path:
    """Folder of the contest's data: real, or else drawn."""
    try:
        return contest_data(folder_of(competition.name))
    except pytest.skip.Exception:
        if competition.draw is None:
            raise
        return draw(competition.draw)


@pytest.fixture
def split(competition: Competition, root: Path) -> Split:
    return read(competition, root)


@cache
def read(competition: Competition, root: Path) -> Split:
    return competition.read(root)


@dataclass(frozen=True, eq=False)
class Exam:
    """Some samples with their truths, perfect answers to them, and the form in which they are sent."""

    samples: list[Sample]
    truths: Mapping[str, Answer]
    perfect: Mapping[str, Answer]
    form: AnyFormat


@pytest.fixture
def exam(competition: Competition, root: Path, split: Split) -> Exam:
    if competition.retrieval is None:
        samples = spread(split.train)
        truths = {sample.id: competition.truth(root, sample) for sample in samples}
        return Exam(samples, truths, truths, competition.submission)
    by_id = {sample.id: sample for sample in split.train}
    asked = splits(competition, split, 0)
    rights = right(competition.retrieval, asked, by_id)
    rights = {name: truth for name, truth in rights.items() if truth.names}
    form = named(competition, asked, by_id)
    perfect = {name: answered(form, name, truth) for name, truth in rights.items()}
    return Exam([by_id[name] for name in rights], rights, perfect, form)


def splits(competition: Competition, split: Split, fold: int) -> tuple[RetrievalSplit, ...]:
    """The trials of one fold of three."""
    assert competition.retrieval is not None
    found = find_groups(competition, split)
    folds = make_folds(split.train, FoldsConfig(n=3, seed=1), found.group_of if found else None)
    held_out = set(folds.held_out(fold))
    training = [sample for sample in split.train if sample.id not in held_out]
    return competition.retrieval.splits(training, [sample for sample in split.train if sample.id in held_out])


def right(asks: Retrieval, asked: tuple[RetrievalSplit, ...], by_id: Mapping[str, Sample]) -> dict[str, Ranking]:
    return right_names(asked, by_id, asks.names, asks.new, asks.exclusion_key)


def named(competition: Competition, asked: tuple[RetrievalSplit, ...], by_id: Mapping[str, Sample]) -> RankingFormat:
    """The contest's form, bound to the names that may be answered."""
    assert competition.retrieval is not None
    assert isinstance(competition.submission, RankingFormat)
    return competition.submission.among(
        answerable(asked, by_id, competition.retrieval.names, competition.retrieval.new)
    )


def answered(form: RankingFormat, name: str, truth: Ranking) -> Ranking:
    """The right names, filled up with wrong ones where the contest wants a fixed number, sure where it asks how."""
    names = truth.names[: form.most]
    if form.fixed:
        assert isinstance(form.candidates, Mapping)
        names += tuple(sorted(form.candidates[name] - set(names)))[: form.most - len(names)]
    return Ranking(names, 1.0 if form.confident else None)


def spread(samples: tuple[Sample, ...]) -> list[Sample]:
    return list(samples[:: max(1, len(samples) // TRUTHS)])


def test_the_folder_is_small(competition: Competition) -> None:
    folder = COMPETITIONS / folder_of(competition.name)
    lines = [line for path in folder.glob("*.py") for line in path.read_text().splitlines()]
    assert len(lines) <= 200
    assert (folder / "README.md").is_file()
    assert list((folder / "tests").glob("test_*.py"))


def test_samples_are_whole_and_ids_unique(split: Split) -> None:
    assert split.train and split.test
    for part in ((*split.train, *split.test), (*split.train, *split.gallery)):
        assert len({sample.id for sample in part}) == len(part)
    asked = {sample.id: sample for sample in split.test}
    for sample in split.gallery:  # which may be asked too, where each asks the others
        assert asked.get(sample.id, sample) == sample
    for sample in split.all:
        assert sample.id and sample.images and all(path.is_file() for path in sample.images)
        assert min(sample.size) > 0
    assert not any(sample.annotation for sample in split.test)


def test_reading_twice_gives_the_same(competition: Competition, root: Path, split: Split) -> None:
    assert competition.read(root) == split


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_decides_on_every_drawn_file(
    name: str, draw: Callable[[Callable[[Path, int], None]], Path], tmp_path: Path
) -> None:
    make = load_competition(name, COMPETITIONS).draw
    assert make is not None
    make(tmp_path / "again", 1)
    make(tmp_path / "other", 2)
    one, again, other = files(draw(make)), files(tmp_path / "again"), files(tmp_path / "other")
    assert again == one
    pictures = {path for path in one.keys() & other.keys() if Path(path).suffix not in (".csv", ".json")}
    same = {path for path in pictures if one[path] == other[path]}
    assert 2 * len(same) <= len(pictures), "the pictures do not depend on the seed"  # some masks are empty in both


def test_perfect_answers_through_the_file_get_the_best_score(
    competition: Competition, exam: Exam, tmp_path: Path
) -> None:
    path = tmp_path / f"s{suffix_of(exam.form)}"
    assert exam.truths
    write_submission(path, exam.form, exam.perfect.items())
    assert exam.form.validate(path, exam.samples) == []
    answers = exam.form.parse(path, exam.samples)
    assert list(answers) == list(exam.truths)
    score = competition.score(exam.truths, answers)
    best = 0.0 if score.value < 0.5 else 1.0  # 0 of a loss, which is negated; the next test tells it from a bad score
    assert score.value == pytest.approx(best, abs=1e-6)
    assert score.by_sample.keys() == exam.truths.keys()
    assert all(value == pytest.approx(best, abs=1e-6) for value in score.by_sample.values())


def test_answers_of_others_do_not_get_the_best_score(competition: Competition, exam: Exam) -> None:
    """Two images of one size, or two samples of different names, are given each other's answers."""
    first, *others = (sample for sample in exam.samples if sample.annotation)
    if isinstance(exam.truths[first.id], Ranking | Labels):
        second = next(sample for sample in others if unlike(exam.truths[first.id], exam.truths[sample.id]))
    else:
        by_size: dict[tuple[int, int], list[Sample]] = {}
        for sample in (first, *others):
            by_size.setdefault(sample.size, []).append(sample)
        first, second, *_ = max(by_size.values(), key=len)
    truths = {name: exam.truths[name] for name in (first.id, second.id)}
    swapped = {first.id: exam.perfect[second.id], second.id: exam.perfect[first.id]}
    perfect = {name: exam.perfect[name] for name in truths}
    assert competition.score(truths, swapped).value < competition.score(truths, perfect).value - 0.5


def unlike(one: Answer, other: Answer) -> bool:
    assert isinstance(one, Ranking | Labels) and isinstance(other, Ranking | Labels)
    return not set(one.names) & set(other.names)


def test_folds_are_disjoint_and_keep_groups_together(competition: Competition, split: Split) -> None:
    found = find_groups(competition, split)
    groups = found.group_of if found else None
    folds = make_folds(split.train, FoldsConfig(n=3, seed=1), groups)
    check_folds(folds, split.train, groups)
    held = [set(folds.held_out(k)) for k in range(3)]
    assert set.union(*held) == {sample.id for sample in split.train}
    assert sum(map(len, held)) == len(split.train)


# --------------------------------------------------------------------------------------------- identities


@of_identities
def test_what_is_asked_and_how_it_is_sent_agree(competition: Competition, split: Split) -> None:
    asks, form = competition.retrieval, competition.submission
    assert asks is not None and isinstance(form, RankingFormat)
    assert form.most == asks.depth and form.confident == asks.confident
    assert form.candidates is None, "the names are bound to a form once the samples are known"
    assert all(identity_of(sample) for sample in split.train)
    if asks.names == "identities":
        assert all(identity_of(sample) for sample in split.gallery)


@of_identities
def test_each_fold_asks_what_its_network_has_not_seen(competition: Competition, split: Split) -> None:
    assert competition.retrieval is not None
    by_id = {sample.id: sample for sample in split.train}
    found = find_groups(competition, split)
    folds = make_folds(split.train, FoldsConfig(n=3, seed=1), found.group_of if found else None)
    for fold in range(3):
        asked = splits(competition, split, fold)
        queries = [name for split in asked for name in split.queries]
        assert queries and len(set(queries)) == len(queries)
        assert set(queries) <= set(folds.held_out(fold))
        assert all(split.gallery and set(split.gallery) <= by_id.keys() for split in asked)
        assert all(len(set(split.gallery)) == len(split.gallery) for split in asked)
        truths = right(competition.retrieval, asked, by_id)
        assert list(truths) == queries
        assert sum(bool(truth.names) for truth in truths.values()) > len(queries) / 2
        assert splits(competition, split, fold) == asked, "trials are the same whenever they are made"


@of_identities
def test_every_query_of_the_test_part_has_a_gallery(competition: Competition, split: Split) -> None:
    gallery = split.gallery or split.train
    asked = splits_of_test(split.test, gallery)
    assert [name for split in asked for name in split.queries] == [sample.id for sample in split.test]
    known = {sample.id for sample in gallery}
    assert all(split.gallery and known.issuperset(split.gallery) for split in asked)


# --------------------------------------------------------------------------------------------- spoilt files

Spoiling = Callable[[list[str]], "list[str] | bytes"]
"""Takes the lines of a good file and spoils them."""


def text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def replace(line: Callable[[str], str], row: int = 5) -> Spoiling:
    return lambda lines: [*lines[: row - 1], line(lines[row - 1]), *lines[row:]]


# name: how, and the row that is blamed first
SPOILT: dict[str, tuple[Spoiling, int | None]] = {
    "empty": (lambda lines: b"", None),
    "header only": (lambda lines: lines[:1], 1),
    "no header": (lambda lines: lines[1:], 1),
    "another column": (replace(lambda line: f"{line}s", row=1), 1),
    "columns turned": (lambda lines: [",".join(line.split(",")[::-1]) for line in lines], 1),
    "index in front": (lambda lines: [f"{n},{line}" for n, line in enumerate(lines)], 1),
    "byte order mark": (lambda lines: b"\xef\xbb\xbf" + text(lines), 1),
    "utf-16": (lambda lines: text(lines).decode().encode("utf-16"), 1),
    "not utf-8": (lambda lines: text(lines[:4]) + b"\xe4" + text(lines[4:]), 5),
    "cut off": (lambda lines: text(lines[:4]) + b"\0" * 9, 5),
    "an id is missing": (lambda lines: lines[:-1], None),
    "an unknown id": (replace(lambda line: f"x{line}"), 5),
    "an id twice": (lambda lines: [*lines[:4], lines[3], *lines[4:]], 5),
    "another order": (lambda lines: [*lines[:4], *lines[:3:-1]], 5),
    "a cell too many": (replace(lambda line: f"{line},1"), 5),
    "a cell too few": (replace(lambda line: line.split(",")[0]), 5),
    "a blank line": (replace(lambda line: f"\n{line}"), 5),
    "a stray quote": (replace(lambda line: f'{line}"'), 5),
    "nonsense": (replace(lambda line: f"{line.rpartition(',')[0]},nonsense"), 5),
}


def cell(spoil: Callable[[str], str]) -> Spoiling:
    """Spoils the names of row 5."""
    return replace(lambda line: ",".join([line.partition(",")[0], spoil(line.partition(",")[2])]))


# these break a rule whatever the names are, and however many a query may have
SPOILT_NAMES: dict[str, tuple[Spoiling, int | None]] = {
    "a space in front": (cell(lambda names: f" {names}"), 5),
    "a space behind": (cell(lambda names: f"{names} "), 5),
    "two spaces": (cell(lambda names: f"{names}  {names}"), 5),
    "a tab": (cell(lambda names: f"{names}\t{names}"), 5),
    "semicolons": (cell(lambda names: f"{names};{names}"), 5),
    "a comma in quotes": (cell(lambda names: f'"{names},{names}"'), 5),
    "the same name again": (cell(lambda names: f"{names} {names.split(' ')[0]}"), 5),
    "a name that nothing has": (cell(lambda names: f"no-such-name {names}".strip()), 5),
    "a file's name": (cell(lambda names: f"{names}.jpg"), 5),
    "a number that is none": (cell(lambda names: f"{names.split(' ')[0]} nan"), 5),
}

SPOILT_ARCHIVES = (
    "a picture is missing", "a picture too many", "another size", "a value of no class", "colours",
    "a damaged picture", "cut off",
)  # fmt: skip


def refused(
    form: SubmissionFormat, reference: Path, split: Split, spoiling: Spoiling, row: int | None, path: Path
) -> None:
    assert form.validate(reference, split.test, reference) == []
    spoilt = spoiling(reference.read_text().splitlines())
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else text(spoilt))
    problems = form.validate(path, split.test, reference)
    assert problems[0].row == row
    assert all(problem.rule for problem in problems)
    with pytest.raises(SubmissionError) as caught:
        check_submission(path, form, split.test, reference)
    message = str(caught.value)
    assert "\n" not in message and problems[0].rule in message
    assert row is None or f"row {row}, " in message


@pytest.fixture
def reference(
    competition: Competition, root: Path, split: Split, request: pytest.FixtureRequest, tmp_path: Path
) -> Path:
    """The contest's sample submission; where it has none, a file that gives the test part answers of the exam."""
    if competition.sample_submission is not None:
        return root / competition.sample_submission
    exam = request.getfixturevalue("exam")
    path = tmp_path / f"made{suffix_of(exam.form)}"
    write_submission(path, exam.form, zip((sample.id for sample in split.test), cycle(exam.perfect.values())))
    return path


def of_test(competition: Competition, split: Split) -> AnyFormat:
    """The form in which the test part is answered."""
    if competition.retrieval is None:
        return competition.submission
    gallery = split.gallery or split.train
    return named(competition, splits_of_test(split.test, gallery), {sample.id: sample for sample in gallery})


@pytest.mark.parametrize("spoiling", SPOILT)
def test_a_spoilt_file_is_refused_with_row_and_reason(
    competition: Competition, reference: Path, split: Split, spoiling: str, tmp_path: Path
) -> None:
    form = of_test(competition, split)
    if not isinstance(form, ArchiveFormat):
        refused(form, reference, split, *SPOILT[spoiling], tmp_path / "s.csv")


@pytest.mark.parametrize("spoiling", SPOILT_ARCHIVES)
def test_a_spoilt_archive_is_refused_with_file_and_reason(
    competition: Competition, request: pytest.FixtureRequest, spoiling: str, tmp_path: Path
) -> None:
    form = competition.submission
    if not isinstance(form, ArchiveFormat) or form.suffix != ".zip":
        return
    reference, split = request.getfixturevalue("reference"), request.getfixturevalue("split")
    assert form.validate(reference, split.test) == []
    path = tmp_path / f"spoilt{form.suffix}"
    with zipfile.ZipFile(reference) as archive:
        spoil(path, {name: archive.read(name) for name in archive.namelist()}, spoiling)
    problems = form.validate(path, split.test)
    assert problems and all(problem.rule for problem in problems)
    with pytest.raises(SubmissionError) as caught:
        check_submission(path, form, split.test, None)
    assert "\n" not in str(caught.value) and problems[0].rule in str(caught.value)


SPOILT_JSON: dict[str, Callable[[list[dict[str, object]]], object]] = {
    "no list": lambda boxes: {"boxes": boxes},
    "an unknown image": lambda boxes: [*boxes, boxes[0] | {"image_id": 10**9}],
    "an unknown class": lambda boxes: [*boxes, boxes[0] | {"category_id": 10**9}],
    "a score above 1": lambda boxes: [*boxes, boxes[0] | {"score": 1.5}],
    "no area": lambda boxes: [*boxes, boxes[0] | {"bbox": [1, 1, 0, 5]}],
    "a key is missing": lambda boxes: [*boxes, {"image_id": boxes[0]["image_id"]}],
}


@pytest.mark.parametrize("spoiling", SPOILT_JSON)
def test_a_spoilt_json_is_refused_with_object_and_reason(
    competition: Competition, request: pytest.FixtureRequest, spoiling: str, tmp_path: Path
) -> None:
    form = competition.submission
    if not isinstance(form, ArchiveFormat) or form.suffix != ".json":
        return
    reference, split = request.getfixturevalue("reference"), request.getfixturevalue("split")
    assert form.validate(reference, split.test) == []
    boxes = json.loads(reference.read_text())
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(SPOILT_JSON[spoiling](boxes)))
    problems = form.validate(path, split.test)
    assert [problem.row for problem in problems] == [None if spoiling == "no list" else len(boxes) + 1]
    with pytest.raises(SubmissionError) as caught:
        check_submission(path, form, split.test, None)
    assert "\n" not in str(caught.value) and problems[0].rule in str(caught.value)


def spoil(path: Path, files: dict[str, bytes], spoiling: str) -> None:
    """Write the pictures of an archive, spoilt in one of the ways of SPOILT_ARCHIVES."""
    first = next(iter(files))
    picture = np.array(Image.open(io.BytesIO(files[first])))
    changes: dict[str, Callable[[], dict[str, bytes]]] = {
        "a picture is missing": lambda: {name: data for name, data in files.items() if name != first},
        "a picture too many": lambda: {**files, "other.png": files[first]},
        "another size": lambda: {**files, first: png(picture[1:])},
        "a value of no class": lambda: {**files, first: png(np.full_like(picture, 254))},
        "colours": lambda: {**files, first: png(np.repeat(picture[..., None], 3, axis=2))},
        "a damaged picture": lambda: {**files, first: files[first][:-30]},
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in changes.get(spoiling, lambda: files)().items():
            archive.writestr(name, data)
    if spoiling == "cut off":
        path.write_bytes(path.read_bytes()[:-60])


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


@of_identities
@pytest.mark.parametrize("spoiling", SPOILT_NAMES)
def test_spoilt_names_are_refused_with_row_and_reason(
    competition: Competition, reference: Path, split: Split, spoiling: str, tmp_path: Path
) -> None:
    form = of_test(competition, split)
    assert isinstance(form, RankingFormat)
    refused(form, reference, split, *SPOILT_NAMES[spoiling], tmp_path / "s.csv")


@of_identities
def test_a_name_of_another_trial_is_refused(
    competition: Competition, reference: Path, split: Split, tmp_path: Path
) -> None:
    form = of_test(competition, split)
    assert isinstance(form, RankingFormat) and isinstance(form.candidates, Mapping)
    first, last = split.test[0].id, split.test[-1].id
    others = sorted(form.candidates[last] - form.candidates[first])
    if others:  # one trial, one gallery: nothing to confuse
        header, row, *rest = reference.read_text().splitlines()
        path = tmp_path / "s.csv"
        path.write_bytes(text([header, f"{row.partition(',')[0]},{others[0]}", *rest]))
        problems = form.validate(path, split.test, reference)
        assert [(problem.row, problem.value) for problem in problems] == [(2, others[0])]
