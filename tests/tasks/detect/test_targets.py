from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medalist.data.targets import IGNORED
from medalist.errors import DataError
from medalist.records import Boxes, Sample
from medalist.tasks.detect.targets import all_boxes, counts_of, target_of

SAMPLE = Sample("a", (Path("a.png"),), (40, 60))


def boxes(*xyxy: tuple[float, float, float, float], ignored: list[bool] | None = None) -> Boxes:
    count = len(xyxy)
    skipped = None if ignored is None else np.array(ignored)
    corners = np.array(xyxy, np.float32).reshape(-1, 4)
    return Boxes(corners, np.arange(count, dtype=np.int32), np.ones(count, np.float32), skipped)


def test_boxes_are_cut_to_the_image_and_what_is_not_judged_is_ignored() -> None:
    target = target_of(boxes((-5, 2, 10, 50), (70, 0, 80, 9), (0, 0, 4, 4), ignored=[False, False, True]), SAMPLE)
    assert target.xyxy.tolist() == [[0, 2, 10, 40], [0, 0, 4, 4]] and target.labels.tolist() == [0, IGNORED]
    target.check("a.png", (40, 60))
    assert counts_of([target, target], 3) == [2, 0, 0] and counts_of([], 2) == [0, 0]
    assert target_of(boxes(), SAMPLE).xyxy.shape == (0, 4)


def test_all_bad_boxes_are_named_in_one_error() -> None:
    truths = {"a": boxes((5, 0, 4, 4)), "b": boxes((0, 0, 4, 4)), "c": boxes((0, 0, float("nan"), 4))}

    class Told:
        def truth(self, sample: Sample) -> Boxes:
            return truths[sample.id]

    samples = [Sample(name, SAMPLE.images, SAMPLE.size) for name in truths]
    with pytest.raises(DataError, match=r"2 samples with bad boxes: sample a: box 0 \(5, 0, 4, 4\).*; sample c: box 0"):
        all_boxes(Told(), samples)  # type: ignore[arg-type]
    assert len(all_boxes(Told(), samples[1:2])) == 1  # type: ignore[arg-type]
