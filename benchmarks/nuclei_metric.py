"""Time the nuclei metric on all training images on one core; the answers are perturbed copies of the truths.

python benchmarks/nuclei_metric.py --data ../shared/data/dsb2018

The perturbation is the same each time: of every ten objects two are shifted, two are eroded, one is dropped, one is
merged with the object before it, and four stay. The first images are also scored by plain loops over objects.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.codecs.rle import decode_labels
from medalist.files import read_table
from medalist.metrics.instances import nuclei_map
from medalist.records import Instances


def read_truths(folder: Path) -> dict[str, Instances]:
    meta = read_table(folder / "stage1_train_meta.csv", ("ImageId", "Width", "Height"))
    sizes = {row["ImageId"]: (int(row["Height"]), int(row["Width"])) for row in meta}
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_table(folder / "stage1_train_labels.csv", ("ImageId", "EncodedPixels")):
        texts[row["ImageId"]].append(row["EncodedPixels"])
    return {name: Instances(decode_labels(texts[name], sizes[name])) for name in texts}


def perturbed(truth: Instances) -> Instances:
    labels = np.zeros_like(truth.labels)
    for number in range(1, truth.count + 1):
        mask = (truth.labels == number).astype(np.uint8)
        kind = number % 10
        if kind in (1, 2):
            mask = np.roll(mask, (kind, 2), axis=(0, 1))
        elif kind in (3, 4):
            mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=kind - 2)
        elif kind == 5:
            continue
        labels[mask > 0] = number - 1 if kind == 6 else number
    return Instances(np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32))


def slow_score(truth: NDArray[np.int32], answer: NDArray[np.int32]) -> Fraction:
    """Return the score of one image, computed by plain loops over pairs of objects in exact fractions."""
    ious = []
    for a in range(1, int(truth.max(initial=0)) + 1):
        for b in range(1, int(answer.max(initial=0)) + 1):
            union = int(np.count_nonzero((truth == a) | (answer == b)))
            ious.append(Fraction(int(np.count_nonzero((truth == a) & (answer == b))), union))
    objects = int(truth.max(initial=0)) + int(answer.max(initial=0))
    hits = [sum(iou > Fraction(step, 100) for iou in ious) for step in range(50, 100, 5)]
    return sum((Fraction(hit, objects - hit) for hit in hits), Fraction(0)) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the nuclei contest")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slow", type=int, default=10, help="images that the plain loops score too")
    options = parser.parse_args()
    truths = read_truths(options.data)
    answers = {name: perturbed(truth) for name, truth in truths.items()}
    seconds = []
    for _ in range(options.runs):
        start = time.perf_counter()
        score = nuclei_map(truths, answers)
        seconds.append(time.perf_counter() - start)
    counts = ", ".join(f"{score.parts[f'{kind}@0.50']:.0f} {kind}" for kind in ("tp", "fp", "fn"))
    print(f"{len(truths)} images, score {score.value:.4f}, at 0.50: {counts}")
    print(f"{median(seconds):.2f} s (median of {options.runs} runs)")
    some = list(truths)[: options.slow]
    start = time.perf_counter()
    for name in some:
        slow = slow_score(truths[name].labels, answers[name].labels)
        assert abs(float(slow) - score.by_sample[name]) < 1e-12, name
    loops = (time.perf_counter() - start) / max(len(some), 1) * len(truths)
    print(f"plain loops agree on {len(some)} images; they would take {loops:.0f} s for all")


if __name__ == "__main__":
    main()
