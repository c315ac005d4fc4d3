"""Severstal: Steel Defect Detection, 2019: mark four kinds of defects on pictures of sheet steel."""

from medalist.competition import Competition
from medalist.formats.class_rle import ClassRleFormat
from medalist.metrics.classes import mean_class_dice

from .data import CLASSES, read, truth
from .draw import draw

COMPETITION = Competition(
    name="severstal",
    read=read,
    truth=truth,
    score=mean_class_dice(CLASSES, over="pairs", absent=1.0),
    # The contest does not forbid that classes overlap, and its own sample submission has pixel 1 in all of them.
    submission=ClassRleFormat(CLASSES, columns=("ImageId_ClassId", "EncodedPixels"), overlap="later"),
    draw=draw,
    classes=CLASSES,
)
