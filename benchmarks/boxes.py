"""Time what is done with boxes after the network: fusion against ensemble-boxes, suppression, the merging of slices.

python benchmarks/boxes.py [--images 100] [--models 5] [--each 100] [--crowd 33000] [--rounds 3]

Ours and ensemble-boxes take turns in one process, on the same boxes, in seconds of the processor. Its boxes are lists
in 0..1, as it wants them, made before the clock starts. Before the timing the results are compared. ensemble-boxes is
no dependency: `pip install ensemble-boxes` into any environment, and name its folder of packages with --peer. Without
it only our own times are shown.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from medalist.postprocess.box_settings import BoxDecideConfig, NmsConfig, SlicesConfig, SoftNmsConfig, WbfConfig
from medalist.postprocess.box_slices import ImageSlice, merge_slices, slices_of
from medalist.postprocess.boxes import decide
from medalist.records import Boxes, BoxPrediction

SIZE = 1024.0
CLASSES = 3
Sliced = tuple[list[BoxPrediction], list[ImageSlice]]
WBF = WbfConfig(score=0.0, max_boxes=None, doubles=None)  # as ensemble-boxes does it
KINDS: tuple[BoxDecideConfig, ...] = (
    NmsConfig(score=0.0, max_boxes=None),
    SoftNmsConfig(score=0.0, max_boxes=None, decay="linear"),
    SoftNmsConfig(score=0.0, max_boxes=None),
    WBF,
)


def objects(random: np.random.Generator, count: int, size: float) -> NDArray[np.float64]:
    """Return float64[count, 4], boxes with sides of 15 to 60 pixels inside an image."""
    middle, sides = random.uniform(0, size, (count, 2)), random.uniform(15, 60, (count, 2))
    return np.clip(np.concatenate([middle - sides / 2, middle + sides / 2], axis=1), 0, size)


def seen(random: np.random.Generator, models: int, each: int, size: float = SIZE) -> BoxPrediction:
    """Return what several models see of the same objects, each box two pixels off."""
    base = objects(random, each, size)
    xyxy = np.concatenate([np.clip(base + random.normal(0, 2, base.shape), 0, size) for _ in range(models)])
    xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2] + 1)
    return BoxPrediction(
        xyxy.astype(np.float32),
        np.tile(random.integers(0, CLASSES, each), models).astype(np.int32),
        random.uniform(0.05, 1, each * models).astype(np.float32),
        np.repeat(np.arange(models), each).astype(np.int16),
        models,
    )


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def peer(folder: Path | None) -> ModuleType | None:
    """Return ensemble-boxes, or None where it is not installed."""
    if folder is not None:
        sys.path.append(str(folder))
    try:
        return importlib.import_module("ensemble_boxes")
    except ModuleNotFoundError:
        return None


def for_peer(prediction: BoxPrediction) -> tuple[list[list[list[float]]], list[list[float]], list[list[int]]]:
    models = [prediction.source == number for number in range(prediction.sources)]
    return (
        [(prediction.xyxy[own] / (SIZE + 1)).tolist() for own in models],
        [prediction.scores[own].tolist() for own in models],
        [prediction.labels[own].tolist() for own in models],
    )


def against_peer(module: ModuleType, images: Sequence[BoxPrediction], rounds: int) -> None:
    lists = [for_peer(image) for image in images]
    fuse = module.weighted_boxes_fusion
    same = [
        alike(decide(image, WBF), fuse(*given, iou_thr=WBF.iou)) for image, given in zip(images, lists, strict=True)
    ]
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        took[0].append(seconds(lambda: [decide(image, WBF) for image in images]))
        took[1].append(seconds(lambda: [fuse(*given, iou_thr=WBF.iou) for given in lists]))
    ours, theirs = median(took[0]), median(took[1])
    print(
        f"  wbf, {sum(same)} of {len(images)} images with equal boxes: ours {ours:.2f} s, ensemble-boxes {theirs:.2f} s"
    )
    print(f"  ensemble-boxes / ours = {theirs / ours:.2f} (wanted: 3)")


def alike(answer: Boxes, other: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]) -> bool:
    """Return whether both have the same boxes. They differ where a model says two boxes of one object."""
    xyxy, scores, labels = other
    if len(scores) != answer.count:
        return False
    ours = np.column_stack([answer.scores, answer.labels, answer.xyxy])
    theirs = np.column_stack([scores, labels, xyxy * (SIZE + 1)])
    ordered = [rows[np.lexsort(rows[:, [2, 3, 4, 5]].round(1).T)] for rows in (ours, theirs)]
    return bool(np.allclose(*ordered, atol=0.02))


def sliced(random: np.random.Generator, count: int, side: int, config: SlicesConfig) -> Sliced:
    """Return the boxes of slices with about `count` boxes together, and the slices."""
    slices = slices_of(side, side, config.size, config.overlap)
    share = (side / config.size) ** 2 / len(slices)
    base = objects(random, int(count * share), float(side))
    labels, scores = random.integers(0, CLASSES, len(base)), random.uniform(0.1, 1, len(base))
    parts = []
    for one in slices:
        low, high = np.array([one.left, one.top]), np.array([one.right, one.bottom])
        inside = np.clip(base.reshape(-1, 2, 2), low, high) - low
        some = (inside[:, 0] + 2 < inside[:, 1]).all(axis=1)
        xyxy = inside[some].reshape(-1, 4) + random.normal(0, 0.5, (int(some.sum()), 4))
        parts.append(
            BoxPrediction(
                xyxy.astype(np.float32),
                labels[some].astype(np.int32),
                scores[some].astype(np.float32),
                np.zeros(len(xyxy), np.int16),
            )
        )
    return parts, slices


def peak(call: Callable[[], object]) -> float:
    tracemalloc.start()
    call()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not read: the boxes are random")
    parser.add_argument("--peer", type=Path, help="the folder of packages that has ensemble_boxes")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--each", type=int, default=100, help="boxes of a model in an image")
    parser.add_argument("--crowd", type=int, default=33_000, help="boxes of one image")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    random = np.random.default_rng(2018)
    images = [seen(random, options.models, options.each) for _ in range(options.images)]
    print(f"{options.images} images, {options.models} models, {options.each} boxes each; medians of {options.rounds}")
    module = peer(options.peer)
    if module is None:
        ours = median(seconds(lambda: [decide(image, WBF) for image in images]) for _ in range(options.rounds))
        print(f"  wbf: ours {ours:.2f} s; ensemble-boxes is not installed, so there is no ratio")
    else:
        against_peer(module, images, options.rounds)
    crowd = seen(random, options.models, options.crowd // options.models, 4 * SIZE)
    print(f"{len(crowd.labels):,} boxes of one image: seconds of the processor (wanted: 2 s)")
    for config in KINDS:
        took = median(seconds(partial(decide, crowd, config)) for _ in range(options.rounds))
        name = f"{config.kind} {config.decay}" if isinstance(config, SoftNmsConfig) else config.kind
        print(f"  {name:18} {took:6.2f} s")
    print(f"  wbf beside its boxes: {peak(partial(decide, crowd, WBF)):.0f} MiB at most")
    cutting = SlicesConfig(size=1024, overlap=256)
    parts, slices = sliced(random, options.crowd, 8192, cutting)
    merging = partial(merge_slices, parts, slices, (8192, 8192), cutting)
    took = median(seconds(merging) for _ in range(options.rounds))
    memory = peak(merging)
    count = sum(len(part.labels) for part in parts)
    print(f"{count:,} boxes of {len(slices)} slices merged: {took:.2f} s, {memory:.0f} MiB (wanted: 2 s)")


if __name__ == "__main__":
    main()
