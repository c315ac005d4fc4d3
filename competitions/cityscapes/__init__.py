"""Cityscapes: name the class of every pixel of street scenes, of 19 classes."""

from medalist.competition import Competition
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.metrics.classes import mean_iou

from .data import CLASSES, IDS, read, truth
from .draw import draw

COMPETITION = Competition(
    name="cityscapes",
    read=read,
    truth=truth,
    score=mean_iou(CLASSES),
    submission=LabelPictureFormat(CLASSES, ids=tuple(IDS)),
    sample_submission=None,
    draw=draw,
    classes=CLASSES,
)
