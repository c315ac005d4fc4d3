"""Heads of cats and dogs: the Oxford-IIIT pets as a contest in the form of COCO."""

from medalist.competition import Competition
from medalist.formats.coco_boxes import CocoBoxesFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.boxes import coco_map

from .data import CATEGORIES, CLASSES, read
from .draw import draw

COMPETITION = Competition(
    name="pets_coco",
    read=read,
    truth=box_truth(CLASSES),
    score=coco_map(CLASSES),
    submission=CocoBoxesFormat(classes=CLASSES, categories=CATEGORIES),
    sample_submission=None,
    draw=draw,
)
