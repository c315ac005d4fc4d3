"""Google Research - Identify Contrails, 2023: mark contrails on infrared images of a geostationary satellite."""

from medalist.competition import Competition
from medalist.formats.rle import RleFormat
from medalist.metrics.masks import global_dice

from .data import ash, read, truth
from .draw import draw

COMPETITION = Competition(
    name="contrails",
    read=read,
    truth=truth,
    score=global_dice,
    submission=RleFormat(("record_id", "encoded_pixels"), order="column", row_per="image", empty="-"),
    read_image=ash,
    draw=draw,
)
