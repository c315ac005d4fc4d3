"""Hotel-ID 2021 (FGVC8): name the hotel that a photo of a room was taken in."""

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import map_at
from medalist.retrieval import splits as splits

from .data import against_known, read
from .draw import draw

COMPETITION = Competition(
    name="hotel_id",
    read=read,
    truth=splits.identity,
    score=map_at(5),
    submission=RankingFormat(("image", "hotel_id"), 5),
    draw=draw,
    retrieval=Retrieval(names="identities", depth=5, splits=against_known),
)
