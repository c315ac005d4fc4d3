"""Time COCO's mAP against pycocotools on drawn boxes, on one thread; both must give the same number.

python benchmarks/box_metrics.py [--images 500] [--classes 20]

Each image has up to 14 true boxes, three answers near each of them, and 60 answers anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medalist.metrics.boxes import coco_map
from medalist.records import Boxes

NEAR, ANYWHERE = 3, 60


def scene(rng: Generator, classes: int) -> tuple[Boxes, Boxes]:
    count = int(rng.integers(1, 15))
    low, sides = rng.uniform(0, 500, (count, 2)), np.exp(rng.uniform(2.5, 5.3, (count, 2)))
    xyxy = np.concatenate([low, low + sides], axis=1)
    labels = rng.integers(0, classes, count).astype(np.int32)
    moved = rng.normal(0, 0.08, (count * NEAR, 4)) * np.tile(np.repeat(sides, NEAR, axis=0), 2)
    other = rng.uniform(0, 500, (ANYWHERE, 2))
    far = np.concatenate([other, other + rng.uniform(5, 80, (ANYWHERE, 2))], axis=1)
    corners = np.concatenate([np.repeat(xyxy, NEAR, axis=0) + moved, far]).astype(np.float32)
    kept = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    said = np.concatenate([np.repeat(labels, NEAR), rng.integers(0, classes, ANYWHERE)]).astype(np.int32)
    scores = rng.random(len(corners)).astype(np.float32)
    truth = Boxes(xyxy.astype(np.float32), labels, np.ones(count, np.float32))
    return truth, Boxes(corners[kept], said[kept], scores[kept])


def listed(boxes: Mapping[str, Boxes]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for number, one in enumerate(boxes.values(), start=1):
        rows = zip(one.xyxy.astype(np.float64).tolist(), one.labels.tolist(), one.scores.tolist(), strict=True)
        for (x1, y1, x2, y2), label, score in rows:
            found.append({
                "id": len(found) + 1, "image_id": number, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "score": score,
            })  # fmt: skip
    return found


def by_pycocotools(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], classes: int) -> tuple[float, float]:
    """The mAP, and the seconds of the processor."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(truths) + 1)],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": listed(truths),
    }
    said = listed(answers)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        start = time.process_time()
        judged = COCOeval(coco, coco.loadRes(said), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--classes", type=int, default=20)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scenes = {f"{number:06d}": scene(rng, options.classes) for number in range(options.images)}
    truths, answers = ({name: one[side] for name, one in scenes.items()} for side in (0, 1))
    start = time.process_time()
    score = coco_map([str(number) for number in range(options.classes)])(truths, answers)
    ours = time.process_time() - start
    known, theirs = by_pycocotools(truths, answers, options.classes)
    assert abs(score.value - known) < 1e-9, (score.value, known)
    print(f"{options.images} images, {options.classes} classes: mAP {score.value:.6f} by both")
    print(f"{ours:.2f} s, pycocotools {theirs:.2f} s: {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    main()
