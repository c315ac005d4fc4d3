"""Tables and charts of a contest's data, for notebooks. They work for any competition; pictures: `eda_pictures.py`.

Tables are pandas DataFrames; figures are matplotlib Figures, made without pyplot. Samples without a stratum have the
stratum "all" here.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medalist.competition import Competition, find_groups
from medalist.folds.folds import Folds, make_folds, summary
from medalist.folds.settings import FoldsConfig
from medalist.records import Answer, Boxes, Labels, Mask, Ranking, Sample, Split
from medalist.report.charts import INK, label, legend, plain_axes, stratum_colours
from medalist.report.classes import Classes, classes_up_to, is_dark
from medalist.report.labels import object_labels, pieces, void_of
from medalist.report.pictures import Picture

HATCHES = {"plain": "", "stripes": "////", "dots": "...", "lines": "---"}
"""How matplotlib draws the textures of classes."""
ALL = "all"  # the stratum of samples that have none


@dataclass(frozen=True, eq=False)
class Description:
    """Tables of images and objects, from one pass over images and truths.

    images: a row for each sample: id, stratum, group, height, width, objects, covered (the share of pixels with an
        object), void (the share of pixels that are not judged), brightness and saturation (see the functions of these
        names); the last four are in 0..1.
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
    known = classes_up_to(competition, 0)
    for sample in samples:
        image = competition.image(sample.images[0])
        truth = competition.truth(data, sample)
        area, void = object_areas(truth, known is None or known.background), void_of(truth)
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
                "void": 0.0 if void is None else float(void.mean()),
                "brightness": brightness(image),
                "saturation": saturation(image),
            }
        )
        areas.append(pd.DataFrame({"id": sample.id, "stratum": stratum, "area": area}))
    # Both tables name all strata, so that a stratum has one colour in all figures, also where it has no objects.
    strata = pd.CategoricalDtype(sorted({str(row["stratum"]) for row in images}))
    columns = ["id", "stratum", "group", "height", "width", "objects", "covered", "void", "brightness", "saturation"]
    objects = pd.concat(areas, ignore_index=True) if areas else pd.DataFrame(columns=["id", "stratum", "area"])
    table = pd.DataFrame(images, columns=columns)
    return Description(table.astype({"stratum": strata}), objects.astype({"stratum": strata}))


def object_areas(truth: Answer, background: bool = True) -> NDArray[np.int64]:
    """Return the area of each object in pixels, or of its box.

    The objects of a mask are its connected pieces (4 neighbours) by class.

    background: whether class 0 of a mask is background; otherwise its pieces are objects too.
    """
    match truth:
        case Ranking() | Labels():
            return np.zeros(0, dtype=np.int64)  # identities and labels belong to the whole image, not to objects
        case Boxes():
            sides = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
            areas: NDArray[np.int64] = np.rint(sides.prod(axis=1)).astype(np.int64)
            return areas
        case Mask():
            labels = pieces(object_labels(truth, background))
        case _:
            labels = object_labels(truth)
    return np.bincount(labels.ravel())[1:].astype(np.int64)


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


def classes_table(competition: Competition, data: Path, samples: Sequence[Sample]) -> pd.DataFrame:
    """Count by class of masks, in the order of their numbers: images, the share of the judged pixels, objects.

    An object is a connected piece. The table is empty where truths are no masks, or masks of one class without a name.
    It reads every truth once.
    """
    pixels, objects = np.zeros((len(samples), 256), np.int64), np.zeros(256, np.int64)
    for at, sample in enumerate(samples):
        truth = competition.truth(data, sample)
        if not isinstance(truth, Mask):
            return _classes_frame(())
        numbers = object_labels(truth, background=False)  # the class and 1; 0 is void
        pixels[at] = np.bincount(numbers.ravel(), minlength=257)[1:]
        parts = pieces(numbers)
        class_of = np.zeros(int(parts.max(initial=0)) + 1, np.int32)
        class_of[parts] = numbers
        objects += np.bincount(class_of[1:], minlength=257)[1:]
    total = pixels.sum(axis=0)
    classes = classes_up_to(competition, int(np.flatnonzero(total).max(initial=0)))
    images, shares = (pixels > 0).sum(axis=0), total / max(1, total.sum())
    names = classes.names if classes else ()
    return _classes_frame(
        [(at, name, int(images[at]), float(shares[at]), int(objects[at])) for at, name in enumerate(names)]
    )


def _classes_frame(rows: Sequence[tuple[int, str, int, float, int]]) -> pd.DataFrame:
    columns = ["number", "class", "images", "share of pixels", "objects"]
    return pd.DataFrame(rows, columns=columns).set_index("number")


def classes_figure(table: pd.DataFrame) -> Figure:
    """Draw the share of the judged pixels of each class in `classes_table`, with a logarithmic axis.

    Classes have the colours of the report; a texture there is a texture here. The background is gray.
    """
    figure = Figure(figsize=(7.2, 0.8 + 0.26 * max(2, len(table))), layout="constrained")
    ax = figure.subplots()
    classes = Classes(tuple(table["class"]))
    for place, share in enumerate(table["share of pixels"]):
        style = classes.style(place)
        colour = [value / 255 for value in style.colour] if style else "#9498a0"
        ink = "white" if style and is_dark(style.colour) else "black"
        ax.barh(place, share, color=colour, edgecolor=ink, linewidth=0, hatch=HATCHES[style.texture] if style else "")
        where: tuple[float, str] = (share, "data") if share else (0.0, "axes fraction")
        ax.annotate(
            f"{share:.2%}" if share else "in no image", (where[0], place), (4, 0), xycoords=(where[1], "data"),
            textcoords="offset points", va="center", size=8, color=INK,
        )  # fmt: skip
    plain_axes(ax, "classes by their share of the judged pixels", "share")
    if (table["share of pixels"] > 0).any():
        ax.set_xscale("log")
        ax.set_xlim(right=2.2 * table["share of pixels"].max())  # room for the text
    ax.set_yticks(range(len(table)), [f"{place} {label(name)}" for place, name in enumerate(table["class"])])
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
    ax.invert_yaxis()
    ax.grid(visible=False)
    return figure


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
