"""Mean average precision: held against pycocotools, slow twins, and edges by hand."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from refusals import one_line

from medalist.errors import ConfigError, DataError
from medalist.metrics.boxes import box_map, coco_map, voc_map
from medalist.records import Boxes

CLASSES = ("a", "b", "c")


def boxes(*rows: tuple[float, ...], ignored: tuple[bool, ...] | None = None) -> Boxes:
    """Each row is label, score, x1, y1, x2, y2."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    passed = None if ignored is None else np.array(ignored, np.bool_)
    return Boxes(table[:, 2:].astype(np.float32), table[:, 0].astype(np.int32), table[:, 1].astype(np.float32), passed)


def scene(seed: int, images: int = 12, crowd: float = 0.15) -> tuple[dict[str, Boxes], dict[str, Boxes]]:
    """Truths and answers with near boxes, doubles, equal scores, ignored truths, and images without anything.

    Corners are quarters of pixels, so that widths are exact.
    """
    rng = np.random.default_rng(seed)
    truths, answers = {}, {}
    for number in range(images):
        count = int(rng.integers(0, 8)) if number else 0
        low = np.round(rng.uniform(0, 200, (count, 2)) * 4) / 4
        sides = np.round(np.exp(rng.uniform(1.5, 5.5, (count, 2))) * 4) / 4
        xyxy = np.concatenate([low, low + sides], axis=1)
        labels = rng.integers(0, 3 if seed % 2 else 2, count)
        ignored = rng.random(count) < crowd
        name = f"{number:03d}"
        truths[name] = Boxes(
            xyxy.astype(np.float32), labels.astype(np.int32), np.ones(count, np.float32), ignored if seed else None
        )
        copies = np.concatenate([np.repeat(xyxy, 3, axis=0), rng.uniform(0, 200, (4, 4)).round()])
        copies[-4:, 2:] = copies[-4:, :2] + 30
        copies[:-4] += np.round(rng.normal(0, 0.12, (3 * count, 4)) * np.tile(np.repeat(sides, 3, axis=0), 2) * 4) / 4
        kept = (copies[:, 2:] > copies[:, :2]).all(axis=1) & (rng.random(len(copies)) < 0.8)
        mixed = np.concatenate([np.repeat(labels, 3), rng.integers(0, 3, 4)])
        mixed = np.where(rng.random(len(mixed)) < 0.1, rng.integers(0, 3, len(mixed)), mixed)
        scores = np.round(rng.uniform(0, 1, len(mixed)), 1)
        answers[name] = Boxes(
            copies[kept].astype(np.float32), mixed[kept].astype(np.int32), scores[kept].astype(np.float32)
        )
    return truths, answers


def by_pycocotools(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], most: int = 100) -> NDArray[np.float64]:
    """The twelve figures of pycocotools, with images in the order of their ids."""
    numbers = {name: number for number, name in enumerate(sorted(truths), start=1)}

    def listed(of: Mapping[str, Boxes]) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name, number in numbers.items():
            one = of[name]
            for row in range(one.count):
                x1, y1, x2, y2 = one.xyxy[row].astype(np.float64).tolist()
                crowd = one.ignored is not None and bool(one.ignored[row])
                found.append({
                    "id": len(found) + 1, "image_id": number, "category_id": int(one.labels[row]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd),
                    "score": float(one.scores[row]),
                })  # fmt: skip
        return found

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in numbers.values()],
            "categories": [{"id": number} for number in range(3)],
            "annotations": listed(truths),
        }
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(listed(answers)), "bbox")
        judged.params.maxDets = [1, 1, most]
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    # summarize reads the first three figures at 100 answers, whatever the largest number is
    precision = judged.eval["precision"]
    if most != 100:
        judged.stats[0] = precision[..., 0, 2][precision[..., 0, 2] > -1].mean()
    return np.asarray(judged.stats)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own arrays and NumPy 2
