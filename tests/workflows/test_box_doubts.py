"""Odd boxes are told with their number and images, and sound ones give no word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.formats.boxes import BoxesFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.boxes import coco_map
from medalist.records import Boxes, Labels, Sample, Split
from medalist.workflows.box_doubts import implausible_boxes

CLASSES = ("car", "bus")


def doubts(*annotations: tuple[str, ...], of_truth: tuple[str, ...] = CLASSES) -> list[str]:
    samples = tuple(Sample(f"s{number}", (), (100, 200), one) for number, one in enumerate(annotations))
    competition = Competition(
        "c", lambda root: Split((), ()), box_truth(of_truth), coco_map(CLASSES), BoxesFormat(classes=CLASSES)
    )
    contest = Contest(competition, Path(), Split(samples, ()))
    return list(implausible_boxes(contest, contest.truths(samples)))


SOUND = ("0 0 10 10 - car", "5 5 50 60 - bus")


def test_sound_boxes_give_no_word() -> None:
    assert doubts(SOUND, SOUND) == []


def test_each_sort_of_odd_box_is_told() -> None:
    found = doubts(
        (*SOUND, "5 5 5 9 - car", "7 7 9 7 - bus"),
        (*SOUND, "300 5 310 9 - car"),
        (*SOUND, "1 1 5 5 - lorry", "1 1 5 6 - lorry"),
        (*SOUND, "-4 0 9 9 - car", SOUND[0]),
        (*SOUND, "0 0 9 9 crowd car", "1 0 9 9 difficult car"),
        (),
    )
    assert found == [
        "2 boxes have no area, not in the truth: s0 (car at 5, 5), s0 (bus at 7, 7)",
        "1 box lies outside the image, not in the truth: s1 (car at 300, 5)",
        "2 boxes are of no class, not in the truth ('lorry' 2): s2",
        "1 box reaches over the edge of the image, by 4 pixels at most: s3",
        "1 box is there twice, with the same label and corners, and counted twice: s3",
        "1 box is marked crowd and not judged: s4",
        "1 box is marked difficult and not judged: s4",
        "1 of 6 training images without a box, taken for images without objects: s5",
    ]


def test_numbers_that_mean_something_else_are_told() -> None:
    shares = doubts(("0 0 0.5 0.5 - car", "0.2 0.2 0.9 0.9 - bus"))
    assert len(shares) == 1 and "type normalised=True in their coordinates" in shares[0]
    widths = doubts(("0 0 10 10 - car", "5 5 400 60 - bus"))
    assert widths == [
        "1 box reaches over the edge of the image, by 200 pixels at most: s0; perhaps the numbers mean something else: "
        "see `coordinates`"
    ]


def test_boxes_of_smaller_images_are_told() -> None:
    quarter = ("0 0 20 10 - car", "5 5 90 50 - bus")
    assert doubts(*[quarter] * 10) == [
        "none of 20 boxes reaches beyond 45% of the width and 50% of the height of its image; if they were drawn on "
        "images of another size, multiply them in `read`"
    ]
    assert doubts(*[quarter] * 9, (*quarter, "100 0 150 9 - car")) == []  # one box on the right is enough
    assert doubts(*[quarter] * 9) == []  # too few images to say so


def test_classes_of_the_truth_in_another_order_are_told() -> None:
    assert doubts(SOUND[:1], SOUND, of_truth=CLASSES[::-1])[0] == (
        "1 truths have a class that their annotations do not have: s0 (bus); give `truth` the classes of the "
        "submission format, in the same order"
    )


def test_a_class_without_a_box_is_told() -> None:
    assert doubts((SOUND[0],)) == ["no training image has a box of 'bus'"]


def test_truths_of_another_origin_are_looked_at_too() -> None:
    truth = Boxes(
        np.array([[-1, 0, 9, 9]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(1, bool)
    )
    sample = Sample("own", (), (100, 200), ("boxes/own.npy",))
    competition = Competition(
        "c", lambda root: Split((), ()), lambda data, one: truth, coco_map(("car",)), BoxesFormat(classes=("car",))
    )
    contest = Contest(competition, Path(), Split((sample,), ()))
    found = list(implausible_boxes(contest, {"own": truth}))
    assert [line.split(" ")[2] for line in found] == ["reaches", "is"]
    masks = replace(contest, split=Split((replace(sample, annotation=("a",)),), ()))
    assert list(implausible_boxes(masks, {"own": Labels(("a",))})) == []
