from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import one_line

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.errors import ConfigError, DataError, MedalistError, SubmissionError
from medalist.formats.rle import RleFormat
from medalist.records import Answer, Instances, Sample, Score, Split
from medalist.reporter import SilentReporter
from medalist.runs.opening import open_contest
from medalist.workflows.check import WARNING, check, images_decode, perfect_score, truths_decode, unique_ids

LABELS = "stage1_train_labels.csv"


@pytest.fixture
def contest(own_data: Path, at_home: Path, tmp_path: Path) -> Contest:
    return open_contest("toy_nuclei", own_data, tmp_path)


def test_a_sound_contest_gets_a_line_a_finding(contest: Contest, quiet: SilentReporter) -> None:
    lines = list(check(contest, quiet))
    assert lines[0] == "toy_nuclei: 26 train and 6 test samples, ids unique"
    assert lines[1].startswith("strata: bright_gray ") and lines[2] == "images: all 32 decode"
    assert lines[3].startswith("truth: all 26 decode, ")
    assert "perfect answers, written and parsed back, score 1.000000" in lines
    assert "sample submission sample_submission.csv: valid" in lines
    assert lines[-1].startswith("data hash ")
    assert not [line for line in lines if line.startswith(WARNING)]


def test_ids_that_stand_twice_are_named(contest: Contest) -> None:
    train = contest.split.train
    message = one_line(DataError, lambda: unique_ids((*train, train[3], train[5])))
    assert message == f"2 ids occur more than once: {train[3].id}, {train[5].id}; ids must be unique"


def test_every_bad_image_is_named_at_once(contest: Contest, quiet: SilentReporter) -> None:
    cut, gone, wide = contest.split.train[0], contest.split.train[1], contest.split.test[0]
    cut.images[0].write_bytes(cut.images[0].read_bytes()[:-300])
    gone.images[0].unlink()
    wide.images[0].write_bytes(contest.split.test[1].images[0].read_bytes())
    split = Split(contest.split.train, (replace(wide, size=(64, 128)), *contest.split.test[1:]))
    message = one_line(DataError, lambda: images_decode(replace(contest, split=split), quiet))
    assert message.startswith("3 bad images: ")
    assert all(f"sample {sample.id}: " in message for sample in (cut, gone, wide))
    assert "is (128, 128), but its size was given as (64, 128)" in message


def test_many_bad_images_are_counted(contest: Contest, quiet: SilentReporter) -> None:
    for sample in contest.split.train[:15]:
        sample.images[0].write_bytes(b"")
    message = one_line(DataError, lambda: images_decode(contest, quiet))
    assert message.startswith("15 bad images: ") and message.endswith("; and 5 more")


def test_a_truncated_image_is_found_by_the_whole_check(contest: Contest, tmp_path: Path, quiet: SilentReporter) -> None:
    image = contest.split.train[0].images[0]
    image.write_bytes(image.read_bytes()[:-300])
    message = one_line(DataError, lambda: open_contest("toy_nuclei", contest.data, tmp_path))
    assert contest.split.train[0].id in message and "cut off" in message


def rewrite(contest: Contest, change: Callable[[list[list[str]]], Sequence[Sequence[str]]]) -> None:
    path = contest.data / LABELS
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))


def test_without_images_the_rest_is_tested(contest: Contest, quiet: SilentReporter, tmp_path: Path) -> None:
    image = contest.split.train[3].images[0]
    content = image.read_bytes()
    image.write_bytes(content[:-300])
    lines = list(check(contest, quiet, images=False))
    assert "images: not decoded, so damaged ones and truths that do not fit them are not found" in lines
    image.write_bytes(content)
    with_images = list(check(contest, quiet))
    assert [line for line in lines[:-1] if line not in with_images] == [lines[2]]  # the last one is the data hash
    assert [line for line in with_images[:-1] if line not in lines] == ["images: all 32 decode"]


def test_every_truth_that_runs_off_its_image_is_named(contest: Contest, quiet: SilentReporter, tmp_path: Path) -> None:
    with_objects = [sample for sample in contest.split.train if sample.annotation][:2]
    ids = [sample.id for sample in with_objects]
    rewrite(contest, lambda rows: [*rows, [ids[0], "16384 2"], [ids[1], "16385 1"]])
    spoilt = open_contest("toy_nuclei", contest.data, tmp_path)
    message = one_line(DataError, lambda: list(check(spoilt, quiet)))
    assert message.startswith("2 bad truths: ") and all(name in message for name in ids)


def test_two_rows_of_one_object_are_refused(contest: Contest, quiet: SilentReporter, tmp_path: Path) -> None:
    sample = next(sample for sample in contest.split.train if sample.annotation)
    rewrite(contest, lambda rows: [*rows, [sample.id, sample.annotation[0]]])
    message = one_line(DataError, lambda: list(check(open_contest("toy_nuclei", contest.data, tmp_path), quiet)))
    assert sample.id in message and "1 bad truths" in message


