"""Safe Passage, Dstl, 2017: find and classify the vehicles on aerial photos of a town."""

from medalist.competition import Competition
from medalist.formats.points import PointsFormat
from medalist.layouts.box_files import box_truth
from medalist.metrics.box_points import point_jaccard

from .data import CLASSES, RADII, read
from .draw import draw

COMPETITION = Competition(
    name="safe_passage",
    read=read,
    truth=box_truth(CLASSES),
    score=point_jaccard(CLASSES, RADII),
    submission=PointsFormat(classes=CLASSES, radii=RADII),
    sample_submission=None,
    draw=draw,
)
