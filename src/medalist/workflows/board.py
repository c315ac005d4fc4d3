"""`medalist board`: list every run with its score, standard errors, cost, and changes. All is read from the files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalist.competition import load_competition
from medalist.config import differences
from medalist.errors import ConfigError, MedalistError, RunError
from medalist.kinds import run_settings
from medalist.reporter import read_status
from medalist.runs.curves import metrics_rows
from medalist.runs.plans import PlanError, plan_error, planned, short_clock, took
from medalist.runs.runs import Lock, Run, all_runs, config_hash
from medalist.runs.sources import Sources, changed, predicting_sources, scoring_sources, stale_parts
from medalist.runs.submissions import Submission, read_submissions, submission_of_run, submissions_file
from medalist.runs.tries import is_edited, is_unproved, read_tries

if TYPE_CHECKING:
    from medalist.experiment import Experiment

COLUMNS = ("run", "OOF", "± folds", "± samples", "public", "private", "folds", "seconds", "plan", "against", "changed")

KAGGLE = ("public", "private")
"""The columns of scores that Kaggle gave."""

FOLD = re.compile("fold(0|[1-9][0-9]{0,5})").fullmatch

WORDLESS = ("data", "tracking")
"""Keys of a config whose changes are not listed, because they do not change the result."""

LONGEST = 120
"""The most characters of a change that the board shows; the change of a whole augmentation may be longer."""


@dataclass(frozen=True, eq=False)
class Entry:
    """The values that the board reads from a run's files.

    oof: the section `oof` of scores.json, empty for a run without a score. trained: the number of trained folds.
    unfinished: a text for each fold whose training has begun and not ended. seconds: the time of the trained folds.
    planned: the planned seconds of all folds, or None where there is no plan of this config. off: the error of the plan
    over the folds that are done. born: the time of the run's start (Unix time). doubts: words about what does not fit
    together any more, such as a score of other code. gone: the folds that were scored and whose weights are not there
    any more.
    """

    run: Run
    settings: Experiment
    lock: Lock
    oof: dict[str, Any]
    trained: int
    unfinished: tuple[str, ...]
    seconds: float
    planned: float | None
    off: PlanError | None
    born: float
    doubts: tuple[str, ...] = ()
    gone: tuple[int, ...] = ()


def board_rows(root: Path, competition: str | None = None) -> list[list[Any]]:
    """Return a row for each run under `root`: for each contest the best score first, and runs without a score last.

    After all contests come the runs whose files are damaged, with the error, so that they do not hide the others.
    """
    entries: list[Entry] = []
    damaged: list[list[Any]] = []
    sources = cache(_sources)  # the runs of a contest share them
    sent: dict[str, list[Submission]] = {}
    for run in all_runs(root):
        if competition is None or run.competition == competition:
            try:
                entries.append(read_entry(run, sources))
            except MedalistError as error:
                damaged.append(_damaged(f"{run.competition}/{run.name}", error))
            if run.competition not in sent:
                sent[run.competition] = []
                try:
                    sent[run.competition] = read_submissions(root, run.competition)
                except MedalistError as error:
                    ledger = submissions_file(root, run.competition)
                    damaged.append(_damaged(f"{run.competition}/{ledger.name}", error))
    entries.sort(key=lambda entry: (entry.run.competition, -entry.oof.get("value", float("-inf")), entry.run.name))
    return [_row(entry, parent_of(entry, entries), sent[entry.run.competition]) for entry in entries] + damaged


def _damaged(name: str, error: MedalistError) -> list[Any]:
    return [name, *[""] * (len(COLUMNS) - 2), " ".join(str(error).split())]


def refuse_unknown(root: Path, competition: str) -> None:
    """Raise ConfigError for the name of a contest that does not exist; it names the nearest and those with runs."""
    try:
        load_competition(competition)
    except ConfigError as error:
        known = sorted({run.competition for run in all_runs(root)})
        raise ConfigError(f"{error}; contests with runs under {root}: {', '.join(known) or 'none'}") from None


def _sources(competition: str, kind: str) -> tuple[Sources, Sources]:
    return scoring_sources(competition, kind), predicting_sources(competition, kind)


def read_entry(run: Run, sources: Callable[[str, str], tuple[Sources, Sources]] = _sources) -> Entry:
    """Read a run's files. Raises MedalistError, which names the file or the run, where one is damaged.

    sources: a function that returns the hashes of the code that scores, and of the code that predicts, of a contest and
    its kind.
    """
    try:
        trained = run.trained_folds()
        settings, lock = run_settings(run), run.lock()
        by_fold = planned(run, lock.config)
        whole = None if by_fold is None else sum(by_fold.values())
        born = (run.folder / "lock.json").stat().st_mtime  # written once, before the first epoch
        scores = run.scores() or {}
        oof = scores.get("oof", {})
        seconds = sum(_seconds(run, fold) for fold in trained)
        doubts = _doubts(run, settings, lock, scores, sources)
        gone = tuple(sorted({int(fold) for fold in oof.get("folds", ())} - set(trained)))
        begun, off = tuple(_unfinished(run, trained)), plan_error(run)
        made = Entry(run, settings, lock, oof, len(trained), begun, seconds, whole, off, born, doubts, gone)
        _row(made, None)  # whatever cannot be shown is a fault of this run's files alone
        float(oof.get("value", 0.0)), set(lock.overrides)
    except (TypeError, ValueError, LookupError, AttributeError, OSError, OverflowError) as error:
        reason = " ".join(str(error).split())[:80]
        raise RunError(f"{run.folder} has a damaged file ({type(error).__name__}: {reason})") from None
    return made


def _unfinished(run: Run, trained: Sequence[int]) -> Iterator[str]:
    """Yield for each fold that is not trained to its end how far it is, and how long ago it last wrote a file."""
    for number, folder in sorted((int(path.name[4:]), path) for path in run.folder.glob("fold*") if FOLD(path.name)):
        moments = [] if number in trained or not folder.is_dir() else [_moment(path) for path in folder.iterdir()]
        if not moments:
            continue
        epochs = len(metrics_rows(run, number)) if (folder / "metrics.jsonl").exists() else 0
        status = read_status(folder / "progress.json")
        left = f", {short_clock(status.left_seconds)} left" if status and status.left_seconds is not None else ""
        ago = max(0.0, time.time() - max(moments))
        yield f"fold {number} after epoch {epochs}{left} ({short_clock(ago)} ago)"


def _moment(path: Path) -> float:
    """Return when a file was written; 0 where it has just been deleted, as temporary files are."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _doubts(
    run: Run,
    settings: Experiment,
    lock: Lock,
    scores: dict[str, Any],
    sources: Callable[[str, str], tuple[Sources, Sources]],
) -> tuple[str, ...]:
    """Return words about what has changed since a run was made or scored; no prediction is read, only who made it."""
    found = []
    if config_hash(settings, settings) != lock.config:
        found.append("config.yaml edited")
    if scores:
        kept = read_tries(run).kept
        scoring, predicting = sources(settings.competition, settings.task.kind)
        if is_unproved(run, kept):
            found.append("tries.json gone, scores.json may be edited")
        elif is_edited(scores, kept):
            found.append("scores.json edited")
        elif kept is not None and changed(kept.sources, scoring):
            found.append("stale: scored by other code")
        if stale_parts(run, "oof", predicting):
            found.append("stale: predicted by other code")
    return tuple(found)


