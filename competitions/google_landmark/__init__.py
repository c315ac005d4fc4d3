"""Google Landmark 2020 and 2021: name the landmark of a photo (recognition), and find photos of it (retrieval)."""

from medalist.competition import Competition, Retrieval
from medalist.formats.rankings import RankingFormat
from medalist.metrics.retrieval import gap, map_at
from medalist.retrieval import splits as splits

from .data import RETRIEVAL, one_asks, read, read_retrieval
from .draw import draw

COMPETITION = Competition(
    name="google_landmark",
    read=read,
    truth=splits.identity,
    score=gap,
    submission=RankingFormat(("id", "landmarks"), 1, confident=True, empty=""),
    draw=draw,
    retrieval=Retrieval(names="identities", depth=1, splits=splits.against_training, confident=True),
)

TRACKS = {
    "retrieval": Competition(
        name="google_landmark.retrieval",
        read=read_retrieval,
        truth=splits.identity,
        score=map_at(100),
        submission=RankingFormat(("id", "images"), 100, empty=""),
        sample_submission=f"{RETRIEVAL}/sample_submission.csv",
        draw=draw,
        retrieval=Retrieval(names="samples", depth=100, splits=one_asks),
    )
}
