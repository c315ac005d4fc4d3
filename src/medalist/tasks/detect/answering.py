"""Answers of detectors: implements `tasks.protocols.Answering` for this kind. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.postprocess.box_settings import ObjectDecideConfig
from medalist.records import Boxes, BoxPrediction, Instances
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.stores.boxes import BoxStore
from medalist.tasks.detect.classes import asks_for_objects, classes_of
from medalist.tasks.detect.deciding import decided
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.tuning import tuned_answers, with_scored_cuts
from medalist.tasks.kept_classes import has_classes, refuse_other_classes
from medalist.tasks.protocols import Oof, Table, TestAnswers, WorstSample
from medalist.tasks.scored import (
    oof_path,
    refuse_other_weights,
    refuse_stale,
    scored_decide,
    through_file,
    trained_and_predicted,
)

if TYPE_CHECKING:
    from medalist.report.page import RunReport


def oof(
    run: Run,
    contest: Contest,
    settings: DetectSettings,
    reporter: Reporter,
    figures: Sequence[str] = (),
    rows: Path | None = None,
) -> Oof:
    """Decide the OOF predictions, write the answers as rows, read the rows back and score them."""
    if figures:
        raise ConfigError(f"--{figures[0]}: runs of boxes have no such figure; leave it out")
    classes = classes_of(contest)
    refuse_other_classes(run, classes)
    trained = trained_and_predicted(run, lambda part: made_by(run, contest, part))
    for fold in trained:
        refuse_other_weights(run, fold, settings.train.keep, made_by(run, contest, f"oof/fold{fold}"))
    predictions = oof_predictions(run, contest, trained)
    samples = tuple(sample for sample in contest.split.train if sample.id in predictions)
    truths = contest.evaluation.fold_truths(contest, run.folds(), trained)
    wanted = {sample.id: truths[sample.id] for sample in samples}
    found: dict[str, Boxes | Instances] = {}
    details: dict[str, Any] = {}
    if settings.decide.tuned != "none":
        ordered = {sample.id: predictions[sample.id] for sample in samples}
        found, details = tuned_answers(ordered, wanted, run.folds(), settings.decide, contest, classes, reporter)
    else:
        with reporter.progress("decide", len(samples)) as bar:
            for sample in samples:
                found[sample.id] = decided(predictions[sample.id], settings.decide, classes)
                bar.advance()
    path, form = rows or oof_path(run, contest), contest.competition.submission
    return through_file(path, contest, form, samples, wanted, found.items(), details)


def oof_predictions(run: Run, contest: Contest, folds: Sequence[int]) -> dict[str, BoxPrediction]:
    """Return the OOF predictions of these folds by sample id."""
    store = BoxStore(run.folder / "oof")
    found: dict[str, BoxPrediction] = {}
    for fold in folds:
        part, predictions = store.read(f"fold{fold}")
        found |= dict(zip(part.ids, predictions, strict=True))
    return found


def test(runs: Sequence[tuple[Run, DetectSettings]], contest: Contest, reporter: Reporter) -> TestAnswers:
    """Join the boxes that the runs predict for the test part, and decide as the first run was scored."""
    first, settings = runs[0]
    how: ObjectDecideConfig = scored_decide(first, TypeAdapter(ObjectDecideConfig), settings.decide)
    classes, ids = classes_of(contest), [sample.id for sample in contest.split.test]
    for run, _ in runs:
        refuse_other_classes(run, classes)
    if how.tuned != "none":
        refuse_stale(first, lambda part: made_by(first, contest, part))
        how = with_scored_cuts(first, how, classes)
        if len(runs) > 1:
            reporter.say(f"note: the blend uses the thresholds that were tuned on {first.name} only")
    stored = [BoxStore(run.folder / "test").predictions("test", ids) for run, _ in runs]
    answers = ((name, decided(joined(parts), how, classes)) for name, *parts in zip(ids, *stored, strict=True))
    return TestAnswers(contest.evaluation.format_of_test(contest), answers)


def joined(predictions: Sequence[BoxPrediction]) -> BoxPrediction:
    """Return what several runs predict for one image as one prediction, whose sources are those of all runs.

    All have masks, or none has.
    """
    masks = [one.masks for one in predictions if one.masks is not None]
    assert len(masks) in (0, len(predictions)), "runs with masks and runs without are not joined"
    starts = np.cumsum([0, *(one.sources for one in predictions)])
    source = [one.source + start for one, start in zip(predictions, starts[:-1].tolist(), strict=True)]
    return BoxPrediction(
        np.concatenate([one.xyxy for one in predictions]),
        np.concatenate([one.labels for one in predictions]),
        np.concatenate([one.scores for one in predictions]),
        np.concatenate(source).astype(np.int16),
        int(starts[-1]),
        np.concatenate(masks) if masks else None,
        predictions[0].size,
    )


def made_by(run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
    """Return what the predictions of a part were made with.

    Returns None where the part is not complete, or where the contest now has other classes than the run.
    """
    folder, _, name = part.rpartition("/")
    found = BoxStore(run.folder / (folder or name)).part(name)
    if found is None or (contest is not None and not has_classes(run, classes_of(contest))):
        return None
    return found.made_by


def blend_conflict(one: DetectSettings, other: DetectSettings) -> str | None:
    """Return None: what all detectors of a contest find can be joined."""
    return None


def summary(scores: Mapping[str, Any]) -> Sequence[Table]:
    """Return a table of the tuned thresholds and what they have gained; nothing where nothing was tuned."""
    found = scores.get("tuning")
    if not found:
        return ()
    line = (
        f"tuned: {found['honest']:.4f} with the thresholds tuned on the other folds, {found['naive']:.4f} with those "
        f"tuned on all folds, {found['untuned']:.4f} untuned"
    )
    rows = tuple((name, f"{value:.3f}") for name, value in found["thresholds"].items())
    return (Table("thresholds for the test part", ("class", "threshold"), rows, (line,)),)


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    # Here, because they import drawing, which scoring does not need.
    from medalist.tasks.detect import object_report, report

    if asks_for_objects(contest.competition):
        return object_report.worst(run, contest, oof)
    return report.worst(run, contest, oof)


def write_page(path: Path, run: Run, contest: Contest, settings: DetectSettings, oof: Oof, page: RunReport) -> None:
    """Write the report of boxes, or of objects: what is wrong with the answers, and pictures of the worst and best."""
    from medalist.tasks.detect import object_report, report

    if asks_for_objects(contest.competition):
        object_report.write_page(path, run, contest, oof, page)
        return
    report.write_page(path, run, contest, oof, page)
