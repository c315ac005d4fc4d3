"""Submit a file or a notebook's output to Kaggle, wait for its score, and keep the ledger of both."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalist.competition import Competition, source_folder
from medalist.errors import ConfigError, KaggleError
from medalist.files import sha256_file
from medalist.kaggle_client.asking import SITE, NoAccessError, asking, checked_slug, patiently
from medalist.kaggle_client.contest import Remote, Standing, list_submissions, refuse_closed, standing
from medalist.kaggle_client.notebooks import check_ended
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.submissions import Submission, add_submission, read_submissions

POLL_SECONDS = (2.0, 5.0, 10.0, 20.0, 30.0)
"""The pauses between questions for a score; the last one repeats."""

NEWEST_PAGES = 1
"""The pages of Kaggle's list that are read while a score is awaited; the newest submissions stand first."""

HASH_LETTERS = 12
"""The letters of a file's hash that are added to the message, by which a lost answer is found again."""


@dataclass(frozen=True)
class Sent:
    """What is to be submitted.

    competition: the name of the contest's folder. file: a validated file; of a notebook the name of its output.
    notebook, version: OWNER/NAME and the version whose output is submitted; empty and None for a file.
    """

    competition: str
    slug: str
    file: Path
    message: str
    runs: tuple[Run, ...] = ()
    notebook: str = ""
    version: int | None = None


def slug_of(competition: Competition, root: Path, typed: str | None) -> str:
    """Return the contest's name at Kaggle: as typed, else the competition's own, else that of its last submission.

    Raises ConfigError where none is known.
    """
    if typed is not None:
        return checked_slug(typed)
    if competition.kaggle is not None:
        return checked_slug(competition.kaggle)
    before = read_submissions(root, competition.name)
    if before:
        return checked_slug(before[-1].slug)
    raise ConfigError(
        f"{competition.name} does not say its name at Kaggle; type --slug NAME, the last part of the contest's address "
        f"there{_hint(competition.name)}"
    )


def _hint(name: str) -> str:
    """Name the README of the contest where it has the address."""
    folder = source_folder(name)
    readme = None if folder is None else folder / "README.md"
    if (
        readme is None
        or not readme.is_file()
        or f"{SITE[12:]}/competitions/" not in readme.read_text("utf-8", "replace")
    ):
        return ""
    return f"; {readme} has it"


def submit(
    api: Any,
    sent: Sent,
    root: Path,
    reporter: Reporter,
    again: bool = False,
    sleep: Callable[[float], None] | None = None,
) -> Submission:
    """Submit, and return the line of the ledger, which is written before the upload and after the answer.

    again: whether a file may be submitted that was submitted before. Raises KaggleError before anything is sent where
    Kaggle would refuse it, and where it does refuse it; then the ledger says why.
    """
    digest = sha256_file(sent.file) if not sent.notebook else ""
    if not again:
        _refuse_double(sent, digest, read_submissions(root, sent.competition))
    found = patiently(lambda: standing(api, sent.slug), reporter, sleep)
    refuse_closed(found, sent.slug, bool(sent.notebook))
    if sent.notebook:
        check_ended(api, sent.notebook, reporter)
    line = Submission(
        key=secrets.token_hex(8),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        file=sent.file.name,
        sha256=digest,
        message=sent.message,
        slug=sent.slug,
        status="sending",
        runs=tuple(f"{run.competition}/{run.name}" for run in sent.runs),
        oof=tuple(_oof(run) for run in sent.runs),
        notebook=sent.notebook,
        version=sent.version,
    )
    add_submission(root, sent.competition, line)
    try:
        answer = patiently(lambda: _send(api, sent, _described(line)), reporter, sleep)
    except KaggleError as error:
        add_submission(root, sent.competition, replace(line, status="failed", error=str(error)))
        raise
    line = replace(line, status="pending", reference=answer.ref or None)
    add_submission(root, sent.competition, line)
    reporter.say(f"{sent.file.name}: sent to {sent.slug}, reference {line.reference or 'not told'}{_left(found)}")
    return line


def _refuse_double(sent: Sent, digest: str, before: Sequence[Submission]) -> None:
    same = (
        [one for one in before if one.sha256 == digest]
        if digest
        else [one for one in before if one.notebook == sent.notebook and one.version == sent.version is not None]
    )
    known = [one for one in same if one.status in ("pending", "complete") and one.slug == sent.slug]
    if known:
        score = "" if known[-1].public is None else f", public {known[-1].public:g}"
        raise KaggleError(
            f"{sent.file.name} was submitted already on {known[-1].time} ('{known[-1].message}'{score}); type --again "
            "to spend another submission on it"
        )


