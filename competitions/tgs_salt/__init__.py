"""TGS Salt Identification Challenge, 2018: mark the salt on seismic images."""

from medalist.competition import Competition
from medalist.formats.rle import RleFormat
from medalist.metrics.masks import mean_precision_over_iou

from .data import read, truth
from .draw import draw

COMPETITION = Competition(
    name="tgs_salt",
    read=read,
    truth=truth,
    score=mean_precision_over_iou,
    submission=RleFormat(("id", "rle_mask"), order="column", row_per="image"),
    draw=draw,
)
