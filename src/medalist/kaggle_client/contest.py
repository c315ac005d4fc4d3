"""A contest as Kaggle knows it: whether the user may submit, how often still, and what was submitted."""

from __future__ import annotations

import math
import shutil
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalist.errors import KaggleError
from medalist.files import reason
from medalist.kaggle_client.asking import SITE, asking
from medalist.runs.submissions import Status

PAGE = 100
"""Submissions of one page of Kaggle's list."""

MOST_PAGES = 100


@dataclass(frozen=True)
class Remote:
    """A submission as Kaggle lists it. public, private: None where there is no score, or none is shown."""

    reference: int
    description: str
    status: Status
    public: float | None
    private: float | None
    error: str
    date: str


@dataclass(frozen=True)
class Standing:
    """Where a user stands in a contest. left: submissions that are left today; None where Kaggle does not say."""

    entered: bool
    closed: bool
    notebooks_only: bool
    left: int | None
    today: int
    daily: int


def standing(api: Any, slug: str) -> Standing:
    """Ask where the user stands. Raises KaggleError, for instance for a contest that does not exist."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    with asking("the contest", slug):
        request = ApiGetCompetitionRequest()
        request.competition_name = slug
        with api.build_kaggle_client() as client:
            found = client.competitions.competition_api_client.get_competition(request)
    entered = bool(found.user_has_entered)
    left, today = None, 0
    if entered:
        with asking("what is left of today's submissions", slug):
            limits = api.competition_get_submission_limits(slug)
        today = limits.num_today
        # Before a user has submitted there is no team, and all numbers are 0.
        left = limits.num_allowed_now if today or limits.num_total or limits.num_allowed_now else None
    daily, only = found.max_daily_submissions, bool(found.is_kernels_submissions_only)
    return Standing(entered, bool(found.submissions_disabled), only, left, today, daily)


def refuse_closed(found: Standing, slug: str, by_notebook: bool) -> None:
    """Raise KaggleError where Kaggle would refuse a submission: rules, a closed contest, notebooks, no more today."""
    if not found.entered:
        raise KaggleError(
            f"the rules of {slug} are not accepted yet; accept them at {SITE}/competitions/{slug}/rules, and type the "
            "command again"
        )
    if found.closed:
        raise KaggleError(f"{slug} takes no submissions any more")
    if found.notebooks_only and not by_notebook:
        raise KaggleError(
            f"{slug} takes submissions of notebooks alone; type medalist kaggle push FOLDER, and then this command "
            "with --notebook OWNER/NAME"
        )
    if found.left is not None and found.left <= 0:
        now = datetime.now(UTC)
        hours = 24 - now.hour - (now.minute > 0)
        raise KaggleError(
            f"no submission of {slug} is left today ({found.today} made, {found.daily} a day); the next day begins at "
            f"0:00 UTC, in about {max(1, hours)} hours"
        )


def list_submissions(api: Any, slug: str, pages: int = MOST_PAGES) -> list[Remote]:
    """Return the user's submissions, the newest first. pages: the most pages that are read."""
    found: dict[int, Remote] = {}
    for page in range(1, pages + 1):
        with asking("the submissions", slug):
            listed = [one for one in api.competition_submissions(slug, page_number=page, page_size=PAGE) or () if one]
            new = [_remote(one) for one in listed if one.ref not in found]
        found |= {one.reference: one for one in new}
        if not new or len(listed) < PAGE:
            break
    return list(found.values())


def _remote(one: Any) -> Remote:
    status: Status = {"PENDING": "pending", "COMPLETE": "complete"}.get(one.status.name, "error")  # type: ignore[assignment]
    return Remote(
        int(one.ref),
        str(one.description or ""),
        status,
        _score(one.public_score),
        _score(one.private_score),
        " ".join(str(one.error_description or "").split())[:300],
        "" if one.date is None else one.date.isoformat(timespec="seconds"),
    )


def _score(said: object) -> float | None:
    """Return a score, which Kaggle tells as text, empty where there is none."""
    try:
        value = float(str(said))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def download(api: Any, slug: str, folder: Path, bar: bool = False) -> Path:
    """Download all files of a contest as `folder/SLUG.zip`, whole or not at all; return its path.

    What has come stays in `folder/.kaggle-SLUG`, and the same command goes on from there. bar: whether the client may
    draw its bar on the standard error. Raises KaggleError; also where the file is there already, and for what is no
    archive.
    """
    target = folder / f"{slug}.zip"
    if target.exists():
        raise KaggleError(f"{target} is there already; delete it to download it again")
    part = folder / f".kaggle-{slug}"
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KaggleError(f"cannot write {part}: {reason(error)}; type -o FOLDER") from error
    with asking("the files", slug, bar):
        api.competition_download_files(slug, path=str(part), quiet=not bar)
    files = [path for path in part.rglob("*") if path.is_file() and path.suffix != ".kaggle-partial"]
    if len(files) != 1 or not zipfile.is_zipfile(files[0]):
        shutil.rmtree(part, ignore_errors=True)
        raise KaggleError(f"Kaggle sent no archive for {slug}; look at {SITE}/competitions/{slug}/data")
    files[0].replace(target)
    shutil.rmtree(part, ignore_errors=True)
    return target
