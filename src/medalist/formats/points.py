"""Submissions of points: a row for each image and class, with the middles of its objects, as in Safe Passage (2017).

`id,image,class,detections`: `TQ2379_0_0_B,TQ2379_0_0.jpg,B,1776:520|1824:125`, or `None` where there is no object.
Points are the middles of `Boxes`. What is read back are squares of the class's radius around them, with the score 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from medalist.formats.box_words import boxes_of
from medalist.formats.labels import hold_classes
from medalist.formats.submission import (
    Problem,
    by_row,
    check_ids,
    ids_of_reference,
    read_rows,
    refuse,
    shortened,
)
from medalist.records import Answer, Boxes, Sample

_POINT = re.compile(r"(\d{1,6}):(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class PointsFormat:
    """A submission with a row for each image and class.

    classes: those of the contest, in its order. radii: half the side of the square around a point, in pixels, of each
    class. columns: the header: id, image, class and points. suffix_of_image: how the names of image files end.
    empty: the cell of a class without objects.
    """

    classes: tuple[str, ...] = field(kw_only=True)
    radii: tuple[int, ...] = field(kw_only=True)
    columns: tuple[str, str, str, str] = ("id", "image", "class", "detections")
    suffix_of_image: str = field(default=".jpg", kw_only=True)
    empty: str = field(default="None", kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        hold_classes(self.classes)
        assert len(self.radii) == len(self.classes) and min(self.radii) > 0, self.radii
        assert len(set(self.columns)) == len(self.columns), self.columns

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the rows of one answer, with middles rounded to whole pixels. Scores are not written.

        Raises SubmissionError where the answer is no Boxes.
        """
        boxes = boxes_of(sample_id, answer)
        middles = np.maximum(np.round((boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2), 0).astype(np.int64)
        rows: list[tuple[str, ...]] = []
        for place, name in enumerate(self.classes):
            points = "|".join(f"{x}:{y}" for x, y in middles[boxes.labels == place].tolist())
            rows.append((f"{sample_id}_{name}", sample_id + self.suffix_of_image, name, points or self.empty))
        return rows

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, sorted by class.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        found, problems = self._read(path, samples, self._ids(samples), ordered=False)
        refuse(path, problems)
        return {sample.id: self.squares(found[sample.id]) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Raises DataError where the reference (the sample submission) is malformed, or has other ids than the samples.
        """
        expected = self._ids(samples)
        if reference is not None:
            expected = ids_of_reference(reference, self.columns, expected, "pair of image and class")
        return self._read(path, samples, expected, reference is not None)[1]

    def squares(self, points: Sequence[tuple[int, int, int]]) -> Boxes:
        """Return points, each (place of its class, x, y), as squares of the class's radius."""
        table = np.array(points, np.float32).reshape(-1, 3)
        labels = table[:, 0].astype(np.int32)
        half = np.array(self.radii, np.float32)[labels][:, None]
        middles = table[:, 1:]
        return Boxes(np.concatenate([middles - half, middles + half], axis=1), labels, np.ones(len(labels), np.float32))

    def points(self, cell: str, size: tuple[int, int]) -> list[tuple[int, int]] | str:
        """Return the points (x, y) of a cell, or the rule that it breaks. size: (height, width) of the image."""
        if cell == self.empty:
            return []
        found = []
        for word in cell.split("|"):
            point = _POINT.fullmatch(word)
            if point is None:
                return f"'{shortened(word)}' is no point; points are written x:y, joined by '|', or {self.empty}"
            x, y = int(point[1]), int(point[2])
            if x > size[1] or y > size[0]:
                return f"{word} lies outside the image, which is {size[1]} wide and {size[0]} high"
            found.append((x, y))
        return found

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def _ids(self, samples: Sequence[Sample]) -> list[str]:
        return [f"{sample.id}_{name}" for sample in samples for name in self.classes]

    def _read(
        self, path: Path, samples: Sequence[Sample], expected: Sequence[str], ordered: bool
    ) -> tuple[dict[str, list[tuple[int, int, int]]], list[Problem]]:
        """The points of each image, and every problem."""
        found: dict[str, list[tuple[int, int, int]]] = {sample.id: [] for sample in samples}
        rows, problems = read_rows(path, self.columns)
        if not rows:
            return found, problems
        problems += check_ids(rows, self.columns[0], expected, ordered)
        sizes, first = {sample.id: sample.size for sample in samples}, dict[str, int]()
        for row in rows:
            whole, file, name, cell = row.cells
            image = whole.removesuffix(f"_{name}")
            column, value, rule = 0, whole, ""
            if whole in first:
                rule = f"a second row for this id; the first is row {first[whole]}"
            elif name not in self._place and whole.rpartition("_")[0] in sizes:
                column, value, rule = 2, name, f"no class of the contest; they are {', '.join(self.classes)}"
            elif image in sizes and file != image + self.suffix_of_image:
                column, value, rule = 1, file, f"the image of this id is {image}{self.suffix_of_image}"
            elif image in sizes:
                points = self.points(cell, sizes[image])
                if isinstance(points, str):
                    column, value, rule = 3, cell, points
                else:
                    found[image] += [(self._place[name], x, y) for x, y in points]
            first.setdefault(whole, row.number)
            if rule:
                problems.append(Problem(row.number, self.columns[column], shortened(value), rule))
        return {image: sorted(points, key=lambda one: one[0]) for image, points in found.items()}, by_row(problems)
