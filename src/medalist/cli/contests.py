"""Commands about a contest and its submissions. They import torch only where predictions are missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medalist.cli.session import (
    ConfigFile,
    Data,
    Memory,
    Overrides,
    RunName,
    Session,
    counted,
    load_config,
    say,
    session,
    table,
)
from medalist.errors import ConfigError

if TYPE_CHECKING:
    from medalist.runs.runs import Run

Competition = Annotated[str, typer.Argument(metavar="NAME", help="A folder under competitions/, or FOLDER.TRACK.")]


Verify = Annotated[
    bool, typer.Option("--verify", help="Read each file of the contest, also those whose times say it is unchanged.")
]


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(check)
    app.command()(folds)
    app.command()(score)
    app.command()(submit)
    app.command()(validate)
    app.command()(report)


def check(
    context: typer.Context,
    name: Competition,
    data: Data = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Decode every image; without it the check is much faster.")
    ] = True,
) -> None:
    """Test a competition's code on its real data: every image, every truth, and the submission format."""
    from medalist.runs.opening import open_contest
    from medalist.workflows.check import check as run_check

    here = session(context)
    contest = open_contest(name, data, here.runs)
    for line in run_check(contest, here.reporter, images):
        say(here.console, line)


def folds(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Accept the manual changes in the folds file.")] = False,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make the folds again; refused while runs use them.")
    ] = False,
) -> None:
    """Make (or read) the folds of a config, and show them with their hash."""
    from medalist.contest import contest_folds, folds_path, groups_found, keep_edited_folds, strata_changed
    from medalist.folds.folds import summary
    from medalist.runs.opening import open_contest
    from medalist.workflows.remake import remake_folds

    here = session(context)
    settings = load_config(here, config, overrides or ())
    contest = open_contest(settings.competition, data or settings.data, here.runs)
    if rehash and remake:
        raise ConfigError("--rehash keeps the folds file as it is now, --remake replaces it; use one of them")
    if rehash:
        keep_edited_folds(contest, settings.folds, here.runs)
    made = (remake_folds if remake else contest_folds)(contest, settings.folds, here.runs)
    strata = sorted({stratum for stratum in made.stratum.values() if stratum})
    if len(strata) > SHOWN_STRATA:  # with identities as strata there would be thousands of columns
        say(here.console, f"{len(strata)} strata, balanced over the folds")
        strata = []
    rows = [
        [line.fold, line.samples, line.groups, *(line.strata.get(stratum, 0) for stratum in strata)]
        for line in summary(made)
    ]
    source = settings.folds.file or folds_path(contest, settings.folds, here.runs)
    table(here.console, str(source), ["fold", "samples", "groups", *strata], rows)
    found = groups_found(contest, settings.folds, here.runs)
    if found:
        say(here.console, found)
    if strata_changed(contest, settings.folds, made):
        say(
            here.console,
            "warning: the contest has other strata now than these folds balance; --remake makes them again",
        )
    say(here.console, f"hash {made.hash}")


def score(
    context: typer.Context,
    run: RunName,
    overrides: Overrides = None,
    data: Data = None,
    nmi: Annotated[bool, typer.Option("--nmi", help="For embeddings: also cluster the queries by k-means.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Let submit decide like this from now on; alone: like the config again.")
    ] = False,
    tries: Annotated[bool, typer.Option("--tries", help="List the scores that were tried, and score nothing.")] = False,
    verify: Verify = False,
) -> None:
    """Score the OOF answers, read back from their file. A score with decide.* changed is a try; --keep keeps it."""
    from medalist.kinds import kind_of
    from medalist.runs.opening import open_run_contest
    from medalist.runs.runs import find_run, said_section
    from medalist.workflows.score import changed_settings, kept_settings, score_run

    here = session(context)
    found = find_run(run, here.runs)
    if tries:
        _list_tries(here, found)
        return
    settings = changed_settings(found, overrides or [], "decide")
    if not overrides and not keep:
        settings = kept_settings(found, settings)
    contest = open_run_contest(found, settings.competition, data, here.runs, verify)
    scores = score_run(found, contest, settings, here.reporter, ("nmi",) if nmi else (), keep)
    oof = scores["oof"]
    rows = [[f"fold {fold}", f"{value:.4f}", None] for fold, value in oof["folds"].items()]
    if len(oof["strata"]) <= SHOWN_STRATA:
        rows += [[name, f"{part['score']:.4f}", part["samples"]] for name, part in oof["strata"].items()]
    rows += [[name, f"{value:.4f}", None] for name, value in oof["parts"].items()]
    table(here.console, f"{found.competition}/{found.name}", ["part", "score", "samples"], rows)
    for each in kind_of(settings).answering().summary(scores):
        if each.rows:
            table(here.console, each.title, list(each.columns), [list(row) for row in each.rows])
        for line in each.lines:
            say(here.console, line)
    by_fold, by_sample = oof["standard_error"], oof["standard_error_samples"]
    over_folds = "" if by_fold is None else f", over folds {oof['mean']:.4f} ± {by_fold:.4f}"
    over_samples = "" if by_sample is None else f" ± {by_sample:.4f}"
    say(
        here.console,
        f"OOF {oof['value']:.4f}{over_samples} over {len(scores['by_sample'])} samples of "
        f"{len(oof['folds'])} of {oof['folds_of']} folds{over_folds}",
    )
    configured = said_section(found, settings, "predict")
    for fold, used in scores["predict"].items():
        if used is not None and used != configured:
            say(here.console, f"{fold} was predicted with {used}, not with the config's {configured}")
    if scores["optimistic"]:
        how = "train.keep = best" if settings.train.keep == "best" else "train.average.of = best"
        say(here.console, f"optimistic: {how} chose the weights on the samples they are scored on")
    _say_kept(here, found, scores)