@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_pycocotools(seed: int) -> None:
    truths, answers = scene(seed)
    found, known = coco_map(CLASSES)(truths, answers), by_pycocotools(truths, answers)
    assert 0.05 < found.value < 0.95
    assert found.value == pytest.approx(known[0], abs=1e-9)
    assert found.parts["ap50"] == pytest.approx(known[1], abs=1e-9)
    assert found.parts["ap75"] == pytest.approx(known[2], abs=1e-9)
    for at, name in enumerate(("ap small", "ap medium", "ap large"), start=3):
        assert found.parts.get(name, -1.0) == pytest.approx(known[at], abs=1e-9), name
    assert found.parts["recall"] == pytest.approx(known[8], abs=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_at_most_so_many_answers_of_an_image_and_class_are_judged() -> None:
    truths, answers = scene(3)
    known = by_pycocotools(truths, answers, most=2)
    assert coco_map(CLASSES, most=2)(truths, answers).value == pytest.approx(known[0], abs=1e-9)
    assert coco_map(CLASSES, most=2)(truths, answers).value != coco_map(CLASSES)(truths, answers).value


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_mappings_decides_nothing(seed: int) -> None:
    truths, answers = scene(seed)
    turned = {name: truths[name] for name in reversed(truths)}
    one, other = coco_map(CLASSES)(truths, answers), coco_map(CLASSES)(turned, answers)
    assert (one.value, dict(one.parts), dict(one.by_sample)) == (other.value, dict(other.parts), dict(other.by_sample))
    assert list(other.by_sample) == list(turned)


def devkit(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], label: int, iou: float, points: str) -> float:
    """Pascal VOC's rule, box by box: the largest overlap alone, difficult objects passed over."""
    listed = sorted(
        ((float(one.scores[row]), name, row) for name, one in sorted(answers.items())
         for row in np.flatnonzero(one.labels == label).tolist()),
        key=lambda item: -item[0],
    )  # fmt: skip
    taken: set[tuple[str, int]] = set()
    hits: list[bool] = []
    positives = sum(
        int(((one.labels == label) & (True if one.ignored is None else ~one.ignored)).sum()) for one in truths.values()
    )
    for _, name, row in listed:
        box, truth, best, at = answers[name].xyxy[row].astype(float), truths[name], 0.0, -1
        for other in np.flatnonzero(truth.labels == label).tolist():
            two = truth.xyxy[other].astype(float)
            w, h = min(box[2], two[2]) - max(box[0], two[0]), min(box[3], two[3]) - max(box[1], two[1])
            if w > 0 and h > 0:
                whole = (box[2] - box[0]) * (box[3] - box[1]) + (two[2] - two[0]) * (two[3] - two[1])
                if w * h / (whole - w * h) > best:
                    best, at = w * h / (whole - w * h), other
        if at >= 0 and best >= iou:
            if truth.ignored is not None and truth.ignored[at]:
                continue
            hits.append((name, at) not in taken)
            taken.add((name, at))
        else:
            hits.append(False)
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / positives
    if points == "eleven":
        return float(np.mean([max(precision[recall >= t / 10 - 1e-12], default=0.0) for t in range(11)]))
    total, before = 0.0, 0.0
    for at in range(len(hits)):
        total += (recall[at] - before) * precision[at:].max()
        before = recall[at]
    return float(total)


@pytest.mark.parametrize("points", ["all", "eleven"])
@pytest.mark.parametrize("seed", [0, 1, 3, 5])
def test_the_rule_of_pascal_voc_box_by_box(seed: int, points: str) -> None:
    truths, answers = scene(seed)
    score = voc_map(CLASSES, points=points)(truths, answers)  # type: ignore[arg-type]
    for label, name in enumerate(CLASSES):
        if f"ap {name}" in score.parts:
            known = devkit(truths, answers, label, 0.5, points)
            assert score.parts[f"ap {name}"] == pytest.approx(known, abs=1e-9)
    assert 0.05 < score.value < 0.95


TRUTH = boxes((0, 1, 0, 0, 10, 10), (0, 1, 20, 0, 30, 10))


def of(answer: Boxes, truth: Boxes = TRUTH, **rules: object) -> float:
    return box_map(CLASSES, thresholds=(0.5,), points="all", **rules)({"i": truth}, {"i": answer}).value  # type: ignore[arg-type]


def test_average_precision_by_hand() -> None:
    wrong, one, two = (0, 0.9, 50, 50, 60, 60), (0, 0.8, 0, 0, 10, 10), (0, 0.7, 20, 0, 30, 10)
    assert of(boxes(one, two)) == 1.0
    assert of(boxes(one)) == 0.5
    assert of(boxes(wrong, one, two)) == pytest.approx(2 / 3)  # precision 1/2, then 2/3, which counts twice
    assert of(boxes()) == 0.0


def test_an_iou_that_is_equal_to_the_threshold_is_a_switch() -> None:
    half = boxes((0, 1, 0, 0, 5, 10), (0, 1, 20, 0, 30, 10))
    assert of(half) == 1.0
    assert of(half, strict=True) == pytest.approx(0.25)  # a wrong one, then precision 1/2 at recall 1/2


