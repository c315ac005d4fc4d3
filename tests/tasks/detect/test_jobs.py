from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.data.targets import BoxTarget
from medalist.errors import ConfigError, FoldError
from medalist.formats.boxes import BoxesFormat
from medalist.formats.coco_boxes import CocoBoxesFormat
from medalist.formats.rle import RleFormat
from medalist.postprocess.box_settings import MasksConfig, NmsConfig
from medalist.records import Sample
from medalist.tasks.detect.classes import competition_classes
from medalist.tasks.detect.jobs import refuse_absent, shapes_of
from medalist.tasks.detect.model_settings import MaskRcnnConfig
from medalist.tasks.detect.rehearsal import refuse_other_truths, refuse_unanswerable
from medalist.tasks.detect.settings import DetectSettings

from .conftest import PROJECT, Cells

Read = Callable[..., DetectSettings]
RETINA = ("model={kind: retinanet, encoder: test_resnet, weights: none, scales: [1], ratios: [1], coarsest: 32}",)


def test_a_class_without_objects_is_refused_or_allowed(settings_of: Read) -> None:
    with pytest.raises(FoldError, match=r"fold 1 has no object of 1 of 2 classes \('b'\)"):
        refuse_absent(settings_of("task.absent=refuse"), ("a", "b"), (3, 0), 1)
    refuse_absent(settings_of(), ("a", "b"), (3, 0), 1)


def test_anchors_are_fitted_to_boxes_as_the_network_sees_them(settings_of: Read) -> None:
    samples = [Sample("a", (Path("a"),), (48, 64))]  # the frame is twice as large
    corners = np.array([[0, 0, 5, 5], [0, 0, 10, 20], [0, 0, 40, 40]], np.float32)
    targets = [BoxTarget(corners, np.zeros(3, np.int64))]
    shapes = shapes_of(settings_of(*RETINA, "model.anchors=fitted"), samples, targets)
    assert shapes is not None and shapes.reshape(-1, 2).tolist() == [[10, 10], [20, 40], [80, 80]]
    assert shapes_of(settings_of(*RETINA), samples, targets) is None and shapes_of(settings_of(), samples, []) is None


def test_answers_that_the_format_cannot_write_are_refused() -> None:
    form, image = BoxesFormat(("id", "boxes"), classes=("a", "b")), Sample("x", (Path("x"),), (64, 64))
    refuse_unanswerable(NmsConfig(), form, ("a", "b"), image)
    with pytest.raises(ConfigError, match=r"decide.kind = nms gives answers that the contest does not accept"):
        refuse_unanswerable(NmsConfig(), form, ("a", "b", "c"), image)


def test_a_network_that_does_not_fit_the_truths_is_refused(drawn_cells: Cells, settings_of: Read) -> None:
    contest = drawn_cells.contest()
    masks = MaskRcnnConfig(kind="mask_rcnn", encoder="test_resnet")
    refuse_other_truths(contest, settings_of().model)
    with pytest.raises(ConfigError, match=r"the truths of bccd are boxes; set model.kind=faster_rcnn"):
        refuse_other_truths(contest, masks)


def test_objects_are_tried_with_masks() -> None:
    image, config = Sample("x", (Path("x"),), (64, 64)), MasksConfig(kind="masks")
    refuse_unanswerable(config, RleFormat(), ("object",), image)
    with pytest.raises(ConfigError, match=r"decide.kind = masks gives answers that the contest does not accept"):
        refuse_unanswerable(config, RleFormat(row_per="image"), ("object",), image)
    assert competition_classes(load_competition("dsb2018", PROJECT / "competitions")) == ("object",)
    with pytest.raises(ConfigError, match="does not ask for boxes"):
        competition_classes(load_competition("tgs_salt", PROJECT / "competitions"))


def test_the_format_is_tried_with_an_id_of_the_contest() -> None:
    form = CocoBoxesFormat(classes=("a", "b"), categories=(1, 7))  # ids are whole numbers
    refuse_unanswerable(NmsConfig(), form, ("a", "b"), Sample("12", (Path("x"),), (64, 64)))