def _say_kept(here: Session, run: Run, scores: Mapping[str, Any]) -> None:
    """Say whether a score was a try, and what submit uses, where that is not the config's own."""
    from medalist.runs.tries import read_tries

    kept, known = read_tries(run).kept, run.scores()
    is_kept = known is not None and known["rows"] == scores["rows"] and known["decide"] == scores["decide"]
    if not is_kept:
        uses = "the config's decide" if known is None else f"{known['oof']['value']:.4f}"
        say(here.console, f"a try: submit uses {uses} as before; --keep keeps this one, --tries lists all")
    elif kept is not None and kept.origin == "--keep":
        say(here.console, "kept: submit decides like this, not like the config; `score RUN --keep` alone goes back")


def _list_tries(here: Session, run: Run) -> None:
    from medalist.runs.tries import read_tries

    found = read_tries(run)
    rows = [
        [
            ", ".join(f"{key}={value}" for key, value in one.changes.items()) or "the config's",
            f"{one.value:.4f}",
            None if one.error is None else f"{one.error:.4f}",
            f"{len(one.folds)}/{one.folds_of}",
            "kept" if found.is_kept(one) else "",
        ]
        for one in sorted(found.tries, key=lambda one: -one.value)
    ]
    table(here.console, f"{run.competition}/{run.name}", ["decide", "OOF", "± samples", "folds", ""], rows)


def submit(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN [RUN ...]", help="Runs to blend with equal weights.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("submission.csv"),
    data: Data = None,
    verify: Verify = False,
    memory: Memory = None,
) -> None:
    """Predict the test part where it is missing, blend runs, make answers, write the submission and validate it."""
    from medalist.runs.runs import find_run
    from medalist.workflows.submit import submit as run_submit

    here = session(context)
    found = [find_run(run, here.runs) for run in runs]
    count = run_submit(found, output, data, here.runs, here.reporter, verify, memory)
    say(here.console, f"{output}: {counted(count, 'file' if output.suffix.lower() == '.zip' else 'row')}, valid")


def validate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission.")],
    competition: Annotated[str, typer.Option(help="A folder under competitions/, or FOLDER.TRACK.")],
    data: Data = None,
) -> None:
    """Check any file against the contest's rules. Each problem is a line with row, column, value and rule."""
    from medalist.errors import SubmissionError
    from medalist.formats.submission import problems_of_file
    from medalist.runs.opening import open_contest

    here = session(context)
    contest = open_contest(competition, data, here.runs)
    form = contest.evaluation.format_of_test(contest)
    problems = problems_of_file(file, form, contest.split.test, contest.reference)
    for problem in problems[:SHOWN]:
        say(here.console, f"{file}: {problem}")
    if problems:
        raise SubmissionError(f"{file}: {counted(len(problems), 'problem')}; {competition} would refuse it")
    say(here.console, f"{file}: valid for {competition} ({len(contest.split.test)} samples)")


SHOWN = 50
"""The most problems that `validate` lists."""

SHOWN_STRATA = 12
"""The most strata that `folds` and `score` list one by one."""


def report(context: typer.Context, run: RunName, data: Data = None) -> None:
    """Write the run's page: curves, scores by fold and stratum, and pictures of the worst and the best samples."""
    from medalist.runs.opening import open_run_contest
    from medalist.runs.runs import find_run
    from medalist.workflows.report import report as run_report
    from medalist.workflows.score import changed_settings

    here = session(context)
    found = find_run(run, here.runs)
    settings = changed_settings(found, [], "decide")
    page = run_report(found, open_run_contest(found, settings.competition, data, here.runs), settings)
    say(here.console, f"{page}")
