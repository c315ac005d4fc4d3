"""Time the planes that are made from instances: 1,000 objects in one image, on one core.

python benchmarks/targets.py

The image is divided among its objects like a mosaic (by the nearest of 1,000 random points), so that every object
touches others; every fifth object is taken out.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medalist.records import Instances
from medalist.tasks.segment.settings import SegmentConfig
from medalist.tasks.segment.targets import map_target

PLANES = ("border", "body", "contour", "energy1", "distance", "offset_y", "offset_x")


def mosaic(side: int, objects: int, seed: int) -> NDArray[np.int32]:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    points = random.uniform(0, side, (objects + objects // 4, 2))
    nearest = cKDTree(points).query(np.stack([rows.ravel(), columns.ravel()], axis=1))[1].reshape(side, side)
    labels = np.where(nearest < objects, nearest + 1, 0)
    return np.unique(labels, return_inverse=True)[1].reshape(side, side).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    truth = Instances(mosaic(options.side, options.objects, 0))
    print(f"{truth.count} objects in {options.side}x{options.side}")

    def timed(what: str, config: SegmentConfig, *channels: str) -> None:
        seconds = []
        for _ in range(options.runs):
            start = time.perf_counter()
            map_target(truth, config, channels)
            seconds.append(time.perf_counter() - start)
        print(f"{what:12} {1000 * median(seconds):6.1f} ms (median of {options.runs})")

    for plane in PLANES:
        timed(plane, SegmentConfig(), plane)
    timed("all", SegmentConfig(), *PLANES)
    timed("border_sigma", SegmentConfig(border_sigma=5.0), "body")


if __name__ == "__main__":
    main()
