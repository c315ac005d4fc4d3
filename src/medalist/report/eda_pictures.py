"""Pictures of a contest's samples with their truth, and with the answers of a run, for notebooks.

Figures are matplotlib Figures, made without pyplot. Samples without a stratum have the stratum "all" here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from medalist.competition import Competition
from medalist.records import Answer, Boxes, Mask, Sample
from medalist.report.box_errors import outcome_of
from medalist.report.box_pictures import box_panels, box_picture
from medalist.report.classes import Classes, class_panels, class_picture, classes_in, legend_picture
from medalist.report.eda import ALL, sampled
from medalist.report.labels import shows_nothing, void_of
from medalist.report.pictures import Picture, captioned, grid, joined, outline, side_by_side, stretched


def targets_figure(
    competition: Competition, data: Path, samples: Sequence[Sample], each: int = 4, seed: int = 0
) -> Figure:
    """Draw `each` samples of each stratum, chosen at random with a seed, with their truth.

    Objects are outlined. Classes have the colours of the report, with a legend. Void pixels are hatched. Boxes have the
    colours of their classes, and their names.
    """
    by_stratum: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_stratum[sample.stratum or ALL].append(sample)
    chosen = {name: sampled(by_stratum[name], each, seed) for name in sorted(by_stratum)}
    truths = {sample.id: competition.truth(data, sample) for some in chosen.values() for sample in some}
    classes = classes_in(competition, truths.values())
    rows = [
        grid(
            [_with_truth(competition, sample, truths[sample.id], classes) for sample in some],
            each,
            [sample.id for sample in some],
        )
        for some in chosen.values()
    ]
    width = max((row.shape[1] for row in rows), default=1)
    titled = [
        captioned(_widened(row, width), f"   {name}: {len(by_stratum[name])} samples")
        for name, row in zip(chosen, rows, strict=True)
    ]
    return picture_figure(_with_legend(np.concatenate(titled) if titled else grid([], 1), classes, truths.values()))


def oof_figure(
    competition: Competition,
    samples: Sequence[Sample],
    truths: Mapping[str, Answer],
    answers: Mapping[str, Answer],
    by_sample: Mapping[str, float],
    *,
    most: int = 12,
) -> Figure:
    """Draw image, truth and answer of `most` samples, spread evenly from the worst score to the best.

    Where masks have classes, truth and answer have the colours of the report, with a legend, and the wrong pixels are
    beside them in white.

    The mappings are by sample id; they need only the samples that were scored, which are those of `by_sample`. Samples
    that are empty in truth and answer are left out, because their pictures would show nothing.
    """
    by_id = {sample.id: sample for sample in samples}
    classes = classes_in(competition, (*truths.values(), *answers.values()))
    background = classes is None or classes.background
    told = [name for name in by_sample if not shows_nothing(truths[name], answers[name], background)]
    ordered = sorted(told, key=lambda name: (by_sample[name], name))
    places = np.linspace(0, max(0, len(ordered) - 1), min(most, len(ordered))).round().astype(int)
    shown = [ordered[place] for place in places]
    pictures = []
    for name in shown:
        image, truth, answer = competition.image(by_id[name].images[0]), truths[name], answers[name]
        if classes is not None and isinstance(truth, Mask) and isinstance(answer, Mask):
            pictures.append(joined(class_panels(image, truth, answer, classes, 384)))
        elif isinstance(truth, Boxes) and isinstance(answer, Boxes):
            named = _box_classes(competition, truth, answer)
            pictures.append(joined(box_panels(image, truth, answer, outcome_of(truth, answer), named, 384)))
        else:
            pictures.append(side_by_side(image, truth, answer, side=384))
    sheet = grid(pictures, 1, [f"{by_sample[name]:.3f}   {name}" for name in shown])
    return picture_figure(_with_legend(sheet, classes, truths.values()))


def picture_figure(picture: Picture) -> Figure:
    """Return a Figure that shows only the picture, with one pixel of the figure for each pixel of the picture."""
    figure = Figure(figsize=(picture.shape[1] / 100, picture.shape[0] / 100), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, interpolation="antialiased")
    ax.set_axis_off()
    return figure


def _with_truth(competition: Competition, sample: Sample, truth: Answer, classes: Classes | None) -> Picture:
    image = competition.image(sample.images[0])
    if classes is not None and isinstance(truth, Mask):
        return class_picture(image, truth, classes, 320)
    if isinstance(truth, Boxes):
        return box_picture(image, truth, _box_classes(competition, truth), 320)
    return outline(stretched(image), truth, side=320)


def _box_classes(competition: Competition, *boxes: Boxes) -> tuple[str, ...]:
    """Return the names of the classes of boxes; numbers without a name are called "class 7"."""
    known = competition.classes or tuple(getattr(competition.submission, "classes", None) or ())
    highest = max((int(one.labels.max(initial=-1)) for one in boxes), default=-1)
    return (*known, *(f"class {number}" for number in range(len(known), highest + 1)))


def _with_legend(sheet: Picture, classes: Classes | None, truths: Iterable[Answer]) -> Picture:
    """Put the legend of the classes above a sheet of pictures; return the sheet alone where there are no classes."""
    if classes is None:
        return sheet
    width = max(sheet.shape[1], 200)
    void = any(void_of(truth) is not None for truth in truths)
    return np.concatenate([legend_picture(classes, width, void), _widened(sheet, width)])


def _widened(picture: Picture, width: int) -> Picture:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), mode="edge")
