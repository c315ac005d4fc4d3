from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import one_line

from medalist.errors import RunError
from medalist.runs.submissions import (
    Submission,
    add_submission,
    read_submissions,
    submission_of_run,
    submissions_file,
)

FIRST = Submission("a", "2026-12-01T10:00:00+00:00", "s.csv", "0" * 64, "é | 'x'", "slug", "sending", ("c/x",), (0.5,))


def test_the_last_line_of_a_key_counts(tmp_path: Path) -> None:
    assert read_submissions(tmp_path, "c") == []
    done = replace(FIRST, status="complete", public=0.5, reference=7)
    other = replace(FIRST, key="b", oof=(None,))
    for one in (FIRST, other, done):
        add_submission(tmp_path, "c", one)
    assert read_submissions(tmp_path, "c") == [done, other]
    assert submissions_file(tmp_path, "c").read_text().count("\n") == 3


def test_a_torn_line_is_named_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    add_submission(tmp_path, "c", FIRST)
    path = submissions_file(tmp_path, "c")
    path.write_bytes(path.read_bytes() + b'{"key": "b"')
    add_submission(tmp_path, "c", replace(FIRST, key="c"))
    assert "line 2: not JSON" in one_line(RunError, lambda: read_submissions(tmp_path, "c"))
    path.write_text("".join(line for number, line in enumerate(path.read_text().splitlines(True)) if number != 1))
    assert [one.key for one in read_submissions(tmp_path, "c")] == ["a", "c"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[]", "line 1"),
        ('{"format": 99}', "newer"),
        ('{"key": 1}', "line 1: key"),
        ("\x00", "line 1"),
        ("[" * 100_000, "line 1"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "c").mkdir()
    submissions_file(tmp_path, "c").write_text(line)
    assert words in one_line(RunError, lambda: read_submissions(tmp_path, "c"))


def test_a_run_alone_comes_before_a_newer_blend() -> None:
    alone = replace(FIRST, public=0.5)
    blend = replace(FIRST, key="b", time="2026-12-02T10:00:00+00:00", runs=("c/x", "c/y"), public=0.6)
    assert submission_of_run("c/x", [alone, blend]) == alone
    assert submission_of_run("c/y", [alone, blend]) == blend
    assert submission_of_run("c/z", [alone, blend]) is None
    assert submission_of_run("c/x", [replace(alone, public=None)]) is None


def _write(root: str, who: int) -> None:
    for number in range(20):
        add_submission(Path(root), "c", replace(FIRST, key=f"{who}-{number}", message="m" * 5000))


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_write, args=(str(tmp_path), who)) for who in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(read_submissions(tmp_path, "c")) == 40
