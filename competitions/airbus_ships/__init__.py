"""Airbus Ship Detection Challenge, 2018: find each ship on satellite images, most of which show none."""

from medalist.competition import Competition
from medalist.formats.probabilities import ProbabilityFormat
from medalist.formats.rle import RleFormat
from medalist.layouts.label_tables import certain_truth
from medalist.metrics.instances import f_beta_over_iou
from medalist.metrics.labels import log_loss

from .data import CLASSES, groups, read, read_presence, truth
from .draw import draw

COMPETITION = Competition(
    name="airbus_ships",
    read=read,
    truth=truth,
    score=f_beta_over_iou(2),
    submission=RleFormat(("ImageId", "EncodedPixels"), order="column", row_per="object"),
    groups=groups,
    sample_submission="sample_submission_v2.csv",
    draw=draw,
)

TRACKS = {
    "presence": Competition(
        name="airbus_ships.presence",
        read=read_presence,
        truth=certain_truth(CLASSES),
        score=log_loss(CLASSES, clip=1e-15),
        submission=ProbabilityFormat("ImageId", classes=CLASSES, positive="ship", class_columns=("ship",)),
        groups=groups,
        sample_submission=None,
        draw=draw,
    )
}
