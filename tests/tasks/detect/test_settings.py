from __future__ import annotations

from collections.abc import Callable

import pytest

from medalist.errors import ConfigError
from medalist.tasks.detect.settings import DetectSettings

Read = Callable[..., DetectSettings]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("image.size=[100, 128]", "image.size"),
        ("image.scale=[2, 1]", "the first factor is above the second"),
        ("train.mix=[{kind: mosaic}]", "take compose.mosaic or compose.mixup"),
        ("train.sizes=[{epochs: 1, size: [64, 64]}]", "take image.size and image.scale"),
        ("model.kind=yolo", "allowed: aligned, fcos, retinanet, faster_rcnn, mask_rcnn, detr"),
        ("model={kind: detr, encoder: resnet18, queries: 253}", "but a frame of 128x96 has 252 places; lower"),
        ("model={kind: detr, encoder: rtdetr_resnet18}", "rtdetr_resnet18 has no ImageNet weights of its own"),
        ("model.finest=5", "model.finest = 5"),
        ("decide.kind=wbx", "did you mean 'wbf'?"),
        ("predict.slices={size: 64, overlap: 64}", "overlap must be smaller than size"),
        ("decide.score=1.0", "command line: decide.score = 1.0: must be less than 1"),
        ("decide.score={RBC: 2}", "command line: decide.score.RBC = 2: must be less than 1"),
        ("decide.score=high", "command line: decide.score = 'high': must be a valid number"),
        ("compose.mosaic=1.5", "compose.mosaic = 1.5"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(settings_of: Read, change: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(change)
    assert words in str(caught.value) and "\n" not in str(caught.value)


MASKS = ("model={kind: mask_rcnn, encoder: test_resnet, weights: none}", "decide={kind: masks}", "compose.mixup=0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("decide={kind: nms}", "set decide.kind=masks"),
        ("predict.slices={}", "set predict.slices=null"),
        ("compose.mixup=0.1", "set compose.mixup=0"),
        ("augment=[{RandomGridShuffle: {}}]", "augment[0].RandomGridShuffle: it would change the outlines"),
        ("augment=[{Affine: {mask_interpolation: 1}}]", "augment[0].Affine: mask_interpolation would blend"),
        ("augment=[{D4: {}}, {Rotate: {border_mode: 4}}]", "augment[1].Rotate: border_mode would make copies"),
        ("model={kind: aligned, encoder: test_resnet, weights: none}", "set model.kind=mask_rcnn"),
    ],
)
def test_masks_that_do_not_work_are_refused(settings_of: Read, change: str, words: str) -> None:
    assert settings_of(*MASKS).decide.kind == "masks"
    with pytest.raises(ConfigError) as caught:
        settings_of(*MASKS, change)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_config_says_of_sizes_and_weights(settings_of: Read) -> None:
    settings = settings_of()
    line = "training sees frames of 128x96, scaled by 0.8..1.25, prediction frames of 128x96"
    assert settings.sizes_line == line and settings.pretrained.encoder == "test_resnet"
    own = settings_of("model={kind: detr, encoder: rtdetr_resnet18, weights: a/b, queries: 252}").pretrained
    assert own.whole and not own.in_timm and not settings.pretrained.whole
    assert "scaled" not in settings_of("image.scale=[1, 1]").sizes_line
