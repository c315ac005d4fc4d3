"""Prediction by tiles: its time against the bare forward passes on the same tiles, its peak memory, and its seams.

python benchmarks/tiles.py [--height 4000] [--width 6000] [--size 512] [--overlap 128] [--format tif] [--rounds 3]
python benchmarks/tiles.py --height 20000 --width 20000 --memory 2GB --whole-walk

The network is a U-Net over the smallest encoder of timm or over EfficientNet-lite0, or two convolutions, with random
weights, on the processors.
The image is predicted in turns: by the forward passes alone, on tensors that are ready, and by `TilePredictor`, which
reads the file, normalises, predicts and adds. --memory lets the limit choose the tiles. --whole-walk predicts once,
keeps the maps, reads them back, blends, decides and encodes them, and prints the peak memory after each step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 512


def draw(path: Path, height: int, width: int, form: str) -> None:
    """Write an image of many soft discs, tile by tile."""
    import tifffile

    y, x = np.mgrid[:BLOCK, :BLOCK] / BLOCK

    @cache
    def tile(number: int) -> NDArray[np.uint8]:
        random = np.random.default_rng(number)
        found = np.zeros((BLOCK, BLOCK))
        for row, column, radius in random.uniform(0.1, 0.9, (12, 3)):
            found += np.exp(-((y - row) ** 2 + (x - column) ** 2) / (0.002 + 0.01 * radius))
        noise = random.integers(0, 40, (BLOCK, BLOCK, 3))
        return np.asarray(np.clip(found[..., None] * (60, 150, 200) + noise, 0, 255), np.uint8)

    count = -(-height // BLOCK) * -(-width // BLOCK)
    if form == "tif":
        tiles = (tile(number % 20) for number in range(count))
        tifffile.imwrite(
            path, tiles, shape=(height, width, 3), dtype=np.uint8, tile=(BLOCK, BLOCK), photometric="rgb",
            compression="zlib", compressionargs={"level": 1}, maxworkers=1, metadata=None,
        )  # fmt: skip
    else:
        import cv2

        made = np.zeros((height, width, 3), np.uint8)
        for number in range(count):
            row, column = (place * BLOCK for place in divmod(number, -(-width // BLOCK)))
            part = made[row : row + BLOCK, column : column + BLOCK]
            part[...] = tile(number % 20)[: part.shape[0], : part.shape[1]]
        cv2.imwrite(str(path), made)


def predictor_of(options: argparse.Namespace, folder: Path) -> Any:
    import torch

    from medalist.data.items import Normalisation
    from medalist.engine.placement import DevicePlacement
    from medalist.tasks.segment.loss_settings import LossConfig
    from medalist.tasks.segment.model_settings import SmpConfig
    from medalist.tasks.segment.network import build_model, normalisation
    from medalist.tasks.segment.settings import PredictConfig
    from medalist.tasks.segment.task import SegmentTask
    from medalist.tasks.segment.tiled import TilePredictor

    torch.manual_seed(0)
    encoder = "tf_efficientnet_lite0" if options.network == "lite0" else "test_resnet"
    model = SmpConfig(
        kind="unet", encoder=encoder, weights="none", channels=("one",), decoder_channels=(32, 16, 16, 8, 8)
    )
    mean, std = normalisation(model)
    network = build_model(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.network == "conv":
        network = convolutions().eval().to(memory_format=torch.channels_last)
    tile = {"size": options.size, "overlap": options.overlap}
    config = {"tta": "none", "batch": options.batch, "memory": options.memory, "tile": None if options.memory else tile}
    return TilePredictor(
        DevicePlacement(torch.device("cpu"), "32-true"),
        SegmentTask(LossConfig(bce=1.0), ("one",)),
        [network],
        Normalisation(tuple(mean), tuple(std)),
        PredictConfig.model_validate(config),
        model.stride,
        True,
        folder,
    )


def convolutions() -> Any:
    """Two convolutions at half the size: what is left of the time is that of the tiles."""
    from torch import nn

    layers = [
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 1, 3, padding=1),
        nn.Upsample(scale_factor=2),
    ]
    return nn.Sequential(*layers)


def opened(path: Path, folder: Path) -> Any:
    from medalist.data.settings import ImageConfig
    from medalist.data.windows import opener

    return opener(65535, ImageConfig(), folder)(path)


def ratio(options: argparse.Namespace, path: Path, folder: Path) -> None:
    """Print the time of the bare forward passes over that of the prediction."""
    import torch

    from medalist.system import peak_memory
    from medalist.tasks.segment.inference import average_views
    from medalist.tasks.segment.memory import fitted
    from medalist.tasks.segment.tiled import Tiles

    predictor, image = predictor_of(options, folder), opened(path, folder)
    if options.memory:
        predictor = replace(predictor, config=fitted(predictor, [image.size]))
    tile = predictor.config.tile
    tiles = Tiles.of(image.size, tile, predictor.stride)
    down, right = len(tiles.down.starts), len(tiles.right.starts)
    batch = predictor.config.batch
    sizes = [min(batch, right - first) for first in range(0, right, batch)] * down
    ready = {
        count: torch.randn(count, 3, tile.size, tile.size).to(memory_format=torch.channels_last) for count in set(sizes)
    }

    def forwards() -> None:
        with torch.inference_mode():
            for count in sizes:
                average_views(predictor.task, predictor.models, ready[count], predictor.config, predictor.stride)

    seams = []
    pairs = []
    for _ in range(options.rounds + 1):  # the first round is not counted
        times = []
        for call in (forwards, lambda: seams.append(predictor.predict(image).seam_score)):
            began, worked = time.perf_counter(), time.process_time()
            call()
            times += [time.perf_counter() - began, time.process_time() - worked]
        pairs.append(times)
    bare, _, ours, _ = (median(column) for column in zip(*pairs[1:], strict=True))
    print(
        f"{options.width}x{options.height} {options.format}, {tiles.count} tiles of {tile.size} with overlap "
        f"{tile.overlap}, batch {batch}: forwards {bare:.1f} s, prediction {ours:.1f} s"
    )
    wall, worked = (median(row[at] / row[at + 2] for row in pairs[1:]) for at in (0, 1))
    print(f"  ratio {wall:.3f}, of seconds of processors {worked:.3f}   (wanted: at least 0.85)")
    print(f"  seams: jumps {seams[-1]:.3f} times those elsewhere")
    limit = f", limit {options.memory}" if options.memory else ""
    print(f"  peak memory {peak_memory() / 1e9:.2f} GB{limit}")


def whole_walk(options: argparse.Namespace, path: Path, folder: Path) -> None:
    """Predict, keep, read back, decide and encode the image once; print the seconds and the peak after each step."""
    from medalist.codecs.rle import encode_mask
    from medalist.ensemble.blend import blend
    from medalist.postprocess.decide import decide
    from medalist.postprocess.settings import ThresholdConfig
    from medalist.records import Mask
    from medalist.stores.maps import MapStore
    from medalist.system import peak_memory
    from medalist.tasks.segment.memory import fitted

    began = time.perf_counter()

    def done(what: str) -> None:
        print(f"  {what:<24} {time.perf_counter() - began:7.1f} s   peak {peak_memory() / 1e9:.2f} GB", flush=True)

    store = MapStore(folder / "test")
    predictor, image = predictor_of(options, folder / "test"), opened(path, folder)
    done("opened")
    if options.memory:
        predictor = replace(predictor, config=fitted(predictor, [image.size]))
        done(f"tiles of {predictor.config.tile.size}, batch {predictor.config.batch}")
    found = predictor.predict(image)
    done("predicted")
    store.write("x", found.prediction)
    done("stored")
    score = found.seam_score
    del found, predictor
    runs = [store.read("x", ("one",)) for _ in range(2)]
    prediction = blend(runs, folder)
    del runs
    done("read and blended twice")
    answer = decide(prediction, ThresholdConfig(threshold=0.5, min_size=50, fill_holes=True))
    assert isinstance(answer, Mask)
    done("decided")
    code = encode_mask(answer.classes)
    done("encoded")
    print(f"  {len(code):,} letters, {int(np.count_nonzero(answer.classes)):,} pixels; seams {score:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--format", choices=("tif", "png", "jpg"), default="tif")
    parser.add_argument("--memory")
    parser.add_argument("--network", choices=("unet", "lite0", "conv"), default="unet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole-walk", action="store_true")
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.image is not None:
        (whole_walk if options.whole_walk else ratio)(options, options.image, options.image.parent)
        return
    with tempfile.TemporaryDirectory(dir=".") as place:
        path = Path(place) / f"x.{options.format}"
        draw(path, options.height, options.width, options.format)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--image", str(path)], check=True)


if __name__ == "__main__":
    main()