def _seconds(run: Run, fold: int) -> float:
    """Return the seconds of training and prediction of a fold; of its epochs alone where cost.json is missing."""
    rows = metrics_rows(run, fold)
    known = took(run, fold)
    return sum(float(row.get("seconds", 0.0)) for row in rows) if known is None else known


def parent_of(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """Return the run that `entry` is compared with, or None where there is none.

    It is a run of the same config file whose overrides are a part of this run's overrides. Where there is no such run,
    it is an older run of the same contest. Of several, it is the one whose config differs in the fewest keys.
    """
    others = [other for other in entries if other.run.competition == entry.run.competition and other is not entry]
    overrides = set(entry.lock.overrides)
    fewer = [
        other
        for other in others
        if other.lock.config_file == entry.lock.config_file and set(other.lock.overrides) < overrides
    ]
    # Runs of the same moment are ordered by name, because two runs must not be each other's parent.
    older = [other for other in others if (other.born, other.run.name) < (entry.born, entry.run.name)]
    return min(fewer or older, key=lambda other: (len(_changes(entry, other)), other.run.name), default=None)


def _row(entry: Entry, parent: Entry | None, submissions: Sequence[Submission] = ()) -> list[Any]:
    oof = entry.oof
    sent = submission_of_run(f"{entry.run.competition}/{entry.run.name}", submissions)
    changes = [_change(key, old, new) for key, new, old in _changes(entry, parent)] if parent else []
    if parent is None:
        changes = [_cut(override) for override in entry.lock.overrides]
    folds = f"{len(oof['folds'])}/{oof['folds_of']}" if oof else f"{entry.trained} trained"
    lost = [f"fold{fold} was scored and is gone" for fold in entry.gone]
    return [
        f"{entry.run.competition}/{entry.run.name}",
        " ".join((_figure(oof.get("value")), *(f"({doubt})" for doubt in entry.doubts))).strip(),
        _figure(oof.get("standard_error")),
        _figure(oof.get("standard_error_samples")),
        "" if sent is None else _told(sent.public, sent),
        "" if sent is None else _told(sent.private, sent),
        "; ".join([folds, *entry.unfinished]),
        f"{entry.seconds:.0f}",
        _plan(entry),
        parent.run.name if parent else "",
        ", ".join([*lost, *changes]),
    ]


def _told(score: float | None, sent: Submission) -> str:
    """Return Kaggle's score of a run's submission; of a blend of runs it says so."""
    blend = f" (blend of {len(sent.runs)})" if len(sent.runs) > 1 else ""
    return "" if score is None else f"{score:g}{blend}"


def _plan(entry: Entry) -> str:
    if entry.planned is None:
        return ""
    told = f"planned {short_clock(entry.planned)}"
    return f"{told}, off by {entry.off.percent}" if entry.off else told


def _change(key: str, old: Any, new: Any) -> str:
    text = f"{key} {_plain(old)} → {_plain(new)}"
    return text if len(text) <= LONGEST else _cut(f"{key} → {_plain(new)}")


def _plain(value: Any) -> str:
    """Return a value as it is typed: lists and blocks without the quotes of Python."""
    return str(value).replace("'", "") if isinstance(value, list | dict) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (medalist diff shows it)"


def _changes(entry: Entry, parent: Entry) -> list[tuple[str, Any, Any]]:
    return [change for change in differences(entry.settings, parent.settings) if change[0] not in WORDLESS]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
