"""The report of a detection run: pictures of its worst and best images with their boxes. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from medalist.contest import Contest
from medalist.records import Answer, Boxes, Sample
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import FALSE, FOUND, SIDE, Colour, Picture, fit_image, joined
from medalist.runs.runs import Run
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.protocols import Oof, WorstSample


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    folds, by_id = run.folds(), {sample.id: sample for sample in oof.samples}
    return [
        WorstSample(
            name,
            folds.fold_of(name),
            by_id[name].stratum or "",
            oof.score.by_sample[name],
            "",
            "",
            _panels(contest, by_id[name], oof.truths[name], oof.answers[name]),
        )
        for name in extremes(oof.score.by_sample)[0]
    ]


def write_detection_report(
    path: Path, run: Run, contest: Contest, settings: DetectSettings, oof: Oof, page: RunReport
) -> None:
    """Write the page with pictures of the worst and of the best images."""
    folds, by_id = run.folds(), {sample.id: sample for sample in oof.samples}
    lowest, best = extremes(oof.score.by_sample)

    def drawn(names: Sequence[str]) -> list[SamplePicture]:
        return [
            SamplePicture(
                name,
                folds.fold_of(name),
                oof.score.by_sample[name],
                by_id[name].stratum,
                _panels(contest, by_id[name], oof.truths[name], oof.answers[name]),
            )
            for name in names
        ]

    write_report(path, page.with_pictures(drawn(lowest), drawn(best)))


def _panels(contest: Contest, sample: Sample, truth: Answer, answer: Answer) -> Picture:
    image = fit_image(contest.competition.image(sample.images[0]), SIDE)
    return joined([image, _with_boxes(image, truth, sample, FOUND), _with_boxes(image, answer, sample, FALSE)])


def _with_boxes(image: Picture, boxes: Answer, sample: Sample, colour: Colour) -> Picture:
    assert isinstance(boxes, Boxes), type(boxes).__name__
    picture = image.copy()
    scale = np.array([image.shape[1] / sample.size[1], image.shape[0] / sample.size[0]] * 2)
    for x1, y1, x2, y2 in np.rint(boxes.xyxy * scale).astype(int).tolist():
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 1)
    return picture
