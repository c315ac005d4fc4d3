"""VinBigData Chest X-ray Abnormalities Detection, 2020: find fourteen kinds of findings, or say that there is none."""

from medalist.competition import Competition
from medalist.formats.boxes import BoxesFormat
from medalist.metrics.boxes import box_map

from .data import CLASSES, NOTHING, read, truth
from .draw import draw

COMPETITION = Competition(
    name="vinbigdata",
    read=read,
    truth=truth,
    score=box_map(CLASSES, thresholds=(0.4,), strict=True, points="all", most=None, nothing=NOTHING),
    submission=BoxesFormat(
        classes=CLASSES, labels=tuple(str(number) for number in range(len(CLASSES))), empty="14 1 0 0 1 1"
    ),
    draw=draw,
)
