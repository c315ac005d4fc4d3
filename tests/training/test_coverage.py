"""The coverage of targets in batches, by class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import LabelTargets, MapTargets
from medalist.engine.first_steps import Overfit
from medalist.engine.inspect import Anatomy
from medalist.engine.nan_hunt import Hunt
from medalist.training.coverage import coverage, coverage_line, coverage_table, coverage_warning
from medalist.training.findings import Diagnostics, facts, tables, wrong

CROP = ({"RandomCrop": {"height": 8, "width": 16}}, {"HorizontalFlip": {}})
ON_OBJECTS = ({"CropNonEmptyMaskIfExists": {"height": 8, "width": 16}},)


def batch(target: Any, count: int) -> Batch:
    return Batch(torch.zeros(count, 3, 8, 16), target, tuple(range(count)), (Padding(8, 16),) * count)


def maps(*filled: tuple[int, int]) -> Batch:
    """Return a batch of four samples; `filled` are (sample, channel) with 32 of 128 pixels."""
    values = torch.zeros(4, 2, 8, 16)
    for sample, channel in filled:
        values[sample, channel, :2] = 1
    return batch(MapTargets(values), 4)


def test_crops_without_objects_are_counted_by_class_and_advised() -> None:
    found = coverage([maps((0, 0), (0, 1)), maps((1, 0))], ("body", "border"), CROP)
    assert found is not None
    assert (found.samples, found.empty) == (8, 6)
    assert [(one.name, one.samples, one.pixels) for one in found.classes] == [
        ("body", 2, 0.0625),
        ("border", 1, 0.03125),
    ]
    each = "body in 2 (6.2 % of pixels), border in 1 (3.1 % of pixels)"
    assert coverage_line(found) == f"6 of 8 samples hold no target; {each}"
    told = coverage_warning(found)
    assert told.startswith("6 of 8 samples in the batches hold no target")
    assert "{CropNonEmptyMaskIfExists: {height: 8, width: 16}} in place of RandomCrop" in told
    assert coverage_table(found).rows == [["body", "2", "25", "6.2"], ["border", "1", "12", "3.1"]]
    full = coverage([maps(*((sample, channel) for sample in range(4) for channel in range(2)))], ("a", "b"), CROP)
    assert full is not None and coverage_warning(full) == ""


def test_a_class_without_a_pixel_is_named() -> None:
    found = coverage([maps(*((sample, 0) for sample in range(4)))], ("body", "border"), ())
    assert found is not None and coverage_warning(found).startswith("border: no pixel in 4 samples")
    told = coverage([maps()], ("body", "border"), ON_OBJECTS)
    assert told is not None and "sampler.kind=balanced" in coverage_warning(told)
    assert coverage([batch(None, 2)], ("a",), ()) is None


def test_a_batch_that_was_not_learned_blames_the_empty_crops() -> None:
    """Not the pairs of pictures and targets, where the crops are what is wrong."""
    tried = Overfit(lr=0.01, losses=(1.0, *[0.8] * 60), best=0.0, goal=0.1)
    seen, hunt = coverage([maps((0, 0))], ("body", "border"), CROP), Hunt(1, 4, None)
    empty = Anatomy((4, 3, 8, 16), (), (), 0, 0, 0)
    found = Diagnostics(empty, hunt, None, None, tried, None, 0.01, seen)
    assert [line[:40] for line in wrong(found)] == [
        "3 of 4 samples in the batches hold no ta",
        "the network did not overfit one batch: i",
    ]
    assert "3 of 4 samples hold no target: cut on objects" in wrong(found)[1]
    assert "belong together" in wrong(replace(found, coverage=None))[0]
    assert dict(facts(found))["targets"].startswith("3 of 4 samples hold no target")
    assert [grid.title for grid in tables(found)] == ["Parts", "Targets"]


@pytest.mark.parametrize("flags", [False, True])
def test_labels_are_counted_by_class(flags: bool) -> None:
    values = torch.tensor([0, 2, 2, 1])
    wanted = torch.nn.functional.one_hot(values, 3).float() if flags else values
    found = coverage([batch(LabelTargets(wanted), 4)], ("a", "b", "c"), ())
    assert found is not None and [one.samples for one in found.classes] == [1, 1, 2]
    assert coverage_line(found) == "3 of 3 classes among 4 samples; 0 without a label"
    assert coverage_warning(found) == "" and coverage_table(found).columns == ("class", "samples", "%")


def test_void_pixels_are_left_out_of_the_shares() -> None:
    values, judged = torch.zeros(4, 2, 8, 16), torch.ones(4, 1, 8, 16)
    values[:, 0, :2] = 1  # a quarter of each sample
    judged[:, :, 4:] = 0  # half of each sample
    found = coverage([batch(MapTargets(values, judged), 4)], ("body", "border"), CROP)
    assert found is not None and (found.void, found.void_samples) == (0.5, 0)
    assert [one.pixels for one in found.classes] == [0.5, 0.0]
    assert coverage_line(found).endswith("border in 0 (0 % of pixels); 50 % of all pixels are void")
    assert "50 % of all pixels are void" in coverage_table(found).note
    judged[1:3], values[1:3] = 0, 0
    found = coverage([batch(MapTargets(values, judged), 4)], ("body", "border"), CROP)
    assert found is not None and coverage_warning(found).startswith("every pixel of 2 of 4 samples is void")


def test_background_is_no_target() -> None:
    values = torch.zeros(4, 2, 8, 16)
    values[:, 0] = 1
    values[0, :, :2] = torch.tensor([0.0, 1.0])[:, None, None]
    found = coverage([batch(MapTargets(values), 4)], ("background", "car"), CROP)
    assert found is not None and found.empty == 3
    found = coverage([batch(MapTargets(values), 4)], ("road", "car"), CROP)
    assert found is not None and found.empty == 0
