"""APTOS 2019 Blindness Detection: grade the retinopathy that a photo of the retina shows, from 0 to 4."""

from medalist.competition import Competition
from medalist.formats.labels import LabelFormat
from medalist.layouts.label_tables import label_truth
from medalist.metrics.labels import quadratic_kappa

from .data import GRADES, read
from .draw import draw

COMPETITION = Competition(
    name="aptos",
    read=read,
    truth=label_truth,
    score=quadratic_kappa(GRADES),
    submission=LabelFormat(("id_code", "diagnosis"), classes=GRADES),
    draw=draw,
)