def _left(found: Standing) -> str:
    return "" if found.left is None else f"; {found.left - 1} left today"


def _oof(run: Run) -> float | None:
    scores = run.scores()
    return None if scores is None else float(scores["oof"]["value"])


def _described(line: Submission) -> str:
    """Return the message for Kaggle, with what the submission is found by where Kaggle's answer is lost."""
    return f"{line.message} [{_mark(line)}]"


def _mark(line: Submission) -> str:
    return line.sha256[:HASH_LETTERS] if line.sha256 else line.key


def _send(api: Any, sent: Sent, message: str) -> Any:
    """Return the client's answer. Raises KaggleError; also for an upload that broke off, which the client prints."""
    with asking("the submission", sent.slug):
        if sent.notebook:
            return api.competition_submit_code(
                sent.file.name, message, sent.slug, sent.notebook, sent.version, quiet=True
            )
        answer = api.competition_submit(str(sent.file), message, sent.slug, quiet=True)
    if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        raise KaggleError(
            f"the upload of {sent.file.name} broke off; no submission was counted; type the command again"
        )
    return answer


def wait_for_score(
    api: Any,
    line: Submission,
    root: Path,
    competition: str,
    reporter: Reporter,
    seconds: float,
    sleep: Callable[[float], None] | None = None,
) -> Submission:
    """Wait, with a bar, until a submission has a score; return its line of the ledger, which then has it.

    seconds: the longest wait; after it the line is returned without a score. Raises KaggleError where Kaggle could not
    score the file.
    """
    pause, waited, asked, slug = sleep or time.sleep, 0.0, 0, line.slug
    with reporter.progress(f"waiting for the score of {line.file}", max(1, round(seconds))) as bar:
        while waited < seconds:
            step = min(POLL_SECONDS[min(asked, len(POLL_SECONDS) - 1)], seconds - waited)
            pause(step)
            bar.advance(round(waited + step) - round(waited))
            waited, asked = waited + step, asked + 1
            remote = patiently(lambda: list_submissions(api, slug, NEWEST_PAGES), reporter, sleep)
            line = _updated([line], remote, root, competition)[0]
            if line.status != "pending":
                break
    if line.status == "error":
        raise KaggleError(f"Kaggle could not score {line.file}: {line.error or 'it does not say why'}")
    return line


@dataclass(frozen=True)
class Known:
    """What `medalist kaggle status` shows. others: submissions at Kaggle that the ledger does not have."""

    standing: Standing
    lines: tuple[Submission, ...]
    others: tuple[Remote, ...]


def refresh(
    api: Any,
    root: Path,
    competition: str,
    slug: str,
    reporter: Reporter,
    sleep: Callable[[float], None] | None = None,
) -> Known:
    """Bring the ledger of a contest to what Kaggle says now. Raises KaggleError where Kaggle does not answer."""
    found = patiently(lambda: standing(api, slug), reporter, sleep)
    try:
        remote = patiently(lambda: list_submissions(api, slug), reporter, sleep)
    except NoAccessError:
        if found.entered:
            raise
        remote = []  # who has not accepted the rules has none
    lines = [one for one in read_submissions(root, competition) if one.slug == slug]
    lines = _updated(lines, remote, root, competition)
    mine = {one.reference for one in lines}
    return Known(found, tuple(lines), tuple(one for one in remote if one.reference not in mine))


def _updated(lines: Sequence[Submission], remote: Sequence[Remote], root: Path, competition: str) -> list[Submission]:
    """Return the lines with what Kaggle lists, and write those that have changed.

    A line without a reference, whose answer was lost, is found by its mark in the message, where exactly one has it
    that no other line has.
    """
    by_reference = {one.reference: one for one in remote}
    taken = {line.reference for line in read_submissions(root, competition)}
    made = []
    for line in lines:
        marked = [one for one in remote if f"[{_mark(line)}]" in one.description and one.reference not in taken]
        known = by_reference.get(line.reference or -1)
        if known is None and line.reference is None and len(marked) == 1:
            known = marked[0]
            taken.add(known.reference)
        now = line
        if known is not None:
            now = replace(
                line,
                reference=known.reference,
                status=known.status,
                public=known.public,
                private=known.private,
                error=known.error if known.status == "error" else "",
            )
        if now != line:
            add_submission(root, competition, now)
        made.append(now)
    return made
