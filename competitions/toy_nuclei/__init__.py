"""A small contest that draws its own images, in the file layout of the 2018 Data Science Bowl."""

from medalist.competition import Competition
from medalist.folds.mosaic import field_groups
from medalist.formats.rle import RleFormat
from medalist.metrics.instances import nuclei_map

from .data import read, truth
from .draw import draw

COMPETITION = Competition(
    name="toy_nuclei",
    read=read,
    truth=truth,
    score=nuclei_map,
    submission=RleFormat(("ImageId", "EncodedPixels"), order="column", row_per="object"),
    groups=field_groups,
    draw=draw,
)
