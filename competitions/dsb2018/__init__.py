"""2018 Data Science Bowl: find each nucleus in microscope images."""

from medalist.competition import Competition
from medalist.folds.mosaic import field_groups
from medalist.formats.rle import RleFormat
from medalist.metrics.instances import nuclei_map

from .data import read, truth

COMPETITION = Competition(
    name="dsb2018",
    read=read,
    truth=truth,
    score=nuclei_map,
    submission=RleFormat(columns=("ImageId", "EncodedPixels"), order="column", base=1, empty="", row_per="object"),
    groups=field_groups,
)
