"""Time the mean IoU of many masks of many classes against a confusion by `np.bincount` by hand, on one core.

python benchmarks/class_metrics.py

Masks are drawn once for each of `--kept` images and used again and again, so that memory does not matter; the answers
are the truths with shifted outlines. A twentieth of the pixels is void. Both sides take turns; seconds are those of the
processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.metrics.class_counts import confusion
from medalist.metrics.classes import mean_iou
from medalist.postprocess.classes import ClassRoles, class_mask
from medalist.postprocess.settings import ClassesConfig
from medalist.records import MapPrediction, Mask


def drawn(side: int, classes: int, seed: int) -> tuple[Mask, Mask]:
    """Return a truth of blobs with void, and an answer whose outlines are shifted by a few pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (side // 32, side // 32)).astype(np.uint8)
    truth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    void = rng.random((side // 16, side // 16)) < 0.05
    hidden = cv2.resize(void.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return Mask(np.where(hidden, 0, truth).astype(np.uint8), hidden), Mask(np.roll(truth, (3, 2), axis=(0, 1)))


def by_hand(truth: Mask, answer: Mask, classes: int) -> NDArray[np.int64]:
    """Return the confusion as most scripts count it."""
    judged = np.ones(truth.classes.shape, np.bool_) if truth.void is None else ~truth.void
    pairs = classes * truth.classes[judged].astype(np.int64) + answer.classes[judged]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou_by_hand(truths: dict[str, Mask], answers: dict[str, Mask], classes: int) -> float:
    total = np.zeros((classes, classes), np.int64)
    for name, truth in truths.items():
        total += by_hand(truth, answers[name], classes)
    both = total.diagonal()
    return float((both / (total.sum(axis=0) + total.sum(axis=1) - both)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kept", type=int, default=20, help="masks that are drawn")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    names = tuple(map(str, range(options.classes)))
    some = [drawn(options.side, options.classes, seed) for seed in range(options.kept)]
    truths = {str(at): some[at % options.kept][0] for at in range(options.images)}
    answers = {str(at): some[at % options.kept][1] for at in range(options.images)}
    for truth, answer in some:
        assert np.array_equal(confusion(truth, answer, options.classes), by_hand(truth, answer, options.classes))
    ours, theirs = [], []
    for _ in range(options.runs):
        start = time.process_time()
        one = mean_iou(names)(truths, answers).value
        ours.append(time.process_time() - start)
        start = time.process_time()
        other = iou_by_hand(truths, answers, options.classes)
        theirs.append(time.process_time() - start)
        assert abs(one - other) < 1e-12
    print(f"{options.images} masks {options.side}x{options.side}, {options.classes} classes, mean IoU {one:.4f}")
    print(f"mean_iou {median(ours):.2f} s, np.bincount by hand {median(theirs):.2f} s (medians of {options.runs} runs)")
    print(f"ratio {median(theirs) / median(ours):.1f}; wanted 1 or more")
    maps = np.random.default_rng(1).integers(0, 256, (20, 1024, 2048), np.uint8)
    twenty = tuple(f"class {number}" for number in range(20))
    roles = ClassRoles({name: at for at, name in enumerate(twenty)}, background=False)
    found = MapPrediction(maps, twenty)
    start = time.process_time()
    class_mask(found, ClassesConfig(), roles)
    print(f"decide: argmax of 20 maps of 2048x1024: {time.process_time() - start:.2f} s")


if __name__ == "__main__":
    main()
