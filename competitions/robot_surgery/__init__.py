"""Robotic instrument segmentation, MICCAI 2017: mark the instruments in videos of surgery; their parts; their kinds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from medalist.competition import Competition
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.records import Mask, Sample

from .data import BINARY, INSTRUMENTS, PARTS, cropped, frame_iou, instruments, parts, read, whole
from .draw import draw


def _question(name: str, classes: tuple[str, ...], truth: Callable[[Path, Sample], Mask], step: int) -> Competition:
    """One question about the frames. The values of pictures are classes times `step`, as in the winners' code."""
    return Competition(
        name=name,
        read=read,
        truth=truth,
        score=partial(frame_iou, classes=classes),
        submission=LabelPictureFormat(classes, ids=tuple(step * number for number in range(len(classes)))),
        sample_submission=None,
        read_image=cropped,
        draw=draw,
        classes=classes,
    )


COMPETITION = _question("robot_surgery", BINARY, whole, 255)

TRACKS = {
    "parts": _question("robot_surgery.parts", PARTS, parts, 85),
    "instruments": _question("robot_surgery.instruments", INSTRUMENTS, instruments, 32),
}
