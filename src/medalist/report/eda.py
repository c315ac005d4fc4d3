"""Tables and figures of a contest's data, for notebooks. They work for any competition.

Tables are pandas DataFrames; figures are matplotlib Figures, made without pyplot. Samples without a stratum have the
stratum "all" here.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from medalist.competition import Competition, find_groups
from medalist.folds.folds import Folds, make_folds, summary
from medalist.folds.settings import FoldsConfig
from medalist.records import Answer, Instances, Labels, Mask, Ranking, Sample, Split
from medalist.report.charts import label, legend, plain_axes, stratum_colours
from medalist.report.pictures import Picture, captioned, grid, outline, shows_nothing, side_by_side, stretched

ALL = "all"  # the stratum of samples that have none


@dataclass(frozen=True, eq=False)
class Description:
    """Tables of images and objects, from one pass over images and truths.

    images: a row for each sample: id, stratum, group, height, width, objects, covered (the share of pixels with an
        object), brightness and saturation (see the functions of these names); the last three are in 0..1.
    objects: a row for each object: id, stratum, area in pixels.
    """

    images: pd.DataFrame
    objects: pd.DataFrame


def sampled(samples: Sequence[Sample], most: int, seed: int = 0) -> list[Sample]:
    """Return at most `most` samples, drawn at random with a seed, in the order given."""
    if len(samples) <= most:
        return list(samples)
    return [samples[place] for place in sorted(random.Random(seed).sample(range(len(samples)), most))]


def describe(competition: Competition, data: Path, samples: Sequence[Sample]) -> Description:
    """Read the image and the truth of each train sample, one at a time. Raises DataError where they cannot be read."""
    images: list[dict[str, object]] = []
    areas: list[pd.DataFrame] = []
    for sample in samples:
        image = competition.image(sample.images[0])
        area = object_areas(competition.truth(data, sample))
        stratum = sample.stratum or ALL
        images.append(
            {
                "id": sample.id,
                "stratum": stratum,
                "group": sample.group,
                "height": image.shape[0],
                "width": image.shape[1],
                "objects": len(area),
                "covered": area.sum() / (image.shape[0] * image.shape[1]),
                "brightness": brightness(image),
                "saturation": saturation(image),
            }
        )
        areas.append(pd.DataFrame({"id": sample.id, "stratum": stratum, "area": area}))
    # Both tables name all strata, so that a stratum has one colour in all figures, also where it has no objects.
    strata = pd.CategoricalDtype(sorted({str(row["stratum"]) for row in images}))
    columns = ["id", "stratum", "group", "height", "width", "objects", "covered", "brightness", "saturation"]
    objects = pd.concat(areas, ignore_index=True) if areas else pd.DataFrame(columns=["id", "stratum", "area"])
    table = pd.DataFrame(images, columns=columns)
    return Description(table.astype({"stratum": strata}), objects.astype({"stratum": strata}))


def object_areas(truth: Answer) -> NDArray[np.int64]:
    """Return the area of each object in pixels; a mask's objects are its connected parts (4 neighbours)."""
    match truth:
        case Instances(labels):
            return np.bincount(labels.ravel())[1:].astype(np.int64)
        case Mask(classes):
            parts = [ndimage.label(classes == name)[0] for name in np.unique(classes) if name > 0]
            areas = [np.bincount(part.ravel())[1:] for part in parts]
            return np.concatenate([np.zeros(0, dtype=np.int64), *areas]).astype(np.int64)
        case Ranking() | Labels():
            return np.zeros(0, dtype=np.int64)  # identities and labels belong to the whole image, not to objects
        case _:
            assert_never(truth)


def brightness(image: Picture) -> float:
    """Return the mean of all pixel values, 0..1."""
    return float(image.mean() / 255)


def saturation(image: Picture) -> float:
    """Return the mean over pixels of (max - min) / max of RGB, as in HSV; 0 for gray and black pixels."""
    high = image.max(axis=2).astype(np.float32)
    spread = high - image.min(axis=2)
    return float((spread / np.maximum(high, 1)).mean())


def strata_table(split: Split) -> pd.DataFrame:
    """Count by stratum the train samples, their share, the groups in train, and the test samples."""
    rows: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"train": 0, "test": 0})
    groups: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for part, samples in (("train", split.train), ("test", split.test)):
        for sample in samples:
            stratum = sample.stratum or ALL
            rows[stratum][part] += 1
            if part == "train":
                groups[stratum].add(("group", sample.group) if sample.group else ("sample", sample.id))
    table = pd.DataFrame(
        {
            "train": [row["train"] for row in rows.values()],
            "share of train": [row["train"] / max(1, len(split.train)) for row in rows.values()],
            "groups": [len(groups[stratum]) for stratum in rows],
            "test": [row["test"] for row in rows.values()],
        },
        index=pd.Index(list(rows), name="stratum"),
    )
    return table.sort_values("train", ascending=False, kind="stable")


def sizes_table(split: Split) -> pd.DataFrame:
    """Count samples by image size (height × width), the most frequent first."""
    rows = [
        {"height": sample.size[0], "width": sample.size[1], "part": part}
        for part, samples in (("train", split.train), ("test", split.test))
        for sample in samples
    ]
    frame = pd.DataFrame(rows, columns=["height", "width", "part"])
    table = pd.crosstab([frame["height"], frame["width"]], frame["part"])
    table = table.reindex(columns=["train", "test"], fill_value=0).rename_axis(columns=None)
    return table.sort_values(["train", "test"], ascending=False, kind="stable")