def test_an_answer_that_loses_its_best_truth_may_take_another_one() -> None:
    truth = boxes((0, 1, 0, 0, 10, 10), (0, 1, 2, 0, 12, 10))
    both = boxes((0, 0.9, 1, 0, 10, 10), (0, 0.8, 0, 0, 11, 10))  # each lies nearer to the first truth
    assert of(both, truth) == 1.0
    assert of(both, truth, assign="best") == 0.5


def test_ignored_truths_are_neither_asked_for_nor_wrong() -> None:
    truth = boxes((0, 1, 0, 0, 10, 10), (0, 1, 20, 0, 60, 40), ignored=(False, True))
    inside = boxes((0, 0.9, 20, 0, 25, 5), (0, 0.8, 30, 0, 35, 5), (0, 0.7, 0, 0, 10, 10))
    assert of(inside, truth) == 1.0  # parts of a crowd
    assert of(inside, truth, ignored="difficult") == pytest.approx(1 / 3)  # no difficult object is found by a part
    twice = boxes((0, 0.9, 20, 0, 60, 40), (0, 0.8, 21, 0, 60, 40), (0, 0.7, 0, 0, 10, 10))
    assert of(twice, truth, ignored="difficult", assign="best") == 1.0


def test_classes_without_a_truth_are_a_switch() -> None:
    right = boxes((0, 0.8, 0, 0, 10, 10), (0, 0.7, 20, 0, 30, 10))
    false = boxes((0, 0.8, 0, 0, 10, 10), (0, 0.7, 20, 0, 30, 10), (1, 0.9, 0, 0, 10, 10))
    assert of(false) == 1.0  # as COCO: answers of such a class cost nothing
    assert of(false, false=0.0) == 0.5
    assert of(right, absent=1.0) == 1.0
    assert of(right, absent=0.0) == pytest.approx(1 / 3)
    assert of(false, false=0.0, absent=1.0) == pytest.approx(2 / 3)


def test_without_any_truth_silence_is_right() -> None:
    assert of(boxes(), boxes()) == 1.0
    assert of(boxes((0, 0.1, 0, 0, 1, 1)), boxes()) == 0.0


def test_a_class_that_says_that_nothing_is_there() -> None:
    metric = box_map(CLASSES, thresholds=(0.4,), strict=True, points="all", nothing="c")
    truths = {"sick": TRUTH, "well": boxes()}
    assert metric(truths, truths).value == 1.0
    assert metric(truths, {"sick": boxes(), "well": boxes()}).value == pytest.approx((0 + 0.5) / 2)
    said = {"sick": boxes((2, 0.3, 0, 0, 1, 1)), "well": boxes((2, 0.6, 0, 0, 1, 1))}
    assert metric(truths, said).parts["ap c"] == 1.0
    assert metric(truths, said).by_sample == {"sick": 0.0, "well": 1.0}


def test_the_value_of_an_image_alone() -> None:
    truths = {"two": TRUTH, "none": boxes(), "mixed": boxes((0, 1, 0, 0, 10, 10), (1, 1, 20, 0, 30, 10))}
    answers = {
        "two": boxes((0, 0.9, 0, 0, 10, 10), (0, 0.2, 20, 0, 30, 10), (1, 0.1, 20, 0, 30, 10)),
        "none": boxes((0, 0.25, 0, 0, 10, 10)),
        "mixed": boxes((1, 0.9, 0, 0, 10, 10), (0, 0.5, 0, 0, 10, 10)),
    }
    found = box_map(CLASSES, thresholds=(0.5,), points="all")(truths, answers).by_sample
    assert found == {"two": 1.0, "none": 0.75, "mixed": pytest.approx(0.25)}


def test_rules_that_are_not_possible_are_refused() -> None:
    assert "each once" in one_line(ConfigError, lambda: coco_map(("a", "a")))
    assert "above 0, 1 at most" in one_line(ConfigError, lambda: box_map(CLASSES, thresholds=(0.0,)))
    assert "not in the classes" in one_line(ConfigError, lambda: box_map(CLASSES, nothing="none"))
    assert "no answer for 1 of 1" in one_line(DataError, lambda: coco_map(CLASSES)({"i": TRUTH}, {}))
    other = {"i": boxes((0, 0.9, 0, 0, 10, 10), (1, 0.9, 0, 0, 10, 10))}
    line = one_line(DataError, lambda: coco_map(CLASSES[:1])(other, other))
    assert line.startswith(
        "a box has the class 1 (counted from 0), and the metric knows 1; give the metric, the format"
    )
