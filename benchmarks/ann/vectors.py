"""Real vectors for the nearest-neighbour benchmark, made of the images under a folder.

python benchmarks/ann/vectors.py [--data DIR] [--out runs/ann] [--sets sift deep112 deep320]

Every sub-folder of DIR is a source; its images (at least 128 pixels on the short side) are split by a fixed seed into
95 % for the base and 5 % for the queries, so that no query comes from an image that the base has seen. No source and
no image takes more than its share: a level is found up to which all of them are filled.

sift     OpenCV's SIFT descriptors of the grey image, 128 whole numbers of 0..255 as float32, strongest first; L2
deep112  patch features of the pretrained efficientnet-lite0 encoder, its map of 112 channels (stride 16); cosine
deep320  the same of its map of 320 channels (stride 32), from the photos as they are, and doubled and
         mirrored; cosine

Deep vectors have length 1. Exact duplicates are dropped. Written are {name}-base.npy and {name}-queries.npy, each
under a temporary name first.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROJECT = Path(__file__).parent.parent.parent
SUFFIXES = (".jpg", ".jpeg", ".png")
SMALLEST = 128
"""Pixels of the short side below which an image is left out: a pen stroke on 105 pixels has no texture."""
HELD_OUT = 0.05
SEED = 20261122
SIZES = {"sift": (500_000, 10_000), "deep112": (200_000, 10_000), "deep320": (200_000, 10_000)}
"""Vectors wanted of each set: base, queries."""
DEEP = {"deep112": (3, ((1.0, False),)), "deep320": (4, ((1.0, False), (2.0, True)))}
"""Of each deep set the number of the map among the encoder's five, and (scale, mirrored) of the views of a photo."""
VIEW = 320
"""Pixels of a view's sides at most; a large photo is cut, not shrunk, so that a patch keeps its size."""
PER_IMAGE = 1000
"""Vectors kept of one image before the levels are found; bounds the memory."""

Rows = NDArray[np.float32]
Describe = Callable[[Path, np.random.Generator], Rows]


def sources(data: Path) -> dict[str, list[Path]]:
    """The images of each sub-folder of `data` that are large enough, in order of their names."""
    found = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        large = [path for path in files if min(size_of(path)) >= SMALLEST]
        if large:
            found[folder.name] = large
    return found


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def level(counts: Sequence[int], wanted: int) -> int:
    """The smallest cap whose capped counts add up to `wanted` or more; the largest count where all are too few."""
    low, high = 0, max(counts, default=0)
    while low < high:
        middle = (low + high) // 2
        if sum(min(count, middle) for count in counts) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def levelled(by_source: Sequence[Sequence[Rows]], wanted: int) -> Rows:
    """About `wanted` rows: each source up to one level, in each source each image up to one level."""
    share = level([sum(map(len, images)) for images in by_source], wanted)
    parts = []
    for images in by_source:
        cap = level([len(rows) for rows in images], share)
        parts += [rows[:cap] for rows in images]
    return np.concatenate(parts)


def without_duplicates(rows: Rows, others: Rows | None = None) -> Rows:
    """Rows that stand in neither an earlier row nor `others`, in their order."""
    keys = as_keys(rows)
    first = np.sort(np.unique(keys, return_index=True)[1])
    if others is not None:
        first = first[~np.isin(keys[first], as_keys(others))]
    return rows[first]


def as_keys(rows: Rows) -> NDArray[np.uint64]:
    """A 64-bit hash of each row, the same for equal rows; two unequal rows of millions practically never share one."""
    words = np.ascontiguousarray(rows + np.float32(0)).view(np.uint32)  # +0 makes -0.0 and 0.0 one
    odd = np.random.default_rng(SEED).integers(1, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), 10_000):
        block = words[start : start + 10_000].astype(np.uint64)
        keys[start : start + 10_000] = ((block + np.uint64(1)) * odd).sum(axis=1, dtype=np.uint64)
    return keys


