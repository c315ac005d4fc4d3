"""`medalist kaggle` from the command line to a server on loopback, by the real client."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_kaggle import FakeKaggle, refusal

from medalist.files import sha256_file
from medalist.runs.submissions import read_pushed, read_submissions

Command = Callable[..., Any]


@pytest.fixture
def file(untrained: Any, tmp_path: Path) -> Path:
    """A valid submission of the toy contest."""
    path = tmp_path / "s.csv"
    path.write_bytes((untrained.data / "sample_submission.csv").read_bytes())
    return path


@pytest.fixture
def submit(medalist: Command, untrained: Any, file: Path, kaggle: FakeKaggle, pauses: list[float]) -> Command:
    """Submit the file, with more words."""

    def command(*words: object) -> Any:
        common = ("--competition", "toy_nuclei", "--slug", "toy-nuclei", "--data", untrained.data, "-m", "first try")
        return medalist("--runs", untrained.runs, "kaggle", "submit", file, *common, *words)

    return command


def test_a_file_is_validated_sent_and_scored(submit: Command, kaggle: FakeKaggle, file: Path, untrained: Any) -> None:
    ended = submit()
    assert (ended.code, ended.err) == (0, "")
    assert "reference 1000" in ended.out and ended.out.endswith("s.csv: public 0.81, private 0.79\n")
    assert kaggle.uploads == [file.read_bytes()]
    digest = sha256_file(file)
    assert kaggle.calls("CreateSubmission")[0]["submissionDescription"] == f"first try [{digest[:12]}]"
    (line,) = read_submissions(untrained.runs, "toy_nuclei")
    assert (line.status, line.reference, line.public, line.private) == ("complete", 1000, 0.81, 0.79)
    assert (line.file, line.sha256, line.message, line.slug) == ("s.csv", digest, "first try", "toy-nuclei")
    ledger = (untrained.runs / "toy_nuclei" / "submissions.jsonl").read_text().splitlines()
    assert [json.loads(one)["status"] for one in ledger] == ["sending", "pending", "complete"]


def test_an_invalid_file_is_not_sent(submit: Command, kaggle: FakeKaggle, file: Path) -> None:
    file.write_text(file.read_text().replace("\n", " 1\n", 2))
    ended = submit()
    assert ended.code == 2 and str(file) in ended.line and kaggle.asked == []


def test_the_same_file_again_needs_a_word(submit: Command, kaggle: FakeKaggle) -> None:
    submit()
    ended = submit()
    assert ended.code == 2 and "--again" in ended.line and "public 0.81" in ended.line
    assert len(kaggle.submissions) == 1
    assert submit("--again").code == 0 and len(kaggle.submissions) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entered": False}, "competitions/toy-nuclei/rules"),
        ({"disabled": True}, "takes no submissions any more"),
        ({"today": 5}, "no submission of toy-nuclei is left today (5 made, 5 a day)"),
        ({"notebooks_only": True}, "medalist kaggle push"),
        ({"token": "other"}, "the token of KAGGLE_API_TOKEN: it is expired or revoked"),
        ({"upload_code": 400}, "broke off"),
        ({"upload_code": 0}, "broke off"),
        ({"outcome": "ERROR"}, "could not score s.csv: Evaluation Exception: row 3"),
    ],
)
def test_refusals_are_one_line(submit: Command, kaggle: FakeKaggle, change: dict[str, Any], words: str) -> None:
    for key, value in change.items():
        setattr(kaggle, key, value)
    ended = submit()
    assert ended.code == 2 and words in ended.line and "signature" not in ended.line
    assert not kaggle.submissions or "outcome" in change


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("CreateSubmission", refusal(403, "Forbidden"), "accept the rules"),
        ("CreateSubmission", refusal(400, "You have exceeded your daily submission limit"), "what is left"),
        ("StartSubmissionUpload", refusal(500, "oh"), "a fault of its own"),
        ("GetCompetition", refusal(401, "Unauthenticated"), "expired or revoked"),
        ("GetCompetition", refusal(429, "slow down", Retry_After="86400"), "try again in 1440 minutes"),
        ("GetCompetition", (502, {}, b"<html>bad gateway</html>"), "a fault of its own"),
        ("IntrospectToken", refusal(401, "Unauthenticated"), "expired or revoked"),
    ],
)
def test_what_the_server_refuses_is_one_line(
    submit: Command, kaggle: FakeKaggle, untrained: Any, method: str, answer: Any, words: str
) -> None:
    kaggle.refusals[method] = [answer] * 8
    ended = submit()
    assert ended.code == 2 and words in ended.line, ended.err
    lines = read_submissions(untrained.runs, "toy_nuclei")
    assert [one.status for one in lines] == (["failed"] if method.endswith(("Submission", "Upload")) else [])


def test_a_rest_that_kaggle_asks_for_is_taken(submit: Command, kaggle: FakeKaggle, pauses: list[float]) -> None:
    kaggle.refusals["CreateSubmission"] = [refusal(429, "slow down", Retry_After="7")]
    assert submit("--wait", "0").code == 0
    assert len(kaggle.submissions) == 1 and 7 <= sum(pauses) <= 9


def test_an_answer_that_was_lost_is_found_by_the_hash(
    submit: Command, medalist: Command, kaggle: FakeKaggle, untrained: Any
) -> None:
    submit("--wait", "0")
    path = untrained.runs / "toy_nuclei" / "submissions.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")  # the process was killed before the answer
    assert read_submissions(untrained.runs, "toy_nuclei")[0].status == "sending"
    kaggle.polls = 0
    kaggle.submissions.append({"ref": 5, "description": "from the web page", "date": "2026-11-01T10:00:00Z", "seen": 9})
    ended = medalist("--runs", untrained.runs, "kaggle", "status", "toy_nuclei")  # the slug is that of the last one
    assert ended.code == 0 and "complete" in ended.out and "1 more submission at Kaggle" in ended.out
    assert "rules accepted" in ended.out and "today: 2 submitted, 3 left; 5 a day" in ended.out
    assert read_submissions(untrained.runs, "toy_nuclei")[0].reference == 1000


def test_a_submission_that_does_not_show_is_no_error(submit: Command, kaggle: FakeKaggle) -> None:
    kaggle.listed = False
    ended = submit("--wait", "1")
    assert ended.code == 0 and ended.out.endswith("no score yet; type medalist kaggle status toy_nuclei later\n")


def test_the_name_at_kaggle_must_be_known(medalist: Command, kaggle: FakeKaggle, untrained: Any) -> None:
    words = ("--runs", untrained.runs, "kaggle", "status", "toy_nuclei")
    assert "--slug NAME" in medalist(*words).line
    assert "--slug '../x'" in medalist(*words, "--slug", "../x").line
    ended = medalist(*words, "--slug", "toy-cells")
    assert ended.code == 2 and "toy-cells (404: Not found)" in ended.line
    kaggle.entered = False
    ended = medalist(*words, "--slug", "toy-nuclei")
    assert ended.code == 0 and "rules not accepted: https" in ended.out


def test_nobody_is_logged_in(
    medalist: Command, kaggle: FakeKaggle, untrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--runs", untrained.runs, "kaggle", "status", "toy_nuclei", "--slug", "toy-nuclei")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    ended = medalist(*words)
    assert ended.code == 2 and "kaggle auth login" in ended.line and ended.out == ""
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    assert "MEDALIST_OFFLINE" in medalist(*words).line and kaggle.asked == []


def test_a_contest_is_downloaded_whole(medalist: Command, kaggle: FakeKaggle, untrained: Any, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("train.csv", "id\n1\n")
    words = ("--runs", untrained.runs, "kaggle", "download", "toy_nuclei", "--slug", "toy-nuclei", "-o", tmp_path / "d")
    kaggle.archive = b"<html>log in</html>"
    assert "sent no archive" in medalist(*words).line and list((tmp_path / "d").iterdir()) == []
    kaggle.archive = made.getvalue()
    ended = medalist(*words)
    assert (ended.code, ended.err) == (0, "")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["toy-nuclei.zip"]
    assert (tmp_path / "d" / "toy-nuclei.zip").read_bytes() == made.getvalue()
    assert "is there already" in medalist(*words).line
    kaggle.entered = False
    assert "rules" in medalist(*words).line


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A folder with a script that can be pushed."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    (folder / "run.py").write_text("print(1)\n")
    meta = {
        "id": "somebody/infer",
        "title": "infer",
        "code_file": "run.py",
        "language": "python",
        "kernel_type": "script",
    }
    (folder / "kernel-metadata.json").write_text(json.dumps(meta))
    return folder


def test_a_notebook_is_pushed_and_its_output_submitted(
    medalist: Command, kaggle: FakeKaggle, untrained: Any, notebook: Path, pauses: list[float]
) -> None:
    runs = ("--runs", untrained.runs, "kaggle")
    ended = medalist(*runs, "push", notebook, "--competition", "toy_nuclei", "--wait", "5")
    assert (ended.code, ended.err) == (0, "") and "pushed, version 1" in ended.out and "has run" in ended.out
    (pushed,) = read_pushed(untrained.runs, "toy_nuclei")
    assert (pushed.notebook, pushed.version) == ("somebody/infer", 1)
    kaggle.notebooks_only = True
    words = (*runs, "submit", "submission.csv", "--competition", "toy_nuclei", "--slug", "toy-nuclei", "-m", "code")
    words = (*words, "--notebook", "somebody/infer")
    kaggle.notebook = "RUNNING"
    assert "has not ended" in medalist(*words).line
    kaggle.notebook = "ERROR"
    assert "has failed (error: out of memory)" in medalist(*words).line
    kaggle.shown = False  # notebooks that have ended are not always shown
    ended = medalist(*words)
    assert ended.code == 0 and "submitted all the same" in ended.out and "not validated" in ended.out
    body = kaggle.calls("CreateCodeSubmission")[0]
    assert (body["kernelOwner"], body["kernelSlug"], body["kernelVersion"]) == ("somebody", "infer", 1)
    assert read_submissions(untrained.runs, "toy_nuclei")[-1].version == 1
    assert "was submitted already" in medalist(*words).line


def test_a_notebook_that_never_shows(
    medalist: Command, kaggle: FakeKaggle, untrained: Any, notebook: Path, pauses: list[float]
) -> None:
    kaggle.shown = False
    words = ("--runs", untrained.runs, "kaggle", "push", notebook, "--competition", "toy_nuclei")
    ended = medalist(*words, "--wait", "1")
    assert ended.code == 0 and "shows no end of it yet" in ended.out
    kaggle.push_error = "Maximum batch GPU session\ncount of 2 reached."
    assert "Maximum batch GPU session count of 2 reached." in medalist(*words).line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code_file": "../../secret"}, "outside the folder"),
        ({"code_file": "none.py"}, "there is no code_file"),
        ({"id": "infer"}, "OWNER/NAME"),
        ({"id": 7}, "the key id"),
        ({"language": "cobol"}, "A valid language"),
    ],
)
def test_bad_metadata(
    medalist: Command, kaggle: FakeKaggle, untrained: Any, notebook: Path, change: dict[str, Any], words: str
) -> None:
    path = notebook / "kernel-metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    ended = medalist("--runs", untrained.runs, "kaggle", "push", notebook, "--competition", "toy_nuclei")
    assert ended.code == 2 and words in ended.line and kaggle.calls("SaveKernel") == []
