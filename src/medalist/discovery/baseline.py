"""Write the config of a baseline that fits the data: the size of crops, the batch, the folds and the decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medalist.discovery.finding import ClassCodes, Finding, MaskFiles
from medalist.discovery.pictures import Shapes

_PIXELS = 8 * 256 * 256  # of a batch of masks or labels: about 3 GB of memory with the default network
_BOX_PIXELS = 8 * 512 * 512
_LARGE = 4096  # images with a longer side are trained by tiles


def baseline(name: str, data: Path, finding: Finding, shapes: Shapes) -> str:
    """Return the text of a config for `medalist train`. data: the contest's folder. shapes: of the training images."""
    height, width = shapes.middle
    count = len(finding.train.images.files)
    lines = [
        f"# medalist train configs/{name}/baseline.yaml --fold 0",
        "# Written by `medalist new`. Nothing is measured yet: `medalist plan` says what it will cost, and which batch",
        f"# fits. The middle of {sum(shapes.sizes.values()):,} training images is {width}x{height} pixels.",
    ]
    match finding.kind:
        case "mask" | "classes" | "instances":
            body = _segment(finding, shapes, count)
        case "boxes":
            body = _detect(height, width, count)
        case "identities":
            body = _embed(height, width, count)
        case "label" | "labels" | "ordinal":
            body = _classify(finding, height, width, count)
    folds = [f"folds: {{n: {_folds(count)}, seed: 2018}}"]
    base = {"boxes": "detect", "identities": "embed", "mask": "segment", "classes": "segment", "instances": "segment"}
    head = [f"base: {base.get(finding.kind, 'classify')}", f"competition: {name}", f"data: {json.dumps(str(data))}"]
    return "\n".join([*lines, *head, *folds, *body, ""])


def _folds(count: int) -> int:
    return 5 if count >= 25 else 2


def _segment(finding: Finding, shapes: Shapes, count: int) -> list[str]:
    height, width = shapes.middle
    side = _crop(min(height, width))
    tiled = max(shapes.largest) > _LARGE
    crop = f"{{height: {side[0]}, width: {side[1]}, pad_if_needed: true}}"
    lines = ["augment:"]
    lines += [f"  - RandomCrop: {crop}"] if not tiled else []
    lines += ["  - HorizontalFlip: {p: 0.5}", "  - RandomBrightnessContrast: {brightness_limit: 0.2, p: 0.5}"]
    lines += [f"sampler: {{kind: tiles, size: {side[0]}, content: 0.5}}"] if tiled else []
    truth = finding.truth
    if finding.kind == "instances":
        decide = ["predict: {tta: flips}", "decide: {kind: watershed}"]
    elif finding.kind == "mask":
        lines.append("model: {channels: [foreground]}")
        decide = ["predict: {tta: flips}", "decide: {kind: threshold, threshold: 0.5}"]
    elif isinstance(truth, ClassCodes):
        lines.append(f"model: {{channels: {_names(truth.classes[1:])}}}")
        decide = ["predict: {tta: flips}", "decide: {kind: classes, rule: thresholds, threshold: 0.5}"]
    else:
        assert isinstance(truth, MaskFiles)
        lines.append("task: {activation: softmax}")
        lines.append(f"model: {{channels: {_names(truth.names)}}}")
        lines.append("loss: {bce: 0.0, ce: 1.0, dice: 0.5}")
        decide = ["predict: {tta: none, batch: 1}", "decide: {kind: classes}"]
    lines.append(_train(count, side, _PIXELS))
    return lines + decide


def _classify(finding: Finding, height: int, width: int, count: int) -> list[str]:
    size = _fit(height, width, 224, 320)
    mode = {"label": "single", "labels": "multi", "ordinal": "ordinal"}[finding.kind]
    lines = [f"task: {{mode: {mode}}}", f"image: {{size: [{size[0]}, {size[1]}]}}", "augment:"]
    lines += ["  - HorizontalFlip: {p: 0.5}", "  - RandomBrightnessContrast: {brightness_limit: 0.2, p: 0.5}"]
    if finding.kind == "labels":
        lines += ["loss: {kind: bce}", _train(count, size, 32 * 224 * 224)]
        return [*lines, "decide: {kind: threshold, threshold: 0.5}"]
    if finding.kind == "ordinal":
        lines += ["loss: {kind: regression, error: smooth_l1}", _train(count, size, 32 * 224 * 224)]
        return [*lines, "decide: {kind: regression, cuts: tuned}"]
    return [*lines, _train(count, size, 32 * 224 * 224)]


def _detect(height: int, width: int, count: int) -> list[str]:
    size = _fit(height, width, 512, 800)
    return [
        f"image: {{size: [{size[0]}, {size[1]}]}}",
        "augment: [{HorizontalFlip: {p: 0.5}}, {RandomBrightnessContrast: {p: 0.5}}]",
        _train(count, size, _BOX_PIXELS),
    ]


def _embed(height: int, width: int, count: int) -> list[str]:
    size = _fit(height, width, 224, 384)
    return [
        f"image: {{size: [{size[0]}, {size[1]}]}}",
        "augment:",
        "  # A mirrored identity may be another one, so there is no flip.",
        "  - Affine: {rotate: [-10, 10], scale: [0.9, 1.1], p: 0.8}",
        "  - RandomBrightnessContrast: {brightness_limit: 0.2, p: 0.5}",
        _train(count, size, 32 * 224 * 224),
    ]


def _train(count: int, size: tuple[int, int], pixels: int) -> str:
    """The section `train`: the batch is a power of 2 that fits, and an epoch has at least four batches."""
    batch = 2
    while batch < 32 and 2 * batch * size[0] * size[1] <= pixels and 8 * batch <= count:
        batch *= 2
    return f"train: {{epochs: 20, batch: {batch}}}"


def _crop(short: int) -> tuple[int, int]:
    """The sides of a crop, by the shorter side of an image: up to 256 pixels of small images, 512 of large ones."""
    most = 512 if short >= 1024 else 384 if short >= 700 else 256
    side = min(most, max(64, -(-short // 32) * 32))
    return side, side


def _fit(height: int, width: int, short: int, most: int) -> tuple[int, int]:
    """A size of whole images, multiples of 32 of about the same shape: the shorter side has at most `short` pixels."""
    scale = min(1.0, short / min(height, width), 2 * most / max(height, width))
    sides = [max(32, round(side * scale / 32) * 32) for side in (height, width)]
    return sides[0], sides[1]


def _names(names: Sequence[str]) -> str:
    return "[" + ", ".join(json.dumps(name, ensure_ascii=not name.isprintable()) for name in names) + "]"