def sift(path: Path, _: np.random.Generator) -> Rows:
    """Descriptors of one image, the strongest keypoints first."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise SystemExit(f"{path} cannot be read as an image")
    # The defaults (0.04, 10) leave some ten descriptors of a smooth cell image; weaker ones are real texture, too.
    finder = cv2.SIFT_create(contrastThreshold=0.004, edgeThreshold=15)
    points, rows = finder.detectAndCompute(grey, None)
    if rows is None:
        return np.empty((0, 128), np.float32)
    order = np.argsort([-point.response for point in points], kind="stable")[:PER_IMAGE]
    return rows[order].astype(np.float32)


def deep(number: int, views: Sequence[tuple[float, bool]]) -> Describe:
    """A describer of photos by patch features of the pretrained encoder's map `number`, in random order."""
    import timm
    import torch

    from medalist.models.encoders import fitted_state, quiet_timm, statistics
    from medalist.models.weights import find_weights, load_state

    name = "tf_efficientnet_lite0"
    with quiet_timm():
        encoder = timm.create_model(name, features_only=True, out_indices=(number,))
    state = fitted_state(name, load_state(find_weights(name).path))
    missing = encoder.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise SystemExit(f"the weights of {name} lack {missing[0]}")
    encoder.eval()
    mean, std = (np.array(values, np.float32) for values in statistics(name))

    def describe(path: Path, random: np.random.Generator) -> Rows:
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if photo is None:
            raise SystemExit(f"{path} cannot be read as an image")
        parts = []
        for scale, mirrored in views:
            view = cut(photo, int(VIEW / scale), random)
            view = cv2.resize(view, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            view = view[:, ::-1] if mirrored else view
            pixels = (view.astype(np.float32) / 255 - mean) / std
            with torch.inference_mode():
                (maps,) = encoder(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])))
            parts.append(maps[0].flatten(1).T.numpy())
        rows = np.concatenate(parts)
        rows = rows[random.permutation(len(rows))[:PER_IMAGE]]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.maximum(lengths, 1e-12))[lengths[:, 0] > 0].astype(np.float32)

    return describe


def cut(photo: NDArray[np.uint8], side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """A part of the photo of at most `side` pixels each way, at a random place."""
    top, left = (int(random.integers(0, max(length - side, 0) + 1)) for length in photo.shape[:2])
    return photo[top : top + side, left : left + side]


def described(images: Sequence[Path], describe: Describe, random: np.random.Generator) -> Iterator[Rows]:
    for path in images:
        yield describe(path, random)


def make(found: dict[str, list[Path]], describe: Describe, sizes: tuple[int, int]) -> tuple[Rows, Rows]:
    """Base and queries, from images apart, shuffled, without exact duplicates."""
    random = np.random.default_rng(SEED)
    base_of, queries_of = [], []
    for images in found.values():
        order = random.permutation(len(images))
        held = max(1, round(HELD_OUT * len(images)))
        queries_of.append(list(described([images[i] for i in order[:held]], describe, random)))
        base_of.append(list(described([images[i] for i in order[held:]], describe, random)))
    wanted, asked = sizes
    base = without_duplicates(levelled(base_of, wanted + wanted // 20))
    queries = without_duplicates(levelled(queries_of, asked + asked // 10), base)
    return base[random.permutation(len(base))[:wanted]], queries[random.permutation(len(queries))[:asked]]


def save(path: Path, rows: Rows) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished-{os.getpid()}")
    with unfinished.open("wb") as file:
        np.save(file, np.ascontiguousarray(rows, np.float32))
    unfinished.replace(path)


def ensure(name: str, data: Path, out: Path) -> tuple[Path, Path]:
    """The two files of a set, made where one is missing."""
    base_file, queries_file = out / f"{name}-base.npy", out / f"{name}-queries.npy"
    if not (base_file.exists() and queries_file.exists()):
        start = time.perf_counter()
        found = sources(data) if data.is_dir() else {}
        if not found:
            raise SystemExit(f"{data} has no sub-folder with images; give --data, a folder of image folders")
        base, queries = make(found, sift if name == "sift" else deep(*DEEP[name]), SIZES[name])
        out.mkdir(parents=True, exist_ok=True)
        save(queries_file, queries)
        save(base_file, base)
        took = time.perf_counter() - start
        counts = ", ".join(f"{folder} {len(images)}" for folder, images in found.items())
        print(f"{name}: {base.shape} base, {queries.shape} queries, {took:.0f} s; images: {counts}", flush=True)
    return base_file, queries_file


def data_folder() -> Path:
    return Path(os.environ.get("MEDALIST_DATA", PROJECT.parent / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of folders with images")
    parser.add_argument("--out", type=Path, default=PROJECT / "runs" / "ann")
    parser.add_argument("--sets", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # torch reads it when it is imported
    cv2.setNumThreads(options.threads)
    for name in options.sets:
        ensure(name, options.data, options.out)


if __name__ == "__main__":
    main()
