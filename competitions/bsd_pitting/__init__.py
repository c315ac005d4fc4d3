"""Ball screw drives: mark the pitting on pictures of the spindle, of which many show none."""

from medalist.competition import Competition
from medalist.formats.rle import RleFormat

from .data import read, score, truth
from .draw import draw

COMPETITION = Competition(
    name="bsd_pitting",
    read=read,
    truth=truth,
    score=score,
    submission=RleFormat(("id", "rle_mask"), order="column", row_per="image"),
    draw=draw,
)
