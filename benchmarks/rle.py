"""Compare our RLE with pycocotools, and time the decoding of all training objects of a contest into label maps.

python benchmarks/rle.py [--data ../shared/data/dsb2018]

Our times include the text of the submission; those of pycocotools include the compressed counts that it uses as text.
Runs are interleaved (ours, theirs, ours, ...) on one core. A line has the two medians and their ratio; below 1, ours is
faster. Each gets the mask in the memory order that its users have: C order for ours, Fortran order for pycocotools.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from medalist.codecs.rle import Order, decode_labels, decode_mask, decode_runs, encode_labels, encode_mask
from medalist.files import read_table

SIZE = (1280, 1918)
ORDERS: tuple[Order, ...] = ("column", "row")


def masks() -> dict[str, NDArray[np.bool_]]:
    """Return typical masks of contests, and the worst case, which is noise with half a million runs."""
    random = np.random.default_rng(2018)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    car = ((x - 950) / 700) ** 2 + ((y - 640) / 380) ** 2 < 1 + 0.1 * np.sin(x / 7) * np.cos(y / 11)
    cells = np.zeros(SIZE, np.uint8)
    for _ in range(300):
        centre = (int(random.integers(SIZE[1])), int(random.integers(SIZE[0])))
        cv2.circle(cells, centre, int(random.integers(5, 30)), 1, -1)
    return {"one car": car, "300 cells": cells.astype(np.bool_), "noise": random.random(SIZE) < 0.3}


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return the median seconds of each of the two calls."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for call, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


def against_pycocotools(runs: int) -> None:
    print(f"{SIZE[1]}x{SIZE[0]} masks, {runs} interleaved runs, medians: ours ms / pycocotools ms = ratio")
    for name, mask in masks().items():
        fortran = np.asfortranarray(mask.astype(np.uint8))
        counts = coco.encode(fortran)
        for order in ORDERS:
            text = encode_mask(mask, order)
            assert np.array_equal(decode_mask(text, SIZE, order), coco.decode(counts))
            pairs = {
                "encode to text": (partial(encode_mask, mask, order), partial(coco.encode, fortran)),
                "decode from text": (partial(decode_mask, text, SIZE, order), partial(coco.decode, counts)),
                "text to runs only": (partial(decode_runs, text, SIZE, order), partial(coco.decode, counts)),
            }
            for what, (ours, theirs) in pairs.items():
                a, b = interleaved(ours, theirs, runs)
                print(f"  {name}, {order + 's':8} {what:18} {a * 1e3:8.2f} / {b * 1e3:6.2f} = {a / b:5.2f}")


def contest(folder: Path, runs: int) -> None:
    meta = read_table(folder / "stage1_train_meta.csv", ("ImageId", "Width", "Height"))
    sizes = {row["ImageId"]: (int(row["Height"]), int(row["Width"])) for row in meta}
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_table(folder / "stage1_train_labels.csv", ("ImageId", "EncodedPixels")):
        texts[row["ImageId"]].append(row["EncodedPixels"])
    decoding, encoding = [], []
    for _ in range(runs):
        start = time.perf_counter()
        labels = {name: decode_labels(texts[name], sizes[name]) for name in texts}
        decoding.append(time.perf_counter() - start)
        start = time.perf_counter()
        again = {name: encode_labels(labels[name]) for name in labels}
        encoding.append(time.perf_counter() - start)
        assert again == texts
    objects = sum(map(len, texts.values()))
    print(f"{objects} objects of {len(texts)} images, {runs} runs, medians:")
    print(f"  rows to label maps {median(decoding):.2f} s, label maps to rows {median(encoding):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the nuclei contest")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools gives them with NumPy 2
    against_pycocotools(options.runs)
    if options.data:
        contest(options.data, max(options.runs // 3, 1))


if __name__ == "__main__":
    main()
