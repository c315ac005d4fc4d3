"""Stanford Online Products, 2016: find the other photos of a product that the training part does not have."""

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.retrieval import splits as splits

from .data import read, recall
from .draw import draw

COMPETITION = Competition(
    name="products",
    read=read,
    truth=splits.identity,
    score=recall,
    submission=RankingFormat(("id", "gallery_ids"), 1000),
    draw=draw,
    retrieval=Retrieval(names="samples", depth=1000, splits=splits.leave_one_out),
)
