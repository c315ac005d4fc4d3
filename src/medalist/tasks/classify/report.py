"""Gather the data of a classification run's report from its predictions and scores. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.errors import RunError
from medalist.files import sha256_json
from medalist.metrics.label_arrays import as_flags
from medalist.records import Labels
from medalist.report.page import RunReport, extremes
from medalist.report.pictures import SIDE, fit_image, printable
from medalist.runs.runs import Run
from medalist.tasks.classify.answering import made_by, oof_predictions, scored_thresholds
from medalist.tasks.classify.classes import classes_of
from medalist.tasks.classify.decide import Values, decided_names, grades
from medalist.tasks.classify.decide_settings import DecideConfig
from medalist.tasks.classify.page import ClassificationReport, ImageTile, chosen
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.pictured import pictured
from medalist.tasks.protocols import Oof, WorstSample
from medalist.tasks.scored import scored_decide


def classification_report(
    run: Run, contest: Contest, settings: ClassifySettings, oof: Oof, page: RunReport
) -> ClassificationReport:
    """Return the data of the report. Raises RunError where the predictions are not those that were scored."""
    classes, scores = classes_of(contest), page.scores
    folds = [int(fold) for fold in scores["oof"]["folds"]]
    for fold in folds:
        made = made_by(run, contest, f"oof/fold{fold}")
        if made is None or (scores.get("predictions") or {}).get(f"fold{fold}") != sha256_json(dict(made)):
            raise RunError(
                f"the predictions of fold {fold} in {run.folder} are not those that were scored; "
                f"run medalist score {run.competition}/{run.name} again"
            )
    answered = oof_predictions(run, contest, folds)
    ids, values, mode = answered.ids, answered.values, settings.task.mode
    how: DecideConfig = scored_decide(run, TypeAdapter(DecideConfig), settings.decide)
    numbers = scored_thresholds(run, how, classes)
    names = decided_names(values, how, numbers, classes)
    # Where the written rows have labels, these are shown. Other formats write only probabilities, so for them the
    # labels are decided here.
    known = {name: _labels(oof.answers[name]) for name in ids}
    answers = {name: known[name] if known[name].names else Labels(one) for name, one in zip(ids, names, strict=True)}
    probabilities = None if settings.gives_grades else values
    doubt = dict(zip(ids, _doubt(values, mode, numbers).tolist(), strict=True))
    worst, doubtful = chosen(oof.score.by_sample, doubt, 12)
    row_of, by_id, of_folds = {name: row for row, name in enumerate(ids)}, {s.id: s for s in oof.samples}, run.folds()

    def tiles(some: Sequence[str]) -> list[ImageTile]:
        return [
            ImageTile(
                name,
                of_folds.fold_of(name),
                labels_in_words(oof.truths[name]),
                labels_in_words(answers[name]),
                _note(values[row_of[name]], classes, probabilities is not None),
                oof.score.by_sample[name],
                fit_image(contest.competition.image(by_id[name].images[0]), SIDE),
            )
            for name in some
        ]

    truths = {name: answered.truths[name] for name in ids}
    return ClassificationReport(
        page,
        classes,
        mode,
        as_flags(truths, ids, classes, "truth"),
        as_flags(answers, ids, classes, "answer"),
        probabilities,
        tiles(worst),
        tiles(doubtful),
        scores.get("tuning") or {},
        _facts(settings, how, answered.truths, classes),
    )


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    return pictured(run, contest, oof, extremes(oof.score.by_sample)[0], labels_in_words)


def labels_in_words(answer: object) -> str:
    """Return the first five labels of an answer or a truth as text; "no label" where it has none."""
    return ", ".join(printable(name, 80) for name in _labels(answer).names[:5]) or "no label"


def _labels(answer: object) -> Labels:
    assert isinstance(answer, Labels), type(answer).__name__
    return answer


def _doubt(values: Values, mode: str, numbers: Values) -> Values:
    """Return the margin of each answer, float64[N]; a smaller margin is a more doubtful answer.

    It is the distance to the nearest threshold or cut, or the difference between the two highest probabilities.
    """
    if mode == "multi":
        doubt: Values = np.abs(values - (numbers if len(numbers) else 0.5)).min(axis=1)
    elif len(numbers) == 0 and values.shape[1] == 1:
        doubt = np.ones(len(values))  # with only one class no answer is doubtful
    elif values.shape[1] == 1:
        doubt = np.abs(grades(values)[:, np.newaxis] - numbers).min(axis=1)
    else:
        top = np.sort(values, axis=1)[:, -2:]
        doubt = top[:, 1] - top[:, 0]
    return doubt


def _note(row: Values, classes: Sequence[str], is_probability: bool) -> str:
    if not is_probability:
        return f"grade {row[0]:.2f}"
    best = np.argsort(-row, kind="stable")[:2]
    return ", ".join(f"p({classes[at]:.24}) {row[at]:.2f}" for at in best.tolist())


def _facts(
    settings: ClassifySettings, how: DecideConfig, truths: Mapping[str, Labels], classes: Sequence[str]
) -> list[tuple[str, str]]:
    counts = [len(truth.names) for truth in truths.values()]
    found = [("samples", f"{len(truths):,}"), ("classes", f"{len(classes):,}"), ("task", settings.task.mode)]
    if settings.task.mode == "multi":
        found.append(("labels of an image", f"{np.mean(counts):.2f} on average, {max(counts)} at most"))
        found.append(("without a label", f"{counts.count(0):,} images"))
    return [*found, ("decided by", how.kind), ("loss", settings.loss.kind)]
