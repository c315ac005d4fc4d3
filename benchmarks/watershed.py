"""Time the decision of the nuclei images on one core (processor time), by seed rule; the maps come from the truths.

python benchmarks/watershed.py --data ../shared/data/dsb2018

The body is the blurred truth with noise, the border is where a window sees two objects, the energy levels are eroded
bodies, and the distance is that to the edge of each object, divided by its largest value.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.competition import load_competition
from medalist.postprocess.decide import decide
from medalist.postprocess.second_stage import candidates_of
from medalist.postprocess.settings import SecondStageConfig, WatershedConfig
from medalist.records import Instances, MapPrediction

WIDTH = 2
LEVELS = (1, 3, 5)
CHANNELS = ("body", "border", "distance", *(f"energy{number}" for number in range(1, len(LEVELS) + 1)))
SECONDS = 30.0


def made(labels: NDArray[np.int32], seed: int) -> MapPrediction:
    """Return maps from which a network might have seen these objects."""
    random = np.random.default_rng(seed)
    body = (labels > 0).astype(np.float32)
    window = np.ones((2 * WIDTH + 1, 2 * WIDTH + 1), np.uint8)
    high = cv2.dilate(labels.astype(np.float32), window)
    low = -cv2.dilate(-np.where(labels > 0, labels, 1 << 20).astype(np.float32), window)
    border = ((high > 0) & (low < 1 << 20) & (high != low)).astype(np.float32)
    rim = ndimage.grey_dilation(labels, size=3) != ndimage.grey_erosion(labels, size=3)
    distance = cv2.distanceTransform(((labels > 0) & ~rim).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    largest = ndimage.maximum(distance, labels, np.arange(labels.max() + 1))
    scaled = np.where(labels > 0, distance / np.maximum(largest, 1)[labels], 0)
    levels = [(distance >= level).astype(np.float32) for level in LEVELS]
    maps = [cv2.GaussianBlur(one.astype(np.float32), (0, 0), 1.0) for one in (body, border, scaled, *levels)]
    noisy = [np.clip(one + random.normal(0, 0.05, one.shape), 0, 1) for one in maps]
    return MapPrediction(np.round(255 * np.stack(noisy)).astype(np.uint8), CHANNELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the nuclei contest")
    parser.add_argument("--most", type=int, help="only so many images")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    contest = load_competition("dsb2018")
    samples = contest.read(options.data).train[: options.most]
    rules = {
        "threshold": WatershedConfig(),
        "distance": WatershedConfig(seed_rule="distance"),
        "energy": WatershedConfig(seed_rule="energy", seed=0.5),
        "distance_map": WatershedConfig(seed_rule="distance_map", seed=0.3),
        "threshold, split, merge": WatershedConfig(split_solidity=0.85, merge_border=0.1),
    }
    stage = SecondStageConfig()
    seconds, objects = dict.fromkeys([*rules, "second stage: candidates"], 0.0), dict.fromkeys(rules, 0)
    pixels = rows = 0
    for number, sample in enumerate(samples):
        truth = contest.truth(options.data, sample)
        assert isinstance(truth, Instances)
        maps = made(truth.labels, number)
        pixels += truth.labels.size
        for name, config in rules.items():
            started = time.process_time()
            answer = decide(maps, config)
            seconds[name] += time.process_time() - started
            objects[name] += answer.count
        started = time.process_time()
        rows += len(candidates_of(maps, rules["threshold"], stage).rows)
        seconds["second stage: candidates"] += time.process_time() - started
    print(f"{len(samples)} images, {pixels / 1e6:.0f} million pixels; wanted: {SECONDS:.0f} s")
    for name, took in seconds.items():
        what = f"{objects[name]:,} objects" if name in objects else f"{rows:,} objects and parts"
        print(f"{name:28} {took:6.1f} s  {what}")


if __name__ == "__main__":
    main()
