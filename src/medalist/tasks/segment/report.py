"""Gather the data of a segmentation run's report from its maps and scores. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from medalist.competition import Competition
from medalist.config import OwnConfig
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.files import sha256_json
from medalist.records import Answer, Mask
from medalist.report.classes import classes_in
from medalist.report.labels import foreground, shows_nothing, void_of
from medalist.report.page import RunReport, SamplePicture, extremes
from medalist.report.pictures import joined
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof, WorstSample
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.answering import made_by
from medalist.tasks.segment.channels import class_numbers
from medalist.tasks.segment.class_section import ClassesReport
from medalist.tasks.segment.classes import ClassPixels, class_pixels
from medalist.tasks.segment.deciding import has_second_stage, roles_of
from medalist.tasks.segment.drawing import Drawing, StoredMaps, class_picture_of, sample_picture
from medalist.tasks.segment.objects import compared, totals, wrong_pixels
from medalist.tasks.segment.page import SegmentationReport, write_segmentation_report
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.thresholds import decided_channel, swept

MOST_DETAILS = 2
"""Enlarged places of one image at most."""
MOST_CLASSES, MOST_OF_CLASS = 20, 2
"""Classes whose worst images are shown, those with the lowest IoU, and images of one class, at most."""
SIDE = 448
"""Longer side of a panel of a worst sample, in pixels."""


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first, without those that are empty in truth and answer."""
    folds = run.folds()
    drawing = _drawing(contest, oof, "")
    oof = drawing.oof
    by_id = {sample.id: sample for sample in oof.samples}
    wrong = {name: wrong_pixels(oof.truths[name], oof.answers[name]) for name in by_id}
    return [
        WorstSample(
            name,
            folds.fold_of(name),
            by_id[name].stratum or "",
            oof.score.by_sample[name],
            "",
            "",
            joined(drawing.panels(drawing.image(by_id[name]), name, SIDE)),
        )
        for name in _told(drawing, wrong)[0]
    ]


def write_page(path: Path, run: Run, contest: Contest, settings: SegmentSettings, oof: Oof, page: RunReport) -> None:
    """Write the report: classes, objects by size, the score by threshold, pictures of the worst and best samples."""
    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    maps = _scored_maps(run, contest, settings, how, page)
    drawing = _drawing(contest, oof, maps)
    oof = drawing.oof
    found = {
        sample.id: compared(oof.truths[sample.id], oof.answers[sample.id], drawing.background) for sample in oof.samples
    }
    lowest, best = _told(drawing, {name: one.wrong for name, one in found.items()})
    by_id, folds = {sample.id: sample for sample in oof.samples}, run.folds()
    sweeps = []
    # What a decision of the contest's own folder compares is unknown, and a second stage is trained for its thresholds.
    if isinstance(maps, StoredMaps) and not isinstance(how, OwnConfig) and not has_second_stage(how):
        score = contest.competition.score
        sweeps = swept(
            how, oof.samples, oof.truths, folds.fold_of, maps.read, score, roles_of(how, settings, contest.competition)
        )

    def drawn(names: Sequence[str], details: int) -> list[SamplePicture]:
        return [sample_picture(drawing, by_id[name], folds.fold_of(name), found[name], details) for name in names]

    report = SegmentationReport(
        page.with_pictures(drawn(lowest, MOST_DETAILS), drawn(best, 0)),
        totals(found.values()),
        any(isinstance(truth, Mask) for truth in oof.truths.values()),
        sum(_nothing(drawing, name) for name in found),
        sweeps,
        maps if isinstance(maps, str) else "",
        _classes_report(run, drawing),
        any(void_of(truth) is not None for truth in oof.truths.values()),
    )
    write_segmentation_report(path, report)


def _drawing(contest: Contest, oof: Oof, maps: StoredMaps | str) -> Drawing:
    classes = classes_in(contest.competition, (*oof.truths.values(), *oof.answers.values()))
    if classes is None:  # a truth may have 255 for its one class, where the answers have 1
        oof = replace(oof, truths=_binary(oof.truths), answers=_binary(oof.answers))
    return Drawing(contest, oof, classes, maps)


def _binary(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    return {name: foreground(answer) for name, answer in answers.items()}


def _classes_report(run: Run, drawing: Drawing) -> ClassesReport | None:
    """Return the figures of the classes, with pictures of their worst samples; None where there are no classes."""
    classes, oof, folds = drawing.classes, drawing.oof, run.folds()
    if classes is None:
        return None
    asked = {sample.id: oof.truths[sample.id] for sample in oof.samples}
    pixels, by_id = class_pixels(asked, oof.answers, classes.names), {one.id: one for one in oof.samples}
    pictures = {
        number: [
            class_picture_of(drawing, by_id[image.id], folds.fold_of(image.id), image, number)
            for image in pixels.worst(number, MOST_OF_CLASS)
        ]
        for number in _lowest(pixels)
    }
    return ClassesReport(classes, pixels, pictures)


def _lowest(pixels: ClassPixels) -> list[int]:
    """Return the numbers of the classes with errors and the lowest IoU, the lowest first."""
    known = [(row.iou, row.number) for row in pixels.rows() if row.iou is not None and row.iou < 1]
    return [number for _, number in sorted(known)[:MOST_CLASSES]]


def _scored_maps(
    run: Run, contest: Contest, settings: SegmentSettings, how: SegmentDecide, page: RunReport
) -> StoredMaps | str:
    """Return the maps that the score was made from, or why they cannot be shown, as a sentence."""
    scored = page.scores.get("predictions") or {}
    for fold in page.scores["oof"]["folds"]:
        made = made_by(run, contest, f"oof/fold{fold}")
        if made is None or scored.get(f"fold{fold}") != sha256_json(dict(made)):
            again = f"run medalist score {run.competition}/{run.name} again"
            return f"The stored predictions of fold {fold} are not those that were scored; to see thresholds, {again}."
    channels = settings.model.channels
    decided = channels[0] if isinstance(how, OwnConfig) else decided_channel(how, channels)
    store = MapStore(run.folder / "oof")
    files = store.files(f"fold{fold}" for fold in page.scores["oof"]["folds"])
    return StoredMaps(store, settings.model.outputs, decided, files, _numbers(settings, contest.competition))


def _numbers(settings: SegmentSettings, competition: Competition) -> tuple[int, ...]:
    """Return the class of each channel; nothing where a decision of the contest's folder gives them another meaning."""
    try:
        return class_numbers(settings.model.channels, competition.classes, settings.task.activation)
    except ConfigError:
        return ()


def _nothing(drawing: Drawing, name: str) -> bool:
    """Return whether truth and answer of a sample are both empty, so that its picture would show nothing."""
    return shows_nothing(drawing.oof.truths[name], drawing.oof.answers[name], drawing.background)


def _told(drawing: Drawing, wrong: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Return the ids of the worst and of the best samples that have something to show."""
    scores = drawing.oof.score.by_sample
    return extremes({name: one for name, one in scores.items() if not _nothing(drawing, name)}, wrong=wrong)
