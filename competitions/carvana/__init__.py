"""Carvana Image Masking Challenge, 2017: cut the car out of a studio photo."""

from medalist.competition import Competition
from medalist.formats.rle import RleFormat
from medalist.layouts import mask_picture
from medalist.metrics.masks import mean_dice

from .data import read
from .draw import draw

COMPETITION = Competition(
    name="carvana",
    read=read,
    truth=mask_picture,
    score=mean_dice,
    submission=RleFormat(("img", "rle_mask"), order="row", row_per="image"),
    draw=draw,
)
