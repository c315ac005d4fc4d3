"""Objects that are found, missed and false, worked by hand."""

from __future__ import annotations

import numpy as np

from medalist.records import Instances, Mask
from medalist.report.labels import pieces
from medalist.tasks.segment.objects import SizeRow, compared, flaws, totals


def mask(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)) -> Mask:
    classes = np.zeros(size, np.uint8)
    for top, left, bottom, right in boxes:
        classes[top:bottom, left:right] = 1
    return Mask(classes)


def objects(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)) -> Instances:
    labels = np.zeros(size, np.int32)
    for number, (top, left, bottom, right) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = number
    return Instances(labels)


BIG, SMALL, ELSEWHERE = (2, 2, 12, 12), (30, 30, 32, 33), (30, 50, 34, 54)


def test_a_missed_small_object_and_a_false_one_are_told_apart() -> None:
    for make in (mask, objects):
        found = compared(make(BIG, SMALL), make(BIG, ELSEWHERE))
        assert found.truth.bad_areas.tolist() == [6] and found.answer.bad_areas.tolist() == [16]
        assert found.wrong == 6 + 16
        assert found.in_words() == (
            "2 objects in the truth (106 px); 2 objects in the answer (116 px); 1 missed; 1 false"
        )
        listed = flaws(found, 5)
        assert [(one.kind, one.pixels) for one in listed] == [("false", 16), ("missed", 6)]
        assert listed[1].box == (slice(30, 32), slice(30, 33))
        assert (found.truth.labels == listed[1].number).sum() == 6


def test_a_piece_of_a_mask_is_found_where_more_than_half_is_answered() -> None:
    whole, half, more = mask((0, 0, 4, 10)), mask((0, 0, 4, 5)), mask((0, 0, 4, 6))
    assert compared(whole, half).truth.good.tolist() == [True, False]
    assert compared(whole, more).truth.good.tolist() == [True, True]
    assert compared(half, whole).answer.good.tolist() == [True, True]  # too large, but there is something


def test_pieces_of_several_classes_do_not_join() -> None:
    classes = np.zeros((6, 9), np.uint8)
    classes[:, 1:4], classes[:, 4:6] = 1, 2
    assert sorted(np.bincount(pieces(classes).ravel())[1:].tolist()) == [12, 18]
    other = Mask(np.where(classes == 2, 1, classes).astype(np.uint8))
    found = compared(Mask(classes), other)
    assert found.wrong == 12 and found.truth.bad_areas.tolist() == [12]


def test_void_pixels_belong_to_no_piece_on_either_side() -> None:
    truth, answer = mask(BIG), mask(BIG, SMALL, (20, 20, 24, 30))
    void = np.zeros(truth.size, np.bool_)
    void[20:24, 20:30] = void[30:31] = True  # one false piece, and half of the other
    found = compared(Mask(truth.classes, void), answer)
    assert found.answer.bad_areas.tolist() == [3] and found.wrong == 3 and found.truth.bad_areas.tolist() == []
    everything = compared(Mask(np.zeros((40, 60), np.uint8), np.ones((40, 60), np.bool_)), answer)
    assert everything.wrong == 0 and everything.in_words() == "no object in the truth; the answer is empty"


def test_without_a_background_class_0_has_pieces_too() -> None:
    truth, answer = mask((0, 0, 40, 20)), mask((0, 0, 40, 30))
    found = compared(truth, answer, background=False)
    assert found.truth.areas.tolist() == [0, 800, 1600] and found.answer.areas.tolist() == [0, 1200, 1200]
    assert found.truth.good.all() and found.wrong == 400
    void = np.zeros((40, 60), np.bool_)
    void[:, 20:] = True
    assert compared(Mask(truth.classes, void), answer, background=False).truth.areas.tolist() == [0, 800]


def test_empty_images_are_counted_apart() -> None:
    nothing = mask()
    pairs = [(nothing, nothing), (nothing, mask(SMALL)), (mask(BIG), nothing), (mask(BIG), mask(BIG))]
    counted = totals(compared(truth, answer) for truth, answer in pairs)
    assert (counted.empty, counted.alarmed, counted.filled, counted.silent) == (2, 1, 2, 1)
    assert (counted.objects, counted.found, counted.answered, counted.false) == (2, 1, 2, 1)
    assert (counted.median_found, counted.median_missed) == (100, 100)
    assert compared(nothing, nothing).in_words() == "no object in the truth; the answer is empty"
    assert flaws(compared(nothing, nothing), 3) == []


def test_sizes_grow_by_four_and_hold_every_object() -> None:
    counted = totals([compared(objects(BIG, SMALL), objects(BIG, ELSEWHERE))])
    assert counted.sizes == (
        SizeRow(4, 15, objects=1, found=0, answered=0, false=0),
        SizeRow(16, 63, objects=0, found=0, answered=1, false=1),
        SizeRow(64, 255, objects=1, found=1, answered=1, false=0),
    )
    assert [row.share for row in counted.sizes] == [0.0, None, 1.0]
    assert totals([]).sizes == () and totals([]).median_found is None
    edge = totals([compared(objects((0, 0, 1, size)), objects()) for size in (1, 3, 4, 15, 16)])
    assert [(row.least, row.objects) for row in edge.sizes] == [(1, 2), (4, 2), (16, 1)]
