"""Small made contests in the layouts of well-known ones, with what `medalist new` must find in each."""

from corpus.boxes import BOXES
from corpus.identities import IDENTITIES
from corpus.labels import LABELS
from corpus.layout import Layout
from corpus.masks import MASKS

LAYOUTS: tuple[Layout, ...] = (*MASKS, *BOXES, *LABELS, *IDENTITIES)

__all__ = ["LAYOUTS", "Layout"]
