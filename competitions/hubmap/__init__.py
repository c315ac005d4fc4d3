"""HuBMAP - Hacking the Kidney, 2020/21: mark the glomeruli on slides of kidney tissue."""

from medalist.competition import Competition
from medalist.formats.rle import RleFormat
from medalist.metrics.masks import mean_dice

from .data import read, truth
from .draw import draw

COMPETITION = Competition(
    name="hubmap",
    read=read,
    truth=truth,
    score=mean_dice,
    submission=RleFormat(("id", "predicted"), order="column", row_per="image"),
    draw=draw,
)
