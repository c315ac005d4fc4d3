"""Happywhale, 2022: name the individual whale or dolphin, of one of 26 species, by its fin or its back."""

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import map_at
from medalist.retrieval import splits as splits

from .data import NEW, read
from .draw import draw

COMPETITION = Competition(
    name="happywhale",
    read=read,
    truth=splits.identity,
    score=map_at(5),
    submission=RankingFormat(("image", "predictions"), 5),
    draw=draw,
    retrieval=Retrieval(names="identities", depth=5, splits=splits.against_training, new=NEW),
)
