"""Plant Pathology 2021 (FGVC8): name each disease that a photo of an apple leaf shows."""

from medalist.competition import Competition
from medalist.formats.labels import LabelsFormat
from medalist.layouts.label_tables import label_truth
from medalist.metrics.labels import f1

from .data import CLASSES, read
from .draw import draw

COMPETITION = Competition(
    name="plant_pathology",
    read=read,
    truth=label_truth,
    score=f1(CLASSES, "samples"),
    submission=LabelsFormat(("image", "labels"), classes=CLASSES),
    draw=draw,
)
