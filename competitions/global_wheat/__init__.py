"""Global Wheat Detection, 2020: find the heads of wheat on photos of fields all over the world."""

from medalist.codecs.boxes import XYWH
from medalist.competition import Competition
from medalist.formats.boxes import BoxesFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.box_counts import box_precision_over_iou

from .data import CLASSES, read
from .draw import draw

COMPETITION = Competition(
    name="global_wheat",
    read=read,
    truth=box_truth(CLASSES),
    score=box_precision_over_iou(CLASSES),
    submission=BoxesFormat(classes=CLASSES, parts=("score", "box"), coordinates=XYWH),
    draw=draw,
)
