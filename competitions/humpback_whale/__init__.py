"""Humpback Whale Identification, 2018/19: name the whale by the pattern of its fluke."""

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import map_at
from medalist.retrieval import splits as splits

from .data import NEW, read
from .draw import draw

COMPETITION = Competition(
    name="humpback_whale",
    read=read,
    truth=splits.identity,
    score=map_at(5),
    submission=RankingFormat(("Image", "Id"), 5),
    draw=draw,
    retrieval=Retrieval(names="identities", depth=5, splits=splits.against_training, new=NEW),
)
