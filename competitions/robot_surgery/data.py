"""Read the contest's files: a folder for each video, with its frames and a folder of masks for each instrument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.codecs.images import image_size, read_image
from medalist.codecs.label_pictures import read_label_picture
from medalist.errors import DataError
from medalist.layouts.faults import refuse
from medalist.metrics.classes import mean_iou
from medalist.records import Mask, Sample, Score, Split

FRAME, SIZE, TOP, LEFT = (1080, 1920), (1024, 1280), 28, 320
"""Height and width of a file, of the picture in its black bars, and where the picture begins."""

BINARY = ("background", "instrument")
PARTS = ("background", "shaft", "wrist", "claspers")
PART_OF = {10: 1, 20: 2, 30: 3}
"""The number of the part by the value of a mask."""
INSTRUMENTS = (
    "background", "bipolar forceps", "prograsp forceps", "large needle driver", "vessel sealer", "grasping retractor",
    "monopolar curved scissors", "other",
)  # fmt: skip


def read(root: Path) -> Split:
    """Read the frames under `root`; the group is the video. Ids are `<video>_<frame>`, sizes those of the picture.

    Raises DataError, which names every frame of another size, every frame without a mask, and every folder of masks
    whose name has no known instrument.
    """
    train = _frames(root, "train")
    return layouts.parted([_with_masks(root, sample) for sample in train], _frames(root, "test"))


def cropped(path: Path) -> NDArray[np.uint8]:
    """Read the picture uint8[1024, 1280, 3] of a frame, without its black bars."""
    return _picture(path, read_image(path))


def whole(root: Path, sample: Sample) -> Mask:
    """Return all instruments as one class. `other` (an ultrasound probe) is background, as in the winners' code."""
    return Mask((parts(root, sample).classes > 0).astype(np.uint8))


def parts(root: Path, sample: Sample) -> Mask:
    """Return the parts of all instruments but `other`. Raises DataError for a value that is no part."""
    classes = np.zeros(sample.size, np.uint8)
    for text in (text for text in sample.annotation if INSTRUMENTS[_instrument(text)] != "other"):
        values = _picture(root / text, read_label_picture(root / text).ids)
        if not np.isin(values, (0, *PART_OF)).all():
            raise DataError(f"{root / text}: values besides 0, 10 (shaft), 20 (wrist) and 30 (claspers)")
        for value, part in PART_OF.items():
            classes[values == value] = part
    return Mask(classes)


def instruments(root: Path, sample: Sample) -> Mask:
    """Return the kinds of instruments; where two cover a pixel, the one with the later name of the folder counts."""
    classes = np.zeros(sample.size, np.uint8)
    for text in sample.annotation:
        classes[_picture(root / text, read_label_picture(root / text).ids) > 0] = _instrument(text)
    return Mask(classes)


def frame_iou(truths: Mapping[str, Mask], answers: Mapping[str, Mask], classes: Sequence[str]) -> Score:
    """Return the mean over frames of the mean IoU over classes; a frame with nothing in truth and answer scores 1."""
    score = mean_iou(classes, over="images", without=("background",))(truths, answers)
    return replace(score, value=sum(score.by_sample.values()) / len(score.by_sample))


def _frames(root: Path, part: str) -> list[Sample]:
    named, faults = [], []
    for video, folder in layouts.folders_in(root, part):
        for name, path in layouts.images_in_folder(folder, "left_frames"):
            if image_size(path) != FRAME:
                faults.append(f"{path} must have {FRAME[1]}x{FRAME[0]} pixels")
            named.append(Sample(f"{video}_{name}", (path,), SIZE, group=video))
    refuse(f"{len(faults)} frames in {root / part}", faults, "give the frames as they were downloaded, not cropped")
    return named


def _with_masks(root: Path, sample: Sample) -> Sample:
    truth = sample.images[0].parents[1] / "ground_truth"
    masks = sorted(truth.glob(f"*/{sample.images[0].stem}.png"))
    texts = tuple(path.relative_to(root).as_posix() for path in masks)
    if not texts or not all(map(_instrument, texts)):
        raise DataError(f"{truth}: no mask of {sample.images[0].stem}, or a folder of no known instrument")
    return replace(sample, annotation=texts)


def _instrument(text: str) -> int:
    """The number of the instrument in the name of its folder, such as Left_Prograsp_Forceps_labels; 0 where none is."""
    folder = Path(text).parent.name.lower().replace("_", " ")
    return next((number for number, name in enumerate(INSTRUMENTS) if number and name in folder), 0)


def _picture(path: Path, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if frame.shape[:2] != FRAME:
        raise DataError(f"{path} has {frame.shape[1]}x{frame.shape[0]} pixels, and must have {FRAME[1]}x{FRAME[0]}")
    return np.ascontiguousarray(frame[TOP : TOP + SIZE[0], LEFT : LEFT + SIZE[1]])
