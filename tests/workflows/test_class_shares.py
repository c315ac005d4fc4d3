from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.formats.class_rle import ClassRleFormat
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.layouts import images_in_folder, label_masks, masks_in_folder, read_split
from medalist.metrics import mean_iou
from medalist.records import Instances, Mask, Sample, Split
from medalist.reporter import SilentReporter
from medalist.workflows.check import WARNING, check
from medalist.workflows.class_shares import class_shares

CLASSES = ("background", "road", "car")


def mask(values: list[list[int]], void: list[tuple[int, int]] | None = None) -> Mask:
    hidden = np.zeros(np.shape(values), np.bool_)
    for at in void or []:
        hidden[at] = True
    return Mask(np.where(hidden, 0, values).astype(np.uint8), hidden if void else None)


def test_shares_are_those_of_judged_pixels() -> None:
    truths = {"a": mask([[0, 0, 1, 1]], [(0, 0), (0, 2)]), "b": mask([[0, 0, 0, 0]])}
    shares = class_shares(CLASSES, truths)
    assert shares.judged.tolist() == [[1, 1, 0], [4, 0, 0]] and shares.void.tolist() == [2, 0]
    classes, void = shares.lines()
    assert classes.endswith(": background 83.33 % (2), road 16.67 % (1), car 0.00 % (0)")
    assert void == "void: 2 pixels (25.00 %) in 1 of 2 images"
    assert [line.partition(" of ")[2][:3] for line in shares.doubts()] == ["car"]


def test_contests_without_classes_and_without_void_say_nothing() -> None:
    for truths in ({"a": mask([[0, 1]])}, {"a": Instances(np.zeros((1, 2), np.int32))}, {}):
        shares = class_shares((), truths)
        assert not list(shares.lines()) and not list(shares.doubts())
    assert list(class_shares((), {"a": mask([[0, 1]], [(0, 0)])}).lines()) == [
        "void: 1 pixels (50.00 %) in 1 of 1 images"
    ]


def test_an_image_of_void_alone_is_named() -> None:
    truths = {"a": mask([[0, 0]], [(0, 0), (0, 1)]), "b": mask([[1, 2]], [(0, 0)])}
    (line,) = class_shares((), truths).doubts()
    assert line.startswith("every pixel is void in 1 training image (a), ")


# ------------------------------------------------------------------------------------------------- the whole check


def street(root: Path) -> Path:
    """Two training images and a test image of 4x6 pixels; the ids of the masks are 7 (road), 26 (car), 0; 3 is void."""
    for place, name in (("train", "a"), ("train", "b"), ("test", "t")):
        (root / place).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(root / place / f"{name}.png")
    (root / "masks").mkdir()
    ids = np.zeros((4, 6), np.uint8)
    ids[1], ids[2:, 3:], ids[0, 0] = 7, 26, 3
    Image.fromarray(ids).save(root / "masks" / "a.png")
    Image.fromarray(np.where(ids == 26, 0, ids).astype(np.uint8)).save(root / "masks" / "b.png")
    return root


def competition(form: ClassRleFormat | LabelPictureFormat, ignore: tuple[int, ...] = (3,)) -> Competition:
    def read(data: Path) -> Split:
        masks = masks_in_folder(data, "masks")
        return read_split(images_in_folder(data, "train"), images_in_folder(data, "test"), masks=masks, root=data)

    def truth(data: Path, sample: Sample) -> Mask:
        return label_masks(data, sample, CLASSES, ids={0: 0, 7: "road", 26: "car"}, ignore=ignore)

    return Competition("street", read, truth, mean_iou(CLASSES), form, sample_submission=None, classes=CLASSES)


FORMATS = [ClassRleFormat(CLASSES), LabelPictureFormat(CLASSES, ids=(0, 7, 26))]


@pytest.mark.parametrize("form", FORMATS, ids=["rows", "pictures"])
def test_classes_and_void_go_through_the_file(
    tmp_path: Path, quiet: SilentReporter, form: ClassRleFormat | LabelPictureFormat
) -> None:
    made = competition(form)
    lines = list(check(Contest(made, tmp_path, made.read(street(tmp_path))), quiet))
    assert "perfect answers, written and parsed back, score 1.000000" in lines
    assert "void: 2 pixels (4.17 %) in 2 of 2 images" in lines
    assert any(line.endswith("background 60.87 % (2), road 26.09 % (2), car 13.04 % (1)") for line in lines)
    assert not [line for line in lines if line.startswith(WARNING)]


def test_ids_that_nobody_maps_are_refused_with_their_sample(tmp_path: Path, quiet: SilentReporter) -> None:
    made = competition(FORMATS[0], ignore=())
    contest = Contest(made, tmp_path, made.read(street(tmp_path)))
    with pytest.raises(
        DataError, match=r"2 bad truths: sample a: .*the value 3 \(1 pixel\) is no class of `ids`"
    ) as caught:
        list(check(contest, quiet))
    assert "sample b: " in str(caught.value)


def test_values_out_of_range_of_any_truth_are_counted(quiet: Callable[[], None], tmp_path: Path) -> None:
    made = competition(FORMATS[0])
    one = made.read(street(tmp_path)).train[0]
    wide = Competition(
        made.name, made.read, lambda data, sample: mask([[0, 9, 9, 4]]), made.score, made.submission, classes=CLASSES
    )
    with pytest.raises(DataError, match=r"sample a \(masks/a\.png\): its mask has the values 4 \(1 pixels\), 9 \(2"):
        wide.checked_truth(tmp_path, one)
