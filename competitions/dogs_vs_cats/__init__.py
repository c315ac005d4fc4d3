"""Dogs vs. Cats Redux, 2016/17: give the probability that a photo shows a dog and not a cat."""

from medalist.competition import Competition
from medalist.formats.probabilities import ProbabilityFormat
from medalist.layouts.label_tables import certain_truth
from medalist.metrics.labels import log_loss

from .data import CLASSES, read
from .draw import draw

COMPETITION = Competition(
    name="dogs_vs_cats",
    read=read,
    truth=certain_truth(CLASSES),
    score=log_loss(CLASSES, clip=1e-15),
    submission=ProbabilityFormat("id", classes=CLASSES, positive="dog", class_columns=("label",)),
    draw=draw,
)
