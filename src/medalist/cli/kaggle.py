"""`medalist kaggle`: submit, status, download and push, through Kaggle's own client, which stays optional."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medalist.cli.session import Data, counted, say, session, table
from medalist.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True, help="Submit to Kaggle and keep a ledger of it; needs pip install 'medalist[kaggle]'."
)

Slug = Annotated[
    str | None,
    typer.Option(
        metavar="SLUG",
        help="The contest's name in its address at Kaggle; default: the competition's, or that of its last submission.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A folder under competitions/, or FOLDER.TRACK.")]
Named = Annotated[str, typer.Option("--competition", help="A folder under competitions/, or FOLDER.TRACK.")]
Minutes = Annotated[
    float, typer.Option("--wait", metavar="MINUTES", min=0, max=1440, help="The longest wait; 0: do not wait.")
]


@app.command()
def submit(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A submission; with --notebook the name of the notebook's output.")
    ],
    competition: Named,
    message: Annotated[str, typer.Option("-m", "--message", help="What it is, for Kaggle's list and the ledger.")],
    run: Annotated[
        list[str] | None, typer.Option("--run", help="A run that the file was made from; may be given several times.")
    ] = None,
    slug: Slug = None,
    data: Data = None,
    notebook: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Submit the output of this notebook of yours.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="The notebook's version; default: the one that was pushed last.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where this file was submitted already.")] = False,
    wait: Minutes = 30.0,
) -> None:
    """Validate a file, submit it, wait for its score, and write both into the ledger that the board shows."""
    from medalist.competition import load_competition
    from medalist.kaggle_client.asking import connect
    from medalist.kaggle_client.notebooks import checked_notebook, last_version
    from medalist.kaggle_client.submitting import Sent, slug_of, wait_for_score
    from medalist.kaggle_client.submitting import submit as send
    from medalist.runs.runs import find_run

    here = session(context)
    runs = tuple(find_run(name, here.runs) for name in dict.fromkeys(run or ()))
    other = next((one for one in runs if one.competition != competition), None)
    if other is not None:
        raise ConfigError(f"{other.folder} is no run of {competition}")
    if version is not None and notebook is None:
        raise ConfigError("--version is that of a notebook; type --notebook OWNER/NAME too")
    found = load_competition(competition)
    name = slug_of(found, here.runs, slug)
    if notebook is None:
        _refuse_invalid(file, competition, data, here.runs)
        sent = Sent(competition, name, file, message, runs)
    else:
        version = version or last_version(here.runs, competition, checked_notebook(notebook))
        if version is None:
            raise ConfigError(f"no version of {notebook} was pushed from here; type --version N")
        say(here.console, f"{file.name} of {notebook}, version {version}: it is not here, so it is not validated")
        sent = Sent(competition, name, file, message, runs, notebook, version)
    api = connect()
    line = send(api, sent, here.runs, here.reporter, again)
    if wait:
        line = wait_for_score(api, line, here.runs, competition, here.reporter, 60 * wait)
    if line.status == "complete":
        say(here.console, f"{line.file}: public {_score(line.public)}, private {_score(line.private)}{_beside(line)}")
    else:
        say(here.console, f"{line.file}: no score yet; type medalist kaggle status {competition} later")


def _refuse_invalid(file: Path, competition: str, data: str | None, runs: Path) -> None:
    """Raise SubmissionError where the contest would refuse a file."""
    from medalist.formats.submission import problems_of_file, refuse
    from medalist.runs.opening import open_contest

    contest = open_contest(competition, data, runs)
    form = contest.evaluation.format_of_test(contest)
    refuse(file, problems_of_file(file, form, contest.split.test, contest.reference))


@app.command()
def status(context: typer.Context, name: Name, slug: Slug = None) -> None:
    """Show what was submitted with its scores, whether the rules are accepted, and what is left today."""
    from medalist.competition import load_competition
    from medalist.kaggle_client.asking import connect
    from medalist.kaggle_client.submitting import refresh, slug_of

    here = session(context)
    place = slug_of(load_competition(name), here.runs, slug)
    known = refresh(connect(), here.runs, name, place, here.reporter)
    rows = [
        [
            one.time[:16].replace("T", " "),
            one.file,
            one.message,
            ", ".join(one.runs),
            _oof(one),
            _score(one.public),
            _score(one.private),
            f"{one.status}: {one.error}" if one.error else one.status,
            one.reference,
            f"{one.notebook} v{one.version}" if one.notebook else "",
        ]
        for one in known.lines
    ]
    columns = ["sent (UTC)", "file", "message", "runs", "OOF", "public", "private", "status", "reference", "notebook"]
    if rows:
        table(here.console, place, columns, rows)
    else:
        say(here.console, f"{place}: nothing was submitted from here")
    if known.others:
        say(here.console, f"{counted(len(known.others), 'more submission')} at Kaggle, not sent from here")
    at = known.standing
    rules = "accepted" if at.entered else f"not accepted: https://www.kaggle.com/competitions/{place}/rules"
    say(here.console, f"rules {rules}{'; takes notebooks only' if at.notebooks_only else ''}")
    if at.entered:
        left = "not told before the first submission" if at.left is None else f"{at.left} left"
        say(here.console, f"today: {at.today} submitted, {left}; {at.daily} a day; days begin at 0:00 UTC")


@app.command()
def download(
    context: typer.Context,
    name: Name,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to put it.")] = Path(),
    slug: Slug = None,
) -> None:
    """Download a contest's files as one archive. An interrupted download goes on with the same command."""
    from medalist.competition import load_competition
    from medalist.kaggle_client.asking import checked_slug, connect, patiently
    from medalist.kaggle_client.contest import download as fetch
    from medalist.kaggle_client.contest import standing
    from medalist.kaggle_client.submitting import slug_of

    here = session(context)
    place = checked_slug(slug) if slug is not None else slug_of(load_competition(name), here.runs, None)
    api = connect()
    if not patiently(lambda: standing(api, place), here.reporter).entered:
        raise ConfigError(
            f"the rules of {place} are not accepted yet; accept them at https://www.kaggle.com/competitions/{place}/rules"
        )
    bar = here.console.is_terminal
    path = patiently(lambda: fetch(api, place, output, bar), here.reporter)
    say(here.console, f"{path}: {path.stat().st_size / 1e6:,.1f} MB; unpack it, and give the folder as --data")


@app.command()
def push(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with kernel-metadata.json.")],
    competition: Named,
    wait: Minutes = 0.0,
) -> None:
    """Push a notebook, and keep its version in the ledger, because Kaggle lists no versions."""
    from medalist.competition import load_competition
    from medalist.kaggle_client.asking import connect
    from medalist.kaggle_client.notebooks import push as send
    from medalist.kaggle_client.notebooks import wait_for_end

    here = session(context)
    load_competition(competition)
    api = connect()
    one = send(api, folder, here.runs, competition, here.reporter)
    number = "its version is not told" if one.version is None else f"version {one.version}"
    say(here.console, f"{one.notebook}: pushed, {number}; {one.url}")
    if not wait:
        return
    if wait_for_end(api, one.notebook, here.reporter, 60 * wait):
        say(here.console, f"{one.notebook}: has run")
    else:
        say(here.console, f"{one.notebook}: Kaggle shows no end of it yet; look at {one.url}")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _oof(one: Any) -> str:
    return ", ".join("–" if value is None else f"{value:.4f}" for value in one.oof)


def _beside(one: Any) -> str:
    return f"; OOF {_oof(one)}" if one.oof else ""