def folds_of(competition: Competition, split: Split, config: FoldsConfig | None = None) -> Folds:
    """Return the folds that a run would make. It is slow where the contest finds groups by pixels."""
    found = find_groups(competition, split)
    return make_folds(split.train, config or FoldsConfig(), found.group_of if found else None)


def folds_table(folds: Folds) -> pd.DataFrame:
    """Count samples, groups and strata of each fold."""
    rows = [
        {"fold": row.fold, "samples": row.samples, "groups": row.groups}
        | {name or ALL: count for name, count in row.strata.items()}
        for row in summary(folds)
    ]
    return pd.DataFrame(rows).set_index("fold")


def objects_table(images: pd.DataFrame) -> pd.DataFrame:
    """Describe the number of objects in an image, by stratum, and the share of pixels that they cover."""
    groups = images.groupby("stratum", observed=True)
    table = groups["objects"].agg(["count", "min", "median", "mean", "max"])
    table.columns = pd.Index(["images", "least", "median", "mean", "most"])
    return table.assign(**{"mean share covered": groups["covered"].mean()})


def objects_figure(images: pd.DataFrame) -> Figure:
    """Draw the histogram of the number of objects in an image, by stratum; 0 for images without objects."""
    figure, ax = _figure()
    highest = int(images["objects"].max()) if len(images) else 1
    _histogram(ax, images, "objects", np.linspace(-0.5, max(highest, 1) + 0.5, min(40, highest + 2)))
    plain_axes(ax, "images by number of objects", "objects in the image")
    return figure


def areas_figure(objects: pd.DataFrame) -> Figure:
    """Draw the histogram of object areas in pixels, by stratum, with a logarithmic axis."""
    figure, ax = _figure()
    highest = float(objects["area"].max()) if len(objects) else 1.0
    _histogram(ax, objects, "area", np.geomspace(1, max(highest, 2) * 1.01, 45))
    ax.set_xscale("log")
    plain_axes(ax, "objects by area", "area, pixels")
    return figure


def modalities_figure(images: pd.DataFrame) -> Figure:
    """Draw each image as a point: mean brightness against mean saturation, coloured by stratum."""
    figure, ax = _figure()
    names = _strata(images)
    for name, colour in names.items():
        part = images[images["stratum"] == name]
        ax.scatter(
            part["brightness"],
            part["saturation"],
            s=16,
            color=colour,
            alpha=0.65,
            linewidths=0,
            label=label(name),
        )
    plain_axes(ax, "mean saturation", "mean brightness")
    legend(ax, len(names))
    return figure


def targets_figure(
    competition: Competition, data: Path, samples: Sequence[Sample], each: int = 4, seed: int = 0
) -> Figure:
    """Draw `each` samples of each stratum, chosen at random with a seed, with the outlines of their truth."""
    by_stratum: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_stratum[sample.stratum or ALL].append(sample)
    rows = [
        grid(
            [_with_truth(competition, data, sample) for sample in sampled(by_stratum[name], each, seed)],
            each,
            [sample.id for sample in sampled(by_stratum[name], each, seed)],
        )
        for name in sorted(by_stratum)
    ]
    width = max((row.shape[1] for row in rows), default=1)
    titled = [
        captioned(_widened(row, width), f"   {name}: {len(by_stratum[name])} samples")
        for name, row in zip(sorted(by_stratum), rows, strict=True)
    ]
    return picture_figure(np.concatenate(titled) if titled else grid([], 1))


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

    The mappings are by sample id; they need only the samples that were scored, which are those of `by_sample`. Samples
    that are empty in truth and answer are left out, because their pictures would show nothing.
    """
    by_id = {sample.id: sample for sample in samples}
    told = [name for name in by_sample if not shows_nothing(truths[name], answers[name])]
    ordered = sorted(told, key=lambda name: (by_sample[name], name))
    places = np.linspace(0, max(0, len(ordered) - 1), min(most, len(ordered))).round().astype(int)
    shown = [ordered[place] for place in places]
    pictures = [
        side_by_side(competition.image(by_id[name].images[0]), truths[name], answers[name], side=384) for name in shown
    ]
    return picture_figure(grid(pictures, 1, [f"{by_sample[name]:.3f}   {name}" for name in shown]))


def picture_figure(picture: Picture) -> Figure:
    """Return a Figure that shows only the picture, with one pixel of the figure for each pixel of the picture."""
    figure = Figure(figsize=(picture.shape[1] / 100, picture.shape[0] / 100), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, interpolation="antialiased")
    ax.set_axis_off()
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    return figure, figure.subplots()


def _strata(frame: pd.DataFrame) -> dict[str, str]:
    """Return the colour of each stratum that the frame has, the most frequent first.

    The colours follow from all strata of the data, which are named by the type of the column.
    """
    column = frame["stratum"]
    known = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.unique()
    colours, counts = stratum_colours(map(str, known)), column.value_counts(sort=True)
    return {str(name): colours[str(name)] for name, count in counts.items() if count}


def _histogram(ax: Axes, frame: pd.DataFrame, column: str, edges: NDArray[np.float64]) -> None:
    names = _strata(frame)
    values = [frame.loc[frame["stratum"] == name, column].to_numpy(dtype=float) for name in names]
    if values:
        ax.hist(
            values,
            bins=edges.tolist(),
            stacked=True,
            color=list(names.values()),
            label=[label(name) for name in names],
        )
    legend(ax, len(names))


def _with_truth(competition: Competition, data: Path, sample: Sample) -> Picture:
    image = stretched(competition.image(sample.images[0]))
    return outline(image, competition.truth(data, sample), side=320)


def _widened(picture: Picture, width: int) -> Picture:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), mode="edge")
