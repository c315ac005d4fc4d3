"""Omniglot: recognise handwritten characters of unseen alphabets, by retrieval or by one example of each character."""

from functools import partial

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import map_at, recall_at
from medalist.retrieval.splits import by_part, identity, one_shot

from .data import answers, asks, read, read_oneshot
from .draw import draw

COMPETITION = Competition(
    name="omniglot",
    read=read,
    truth=identity,
    score=map_at(5),
    submission=RankingFormat(("id", "gallery_ids"), most=5),
    draw=draw,
    retrieval=Retrieval(names="samples", depth=5, splits=partial(by_part, asks=asks, answers=answers)),
)

TRACKS = {
    "oneshot": Competition(
        name="omniglot.oneshot",
        read=read_oneshot,
        truth=identity,
        score=recall_at(1),
        submission=RankingFormat(("item", "class_image"), most=1),
        sample_submission="oneshot_sample_submission.csv",
        draw=draw,
        retrieval=Retrieval(names="samples", depth=1, splits=partial(one_shot, by="drawer", ways=20)),
    )
}
