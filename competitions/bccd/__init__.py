"""BCCD: find red cells, white cells and platelets on photos of blood smears."""

from medalist.competition import Competition
from medalist.formats.boxes import BoxesFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.boxes import coco_map

from .data import CLASSES, read
from .draw import draw

COMPETITION = Competition(
    name="bccd",
    read=read,
    truth=box_truth(CLASSES),
    score=coco_map(CLASSES),
    submission=BoxesFormat(("image_id", "PredictionString"), classes=CLASSES),
    draw=draw,
)
