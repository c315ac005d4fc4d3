"""What a config may say of losses on embeddings: a weighted sum of terms. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Miner = Literal["none", "hard", "semihard", "multi_similarity", "distance"]
"""Which pairs or triplets of a batch count: all; the hardest of each anchor; those inside the margin; pairs harder than
the easiest of the other kind (arXiv 1904.06627); negatives drawn by distance (arXiv 1706.07567)."""


class _Term(ConfigModel):
    """weight: how much the term counts."""

    weight: float = Field(default=1.0, gt=0, le=1000)


class MarginTerm(_Term):
    """Softmax over class prototypes on the unit sphere, with a margin for the right class.

    arcface (arXiv 1801.07698): the margin is an angle in radians; cosface (arXiv 1801.09414): a cosine.
    scale: of the cosines. prototypes: of each class, the nearest counts (sub-centre ArcFace, ECCV 2020).
    by_size: `none`, one margin for all; else rare classes get `margin` and the most common one `least`: by
    `power`, as size ** -power (arXiv 2010.05350), or by `log`, straight in the logarithm of the size.
    smoothing: share of the target that is spread over all classes.
    """

    kind: Literal["arcface", "cosface"]
    margin: float = Field(default=0.3, ge=0, le=1.5)
    scale: float = Field(default=30.0, gt=0, le=1000)
    prototypes: int = Field(default=1, ge=1, le=16)
    by_size: Literal["none", "power", "log"] = "none"
    least: float = Field(default=0.05, ge=0, le=1.5)
    power: float = Field(default=0.25, gt=0, le=2)
    smoothing: float = Field(default=0.0, ge=0, lt=1)

    renamed: ClassVar[Mapping[str, str]] = {"centres": "prototypes"}

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.by_size != "none" and self.least > self.margin:
            raise ValueError(
                f"least = {self.least} is above margin = {self.margin}: common classes get the smaller one"
            )
        return self


class _PairTerm(_Term):
    """miner: which pairs count. memory: embeddings of earlier batches that pairs are formed with too (cross-batch
    memory, arXiv 1912.06798), 0 = none; it is emptied when an epoch begins.
    """

    miner: Miner = "none"
    memory: int = Field(default=0, ge=0, le=1_000_000)


class TripletTerm(_PairTerm):
    """FaceNet's triplets (arXiv 1503.03832): squared distances of unit vectors, `margin` apart."""

    kind: Literal["triplet"]
    margin: float = Field(default=0.2, gt=0, le=4)
    miner: Miner = "semihard"


class ContrastiveTerm(_PairTerm):
    """Siamese training by distance (Hadsell et al. 2006): pairs of one identity come together, others go `margin`
    apart."""

    kind: Literal["contrastive"]
    margin: float = Field(default=1.0, gt=0, le=2)


class SiameseTerm(_Term):
    """Siamese training by verdict (Koch et al. 2015): sigmoid of a weighted L1 distance, cross-entropy over pairs."""

    kind: Literal["siamese"]


class MultiSimilarityTerm(_PairTerm):
    """Multi-similarity loss (arXiv 1904.06627)."""

    kind: Literal["multi_similarity"]
    alpha: float = Field(default=2.0, gt=0, le=1000)
    beta: float = Field(default=50.0, gt=0, le=1000)
    base: float = Field(default=0.5, ge=-1, le=1)
    miner: Miner = "multi_similarity"


class CircleTerm(_PairTerm):
    """Circle loss (arXiv 2002.10857): relaxation `margin`, `scale`."""

    kind: Literal["circle"]
    margin: float = Field(default=0.25, ge=0, le=1)
    scale: float = Field(default=128.0, gt=0, le=1000)


class SupConTerm(_PairTerm):
    """Supervised contrastive loss (arXiv 2004.11362)."""

    kind: Literal["supcon"]
    temperature: float = Field(default=0.1, gt=0, le=10)


class ProxyNcaTerm(_Term):
    """ProxyNCA++ (arXiv 2004.01113): a proxy for each class, softmax over squared distances times `scale`."""

    kind: Literal["proxy_nca"]
    scale: float = Field(default=9.0, gt=0, le=1000)


class PrototypeTerm(_Term):
    """Prototypical episodes (arXiv 1703.05175): the first `shots` samples of each identity in a batch make its
    prototype, the others are classified by squared distance times `scale`. Wants a sampler of kind `pxk` or `group`.
    """

    kind: Literal["prototype"]
    shots: int = Field(default=1, ge=1, le=100)
    scale: float = Field(default=10.0, gt=0, le=1000)


Term = Annotated[
    MarginTerm
    | TripletTerm
    | ContrastiveTerm
    | SiameseTerm
    | MultiSimilarityTerm
    | CircleTerm
    | SupConTerm
    | ProxyNcaTerm
    | PrototypeTerm,
    Field(discriminator="kind"),
]


class MetricLossConfig(ConfigModel):
    """A weighted sum of terms, each kind at most once, and one margin softmax at most."""

    terms: tuple[Term, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_kind_once(self) -> Self:
        kinds = [term.kind for term in self.terms]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"the term '{twice[0]}' stands twice; keep one of them")
        if {"arcface", "cosface"} <= set(kinds):
            raise ValueError("'arcface' and 'cosface' both make class prototypes; keep one of them")
        return self