def test_truths_must_have_the_size_of_their_images(contest: Contest) -> None:
    def transposed(root: Path, sample: Sample) -> Answer:
        return Instances(np.zeros((128, 64), np.int32))

    spoilt = replace(contest, competition=replace(contest.competition, truth=transposed))
    message = one_line(DataError, lambda: truths_decode(spoilt))
    assert "its truth is (128, 64), its image (128, 128)" in message and message.endswith("; and 16 more")


def test_a_format_that_loses_something_is_refused(contest: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
    perfect = contest.evaluation.perfect(contest)
    assert perfect.truths is perfect.answers and len(perfect.truths) == 26
    assert perfect_score(contest, perfect) == 1.0
    honest = RleFormat.rows
    monkeypatch.setattr(RleFormat, "rows", lambda *given: honest(*given)[:1])
    message = one_line(DataError, lambda: perfect_score(contest, perfect))
    assert "perfect answers score 1.0 but 0." in message


def test_a_metric_of_another_kind_is_the_contests_mistake(contest: Contest) -> None:
    def misused(truths: object, answers: dict[str, Answer]) -> Score:
        return Score(answers.no_such_thing)  # type: ignore[attr-defined]

    spoilt = replace(contest, competition=replace(contest.competition, score=misused))
    message = one_line(ConfigError, lambda: perfect_score(spoilt, contest.evaluation.perfect(contest)))
    assert "does not take its answers, which are Instances (" in message and "docs/competition.md lists" in message


def test_a_spoilt_sample_submission_is_refused(contest: Contest, quiet: SilentReporter) -> None:
    reference = contest.reference
    assert reference is not None
    text = reference.read_text()
    reference.write_text(text.replace("1 1", "x", 1))
    message = one_line(SubmissionError, lambda: list(check(contest, quiet)))
    assert "sample_submission.csv: row 2" in message
    reference.unlink()
    with pytest.raises(MedalistError, match=r"sample_submission\.csv"):
        list(check(contest, quiet))


def drawn_contest(name: str, tmp_path: Path) -> Contest:
    draw = load_competition(name).draw
    assert draw is not None
    draw(tmp_path / "drawn", 3)
    return open_contest(name, tmp_path / "drawn", tmp_path)


@pytest.mark.parametrize(
    "name",
    ["aptos", "bsd_pitting", "cityscapes", "contrails", "dogs_vs_cats", "plant_pathology", "severstal", "tgs_salt"],
)
def test_drawn_contests_give_no_word(name: str, at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    assert not [line for line in check(drawn_contest(name, tmp_path), quiet) if line.startswith(WARNING)]


@pytest.mark.parametrize("name", ["google_landmark", "google_landmark.retrieval", "omniglot.oneshot"])
def test_a_contest_of_identities_is_sound(name: str, at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    lines = list(check(drawn_contest(name, tmp_path), quiet))
    assert any("perfect answers, written and parsed back, score 1.000000" in line for line in lines)


def test_a_query_without_an_answer_gets_some_name(at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    contest = drawn_contest("grocery_retrieval", tmp_path)
    lonely = contest.split.train[0].annotation
    train = [one for one in contest.split.train if one.annotation != lonely or one.meta["official_split"] == "test"]
    lines = list(check(replace(contest, split=replace(contest.split, train=tuple(train))), quiet))
    assert any("3 of them without an answer; perfect answers, written" in line for line in lines)


def test_names_that_no_answer_can_hold_are_shown(at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    contest = drawn_contest("humpback_whale", tmp_path)
    train = (replace(contest.split.train[0], annotation=("w one",)), *contest.split.train[1:])
    spoilt = replace(contest, split=replace(contest.split, train=train))
    message = one_line(DataError, lambda: list(check(spoilt, quiet)))
    assert "1 names of identities cannot be answered" in message and "'w one'; rename them" in message


def test_a_contest_without_a_sample_submission_is_sound(contest: Contest, quiet: SilentReporter) -> None:
    (contest.data / "sample_submission.csv").unlink()
    order = tuple(reversed(contest.split.test))  # of which nothing says anything then
    without = replace(contest, split=replace(contest.split, test=order))
    lines = list(check(replace(without, competition=replace(contest.competition, sample_submission=None)), quiet))
    assert "perfect answers, written and parsed back, score 1.000000" in lines
    assert lines[-2] == "sample submission: the contest has none"


def test_a_truth_of_probabilities_is_the_perfect_answer(at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    lines = list(check(drawn_contest("dogs_vs_cats", tmp_path), quiet))
    assert any(line.startswith("perfect answers, written and parsed back, score ") for line in lines)
