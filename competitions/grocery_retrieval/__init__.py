"""Groceries in shops: find the photos of the same product, for products that the training part does not have."""

from functools import partial

from medalist.competition import Competition, Retrieval
from medalist.formats.labels import LabelFormat
from medalist.formats.rankings import RankingFormat
from medalist.layouts.label_tables import label_truth
from medalist.metrics.labels import accuracy
from medalist.metrics.retrieval import map_at
from medalist.retrieval.splits import by_part, identity

from .data import asks, read
from .draw import draw
from .kinds import KINDS, read_kinds

COMPETITION = Competition(
    name="grocery_retrieval",
    read=read,
    truth=identity,
    score=map_at(5),
    submission=RankingFormat(("id", "gallery_ids"), most=5),
    draw=draw,
    retrieval=Retrieval(names="samples", depth=5, splits=partial(by_part, asks=asks)),
)

TRACKS = {
    "kinds": Competition(
        name="grocery_retrieval.kinds",
        read=read_kinds,
        truth=label_truth,
        score=accuracy,
        submission=LabelFormat(("id", "kind"), classes=KINDS),
        sample_submission=None,
        draw=draw,
    )
}
