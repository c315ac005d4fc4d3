"""What every folder of competitions/ owes; a contest that draws no data and has none here is skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from medalist.competition import Competition, competition_names, find_groups, load_competition
from medalist.errors import SubmissionError
from medalist.folds import FoldsConfig, check_folds, make_folds
from medalist.records import Sample, Split
from medalist.submission import check_submission, write_submission

COMPETITIONS = Path(__file__).parents[2] / "competitions"
NAMES = competition_names(COMPETITIONS)
TRUTHS = 40
"""How many truths are decoded and scored; all of a real contest would take too long."""


@pytest.fixture(params=NAMES)
def competition(request: pytest.FixtureRequest) -> Competition:
    loaded = load_competition(request.param, COMPETITIONS)
    assert loaded.name == request.param, "COMPETITION bears the name of its folder"
    return loaded


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Competition], Path]:
    """Draws a contest, once."""

    @cache
    def drawn(competition: Competition) -> Path:
        assert competition.draw is not None
        folder = tmp_path_factory.mktemp(competition.name)
        competition.draw(folder, 1)
        return folder

    return drawn


@pytest.fixture
def root(competition: Competition, contest_data: Callable[[str], Path], draw: Callable[[Competition], Path]) -> Path:
    """Folder of the contest's data: drawn, or real."""
    return contest_data(competition.name) if competition.draw is None else draw(competition)


@pytest.fixture
def split(competition: Competition, root: Path) -> Split:
    return read(competition, root)


@cache
def read(competition: Competition, root: Path) -> Split:
    return competition.read(root)


def spread(samples: tuple[Sample, ...]) -> list[Sample]:
    return list(samples[:: max(1, len(samples) // TRUTHS)])


def test_the_folder_is_small(competition: Competition) -> None:
    folder = COMPETITIONS / competition.name
    lines = [line for path in folder.glob("*.py") for line in path.read_text().splitlines()]
    assert len(lines) <= 200
    assert (folder / "README.md").is_file()
    assert list((folder / "tests").glob("test_*.py"))


def test_samples_are_whole_and_ids_unique(split: Split) -> None:
    samples = [*split.train, *split.test]
    assert split.train and split.test
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.id and sample.images and all(path.is_file() for path in sample.images)
        assert min(sample.size) > 0
    assert not any(sample.annotation for sample in split.test)


def test_reading_twice_gives_the_same(competition: Competition, root: Path, split: Split) -> None:
    assert competition.read(root) == split


def test_perfect_answers_through_the_file_get_the_best_score(
    competition: Competition, root: Path, split: Split, tmp_path: Path
) -> None:
    samples = spread(split.train)
    truths = {sample.id: competition.truth(root, sample) for sample in samples}
    path = tmp_path / "s.csv"
    write_submission(path, competition.submission, truths.items())
    assert competition.submission.validate(path, samples) == []
    answers = competition.submission.parse(path, samples)
    assert list(answers) == list(truths)
    score = competition.score(truths, answers)
    assert score.value == pytest.approx(1.0)
    assert score.by_sample.keys() == truths.keys()
    assert all(value == pytest.approx(1.0) for value in score.by_sample.values())


def test_answers_of_other_images_do_not_get_the_best_score(competition: Competition, root: Path, split: Split) -> None:
    by_size: dict[tuple[int, int], list[Sample]] = {}
    for sample in split.train:
        if sample.annotation:
            by_size.setdefault(sample.size, []).append(sample)
    first, second, *_ = max(by_size.values(), key=len)
    truths = {sample.id: competition.truth(root, sample) for sample in (first, second)}
    swapped = {first.id: truths[second.id], second.id: truths[first.id]}
    assert competition.score(truths, swapped).value < 0.5


def test_folds_are_disjoint_and_keep_groups_together(competition: Competition, split: Split) -> None:
    found = find_groups(competition, split)
    groups = found.group_of if found else None
    folds = make_folds(split.train, FoldsConfig(n=3, seed=1), groups)
    check_folds(folds, split.train, groups)
    held = [set(folds.held_out(k)) for k in range(3)]
    assert set.union(*held) == {sample.id for sample in split.train}
    assert sum(map(len, held)) == len(split.train)


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


@pytest.mark.parametrize("spoiling", SPOILT)
def test_a_spoilt_file_is_refused_with_row_and_reason(
    competition: Competition, root: Path, split: Split, spoiling: str, tmp_path: Path
) -> None:
    reference = root / competition.sample_submission
    form = competition.submission
    assert form.validate(reference, split.test, reference) == []
    spoil, row = SPOILT[spoiling]
    spoilt = spoil(reference.read_text().splitlines())
    path = tmp_path / "s.csv"
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else text(spoilt))
    problems = form.validate(path, split.test, reference)
    assert problems[0].row == row
    assert all(problem.rule for problem in problems)
    with pytest.raises(SubmissionError) as caught:
        check_submission(path, form, split.test, reference)
    message = str(caught.value)
    assert "\n" not in message and problems[0].rule in message
    assert row is None or f"row {row}, " in message
