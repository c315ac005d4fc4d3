"""Vehicles of 10 to 60 pixels in a made scene of 8000 x 8000 pixels: recall by size, memory, slices against the whole.

python benchmarks/scene.py [--folder DIR] [--side 8000] [--epochs 60] [--memory 3GB] [--part 3072]

Draws a contest in the layout of pets_coco, whose two classes are short and long vehicles here: 24 photos of 1024 x 1024
pixels to learn from, and one scene to predict. `medalist train` learns fold 0, `medalist predict` finds the vehicles
by slices below --memory, in processes of their own. The answers (score 0.3 and more) are matched with the known
vehicles, best score first, at an IoU of 0.5. Then the network sees a part of the scene once as a whole and once by
slices. --folder keeps all files; a second call with it trains and predicts only what is missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TRAIN, TEST = 24, 900
PHOTO = 1024
COLOURS = np.array([[200, 40, 40], [235, 235, 235], [40, 60, 160], [25, 25, 25], [190, 190, 60]])
SIZES = (0, 16, 24, 32, 48, 1000)
SLICE, OVERLAP = 512, 128
CONFIG = """
base: detect
competition: pets_coco
folds: {n: 4, seed: 2018}
image: {size: [512, 512], unit: pixel, scale: [0.8, 1.25], aim: 0.5}
augment: [{D4: {}}, {RandomBrightnessContrast: {p: 0.5}}]
model: {kind: aligned, encoder: tf_efficientnet_lite0, weights: imagenet, width: 64}
compose: {mosaic: 0.5}
train: {epochs: EPOCHS, batch: 4, lr: 1e-3, schedule: one_cycle, ema: 0.98, evaluate_every: 0}
predict: {tta: none, batch: 8, slices: {size: 512, overlap: 128}}
decide: {kind: nms, iou: 0.5, score: 0.3}
tracking: none
"""


def scene(seed: int, side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Return uint8[side, side, 3] of ground, roads and roofs, and boxes float32[N, 4] and classes of its vehicles."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 150, (side // 64 + 2, side // 64 + 2, 3)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for _ in range(side // 400 + 1):
        first, last = rng.integers(0, side, 2), rng.integers(0, side, 2)
        cv2.line(image, first.tolist(), last.tolist(), (110, 110, 112), 60)
    for _ in range(side * side // 60_000):
        polygon = cv2.boxPoints(
            ((rng.uniform(0, side), rng.uniform(0, side)), tuple(rng.uniform(30, 120, 2)), rng.uniform(0, 90))
        )
        cv2.fillPoly(image, [polygon.astype(np.int32)], rng.integers(90, 220, 3).tolist())
    boxes, labels = [], []
    taken = np.zeros((side // 8 + 16, side // 8 + 16), bool)
    for _ in range(side * side // 14_000):
        label = int(rng.random() < 0.3)
        width = rng.uniform(6, 12) if label == 0 else rng.uniform(9, 16)
        length = width * (rng.uniform(1.8, 2.4) if label == 0 else rng.uniform(3.2, 4.2))
        middle = rng.uniform(0, side, 2)
        corners = cv2.boxPoints((tuple(middle), (length, width), rng.uniform(0, 180)))
        low, high = corners.min(axis=0), corners.max(axis=0)
        if (low < 0).any() or (high > side).any():
            continue
        cells = taken[int(low[1]) // 8 : int(high[1]) // 8 + 2, int(low[0]) // 8 : int(high[0]) // 8 + 2]
        if cells.any():
            continue
        cells[:] = True
        fine = np.round(corners * 16).astype(np.int32)
        cv2.fillPoly(image, [fine + 24], (45, 45, 45), cv2.LINE_AA, 4)  # its shadow
        cv2.fillPoly(image, [fine], COLOURS[rng.integers(len(COLOURS))].tolist(), cv2.LINE_AA, 4)
        glass = middle + (corners - middle) * 0.4
        cv2.fillPoly(image, [np.round(glass * 16).astype(np.int32)], (60, 70, 80), cv2.LINE_AA, 4)
        boxes.append([*low, *high])
        labels.append(label)
    for rows in np.array_split(np.arange(side), max(1, side // 500)):
        noise = rng.normal(0, 6, (len(rows), side, 1))
        image[rows] = np.clip(image[rows] + noise, 0, 255).astype(np.uint8)
    return image, np.array(boxes, np.float32), np.array(labels, np.int64)


def draw(folder: Path, side: int) -> None:
    """Write the contest."""
    from medalist.files import write_json

    parts = {"train": [(number, PHOTO) for number in range(TRAIN)], "test": [(TEST, side)]}
    for part, scenes in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for number, length in scenes:
            image, boxes, labels = scene(number, length)
            cv2.imwrite(str(folder / part / f"{number}.png"), image[..., ::-1])
            images.append({"id": number + 1, "file_name": f"{number}.png", "width": length, "height": length})
            for x1, y1, x2, y2, label in np.column_stack([boxes, labels]).tolist():
                box, number_of = [x1, y1, x2 - x1, y2 - y1], len(annotations) + 1
                annotations.append(
                    {"id": number_of, "image_id": number + 1, "category_id": 17 + int(label), "bbox": box}
                )
                annotations[-1] |= {"area": box[2] * box[3], "iscrowd": 0}
        whole = {"images": images, "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]}
        write_json(
            folder / "annotations" / f"{part}.json", whole | ({"annotations": annotations} if part == "train" else {})
        )


def matched(
    truth: NDArray[np.float32],
    labels: NDArray[np.int64],
    found: NDArray[np.float32],
    classes: NDArray[np.int32],
    least: float,
) -> NDArray[np.int64]:
    """Return int64[N], for each answer the number of its object, or -1; answers come with the best score first."""
    from medalist.postprocess.box_overlaps import overlaps

    taken, of = np.zeros(len(truth), bool), np.full(len(found), -1)
    for number, (box, label) in enumerate(zip(found, classes, strict=True)):
        near = np.flatnonzero(
            (np.abs(truth[:, :2] - box[:2]).max(axis=1, initial=0) < 200) & (labels == label) & ~taken
        )
        if not len(near):
            continue
        values = overlaps(np.repeat(box[None], len(near), axis=0).astype(np.float64), truth[near].astype(np.float64))
        if values.max() >= least:
            of[number] = near[values.argmax()]
            taken[of[number]] = True
    return of


def recalls(side: int, answer: object) -> None:
    """Print the recall by size and by the distance from the borders of slices, and the precision."""
    from medalist.postprocess.box_slices import slices_of
    from medalist.records import Boxes

    assert isinstance(answer, Boxes)
    _, truth, labels = scene(TEST, side)
    of = matched(truth, labels, answer.xyxy, answer.labels, 0.5)
    hit = np.zeros(len(truth), bool)
    hit[of[of >= 0]] = True
    longest = (truth[:, 2:] - truth[:, :2]).max(axis=1)
    print(f"{len(truth)} vehicles, {len(of)} answers, precision {np.mean(of >= 0):.4f}, recall {hit.mean():.4f}")
    for low, high in pairwise(SIZES):
        inside = (longest >= low) & (longest < high)
        if inside.any():
            print(f"  longest side {low:>3} to {high:>4}: {inside.sum():>5} vehicles, recall {hit[inside].mean():.4f}")
    slices = slices_of(side, side, SLICE, OVERLAP)
    edges = {one.left for one in slices} | {one.right for one in slices}
    lines = np.array(sorted(edges - {0, side}), np.float32)
    cut = ((truth[:, 0:1] < lines) & (truth[:, 2:3] > lines)).any(axis=1)
    cut |= ((truth[:, 1:2] < lines) & (truth[:, 3:4] > lines)).any(axis=1)
    print(f"  cut by a border of a slice: {cut.sum()}, recall {hit[cut].mean():.4f}; others {hit[~cut].mean():.4f}")


def against_the_whole(run: Path, image: NDArray[np.uint8]) -> None:
    """Print how the answers by slices agree with those of one forward over the whole part."""
    from medalist import open_run
    from medalist.postprocess.boxes import decide
    from medalist.tasks.detect.predictor import DetectNetworks

    networks = open_run(run)._networks  # the frame of a trained run is no setting that its user changes
    assert isinstance(networks, DetectNetworks)
    side = image.shape[0]
    frame = networks.settings.image.model_copy(update={"size": (side, side)})
    predict = networks.settings.predict.model_copy(update={"slices": None, "most": 100_000})
    whole_settings = networks.settings.model_copy(update={"image": frame, "predict": predict})
    whole = DetectNetworks(whole_settings, networks.place, networks.models, networks.normalisation, networks.task)
    config = networks.settings.decide.model_copy(update={"max_boxes": None})
    found = {}
    for name, one in (("slices", networks), ("whole", whole)):
        started = time.perf_counter()
        found[name] = decide(one.predict([image])[0], config)
        print(f"  {name}: {len(found[name].labels)} vehicles in {time.perf_counter() - started:.1f} s")
    for least in (0.5, 0.9):
        of = matched(
            found["whole"].xyxy,
            found["whole"].labels.astype(np.int64),
            found["slices"].xyxy,
            found["slices"].labels,
            least,
        )
        both = (of >= 0).sum()
        union = len(found["whole"].labels) + len(of) - both
        print(f"  the same vehicle with an IoU of {least} or more: {both} of {union} in either ({both / union:.4f})")
    pairs = of >= 0
    moved = np.abs(found["slices"].xyxy[pairs] - found["whole"].xyxy[of[pairs]]).max(axis=1)
    scores = np.abs(found["slices"].scores[pairs] - found["whole"].scores[of[pairs]])
    print(f"  of these: corners differ by {np.median(moved):.3f} pixels (99 %: {np.quantile(moved, 0.99):.2f})")
    print(f"  and scores by {np.median(scores):.4f} (99 %: {np.quantile(scores, 0.99):.3f})")


def main() -> None:
    """Draw, train, predict and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--memory", default="3GB")
    parser.add_argument("--part", type=int, default=3072)
    given = parser.parse_args()
    if given.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), given)
    else:
        measure(given.folder, given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    """Do all of it in `folder`."""
    from medalist.postprocess.boxes import decide
    from medalist.runs.runs import Run
    from medalist.stores.boxes import BoxStore
    from medalist.workflows.score import changed_settings

    data, config = folder / "data", folder / "scene.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    if not (data / "annotations" / "test.json").exists():
        draw(data, given.side)
    config.write_text(CONFIG.replace("EPOCHS", str(given.epochs)))
    medalist = [str(Path(sys.executable).with_name("medalist")), "--runs", str(folder / "runs")]
    started = time.perf_counter()
    subprocess.run([*medalist, "train", str(config), "--data", str(data), "--fold", "0"], check=True)
    print(f"trained in {(time.perf_counter() - started) / 60:.1f} min", flush=True)
    run, started = folder / "runs" / "pets_coco" / "scene", time.perf_counter()
    command = [*medalist, "predict", str(run), "--split", "test", "--data", str(data), "--memory", given.memory]
    subprocess.run(command, check=True)
    print(f"predicted in {time.perf_counter() - started:.1f} s", flush=True)
    prediction = BoxStore(run / "test").read("test")[1][0]
    settings = changed_settings(Run(run), ["decide.max_boxes=null"], "decide")
    recalls(given.side, decide(prediction, settings.decide))
    print(
        f"a part of {given.part} x {given.part} pixels, at once and by slices of {SLICE} with an overlap of {OVERLAP}:"
    )
    against_the_whole(run, scene(TEST, given.side)[0][: given.part, : given.part])


if __name__ == "__main__":
    main()
