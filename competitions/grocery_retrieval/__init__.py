"""Groceries in shops: find the photos of the same product, for products that were never seen."""

from functools import partial

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import map_at
from medalist.retrieval.splits import by_part, identity

from .data import asks, read
from .draw import draw

COMPETITION = Competition(
    name="grocery_retrieval",
    read=read,
    truth=identity,
    score=map_at(5),
    submission=RankingFormat(("id", "gallery_ids"), most=5),
    draw=draw,
    retrieval=Retrieval(names="samples", depth=5, splits=partial(by_part, asks=asks)),
)
