"""Answers of classifiers: implements `tasks.protocols.Answering` for this kind. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum, isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.ensemble.blend import blend_tables
from medalist.errors import ConfigError, RunError
from medalist.parts import parts_of
from medalist.records import Labels
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.stores.tables import TableStore
from medalist.tasks.classify.classes import classes_of
from medalist.tasks.classify.decide import Values, decide, default_thresholds, is_tuned, own_decide, refuse_unfit
from medalist.tasks.classify.decide_settings import DecideConfig, ThresholdConfig, ThresholdsConfig
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.classify.tuning import OofPredictions, Tuned, tune
from medalist.tasks.kept_classes import has_classes, refuse_other_classes
from medalist.tasks.protocols import Oof, Table, TestAnswers, WorstSample
from medalist.tasks.scored import refuse_other_weights, refuse_stale, scored_decide, through_file, trained_and_predicted

if TYPE_CHECKING:
    from medalist.report.page import RunReport


def oof(
    run: Run,
    contest: Contest,
    settings: ClassifySettings,
    reporter: Reporter,
    figures: Sequence[str] = (),
    rows: Path | None = None,
) -> Oof:
    """Make answers from the OOF predictions, write them as rows, read the rows back and score them."""
    if figures:
        raise ConfigError(f"--{figures[0]}: runs of labels have no such figure; leave it out")
    classes = classes_of(contest)
    refuse_other_classes(run, classes)
    refuse_unfit(settings.decide, classes)
    trained = trained_and_predicted(run, lambda part: made_by(run, contest, part))
    for fold in trained:
        refuse_other_weights(run, fold, settings.train.keep, made_by(run, contest, f"oof/fold{fold}"))
    answered = oof_predictions(run, contest, trained)
    own = own_decide(settings.decide, parts_of(contest.competition))
    by_fold, details = _numbers(answered, contest, settings.decide, classes, reporter)
    found: dict[str, Labels] = {}
    for fold in trained:
        part = answered.rows(answered.folds == fold)
        answers = decide(part.values, settings.decide, by_fold[fold], classes, own)
        found |= dict(zip(part.ids, answers, strict=True))
    samples = tuple(sample for sample in contest.split.train if sample.id in found)
    written = [(sample.id, found[sample.id]) for sample in samples]
    form, truths = contest.competition.submission, {sample.id: answered.truths[sample.id] for sample in samples}
    found_oof = through_file(rows or run.folder / "oof.csv", contest, form, samples, truths, written, details)
    # A score that is no mean over samples (kappa, AUC, macro F1) has no meaning within a stratum, because a stratum may
    # have only one class.
    by_sample = found_oof.score.by_sample
    is_mean = isclose(found_oof.score.value, fsum(by_sample.values()) / len(by_sample), abs_tol=1e-9)
    return replace(found_oof, by_stratum=is_mean)


def oof_predictions(run: Run, contest: Contest, folds: Sequence[int]) -> OofPredictions:
    """Return the OOF predictions of these folds with their truths, in the order of the training samples."""
    store, of_folds = TableStore(run.folder / "oof"), run.folds()
    truths = contest.evaluation.fold_truths(contest, of_folds, folds)
    values: dict[str, Values] = {}
    for fold in folds:
        part, rows = store.read(f"fold{fold}")
        values |= dict(zip(part.ids, rows.astype(np.float64), strict=True))
    ids = tuple(sample.id for sample in contest.split.train if sample.id in values and sample.id in truths)
    right: dict[str, Labels] = {}
    for name in ids:
        truth = truths[name]
        assert isinstance(truth, Labels), type(truth).__name__
        right[name] = truth
    return OofPredictions(
        ids, right, np.stack([values[name] for name in ids]), np.array([of_folds.fold_of(n) for n in ids])
    )


def _numbers(
    answered: OofPredictions, contest: Contest, config: DecideConfig, classes: Sequence[str], reporter: Reporter
) -> tuple[dict[int, Values], dict[str, Any]]:
    """Return the thresholds or cuts for each fold, and what `scores.json` says about tuning (empty without tuning)."""
    folds = np.unique(answered.folds).tolist()
    if not is_tuned(config):
        return dict.fromkeys(folds, default_thresholds(config, classes)), {}
    with reporter.progress("tune", len(folds) + 1) as bar:
        found = tune(answered, config, classes, contest.competition.score, bar.advance)
    return dict(found.by_fold), {"tuning": _said(found, config, classes)}


def _said(found: Tuned, config: DecideConfig, classes: Sequence[str]) -> dict[str, Any]:
    """Return what `scores.json` says about tuning: thresholds by class, one threshold, or cuts, and three scores."""

    def named(numbers: Values) -> Any:
        if isinstance(config, ThresholdsConfig):
            return dict(zip(classes, numbers.tolist(), strict=True))
        return float(numbers[0]) if isinstance(config, ThresholdConfig) else numbers.tolist()

    return {
        "thresholds": named(found.final),
        "by_fold": {str(fold): named(numbers) for fold, numbers in found.by_fold.items()},
        "honest": found.honest,
        "naive": found.naive,
        "untuned": found.untuned,
    }


def test(runs: Sequence[tuple[Run, ClassifySettings]], contest: Contest, reporter: Reporter) -> TestAnswers:
    """Blend the test predictions of runs with equal weights, and decide as the first run was scored.

    Raises RunError where the thresholds of the first run were tuned on other predictions than it has now.
    """
    first, settings = runs[0]
    how: DecideConfig = scored_decide(first, TypeAdapter(DecideConfig), settings.decide)
    classes, ids = classes_of(contest), [sample.id for sample in contest.split.test]
    for run, _ in runs:
        refuse_other_classes(run, classes)
    numbers = scored_thresholds(first, how, classes)
    if is_tuned(how):
        refuse_stale(first, lambda part: made_by(first, contest, part))
        if len(runs) > 1:
            reporter.say(f"note: the blend uses the numbers that were tuned on {first.name} only")
    tables = [TableStore(run.folder / "test").predictions("test", ids) for run, _ in runs]
    values = np.stack([blend_tables(rows).values for rows in zip(*tables, strict=True)]).astype(np.float64)
    answers = decide(values, how, numbers, classes, own_decide(how, parts_of(contest.competition)))
    return TestAnswers(contest.evaluation.format_of_test(contest), zip(ids, answers, strict=True))


def scored_thresholds(run: Run, how: DecideConfig, classes: Sequence[str]) -> Values:
    """Return the thresholds or cuts: those of the last score where they are tuned, else those of the config.

    Raises RunError where nothing was tuned for these classes yet.
    """
    if not is_tuned(how):
        return default_thresholds(how, classes)
    scores = run.scores() or {}
    try:
        found = scores["tuning"]["thresholds"]
        match how:
            case ThresholdsConfig():
                numbers = np.array([float(found[name]) for name in classes])
            case ThresholdConfig():
                numbers = np.full(len(classes), float(found))
            case _:
                numbers = np.array([float(cut) for cut in found])
                if len(numbers) != len(classes) - 1 or (np.diff(numbers) <= 0).any():
                    raise ValueError(f"cuts {found}")
        if not np.isfinite(numbers).all():
            raise ValueError(f"thresholds {found}")
    except (TypeError, ValueError, LookupError):
        raise RunError(
            f"decide: nothing was tuned for these classes yet; run medalist score {run.competition}/{run.name} first"
        ) from None
    return numbers


def made_by(run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
    """Return what the predictions of a part were made with.

    Returns None where the part is not complete, or where the contest now has other classes than the run.
    """
    folder, _, name = part.rpartition("/")
    found = TableStore(run.folder / (folder or name)).part(name)
    if found is None or (contest is not None and not has_classes(run, classes_of(contest))):
        return None
    return found.made_by


def blend_conflict(one: ClassifySettings, other: ClassifySettings) -> str | None:
    """Return why two runs cannot be blended; None where they can.

    Grades cannot be blended with probabilities, and probabilities of one label not with those of several labels.
    """
    if one.gives_grades != other.gives_grades:
        return "cannot be blended: one run has grades, the other probabilities; take runs with the same kind of loss"
    if (one.task.mode == "multi") != (other.task.mode == "multi"):
        return (
            "cannot be blended: one run has probabilities of one label, the other of several labels; take runs with "
            "the same task.mode"
        )
    return None


def summary(scores: Mapping[str, Any]) -> Sequence[Table]:
    """Return a table of what tuning has gained, and of the tuned numbers; nothing where nothing was tuned."""
    found = scores.get("tuning")
    if not found:
        return ()
    line = (
        f"tuned: {found['honest']:.4f} with the numbers tuned on the other folds, {found['naive']:.4f} with those "
        f"tuned on all folds, {found['untuned']:.4f} untuned"
    )
    numbers = found["thresholds"]
    if isinstance(numbers, Mapping):
        rows = tuple((name, f"{value:.3f}") for name, value in numbers.items())
        return (Table("thresholds for the test part", ("class", "threshold"), rows, (line,)),)
    listed = ", ".join(f"{value:.3f}" for value in (numbers if isinstance(numbers, list) else [numbers]))
    return (Table(lines=(line, f"for the test part: {listed}")),)


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    from medalist.tasks.classify import report  # here, because it imports drawing, which scoring does not need

    return report.worst(run, contest, oof)


def write_page(path: Path, run: Run, contest: Contest, settings: ClassifySettings, oof: Oof, page: RunReport) -> None:
    """Write the report with confusions, calibration, curves, and the worst and most doubtful images."""
    from medalist.tasks.classify.page import write_classification_report
    from medalist.tasks.classify.report import classification_report

    write_classification_report(path, classification_report(run, contest, settings, oof, page))
