"""What a config may say of losses on embeddings: a weighted sum of terms. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Miner = Literal["none", "hard", "semihard", "multi_similarity", "distance"]
"""The rule that selects the pairs or triplets of a batch that count."""


class _Term(ConfigModel):
    """What all terms share."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """How much the term counts."""


class MarginTerm(_Term):
    """Softmax over class prototypes on the unit sphere, with a margin for the right class."""

    kind: Literal["arcface", "cosface"]
    """`arcface` (arXiv 1801.07698): the margin is an angle in radians. `cosface` (arXiv 1801.09414): the margin is a
    cosine."""

    margin: float = Field(default=0.3, ge=0, le=1.5)
    """The margin for the right class."""

    scale: float = Field(default=30.0, gt=0, le=1000)
    """The factor on the cosines."""

    prototypes: int = Field(default=1, ge=1, le=16)
    """The number of prototypes of each class, of which the nearest counts (sub-centre ArcFace, ECCV 2020)."""

    by_size: Literal["none", "power", "log"] = "none"
    """`none`: one margin for all classes. Otherwise the rarest class gets `margin`, the most common one gets `least`,
    and the others lie between them: under `power` by size ** -power (arXiv 2010.05350), under `log` linearly in the
    logarithm of the size."""

    least: float = Field(default=0.05, ge=0, le=1.5)
    """The margin of the most common class, where `by_size` is not `none`."""

    power: float = Field(default=0.25, gt=0, le=2)
    """The power of the size, where `by_size` is `power`."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of the target that is spread over all classes."""

    renamed: ClassVar[Mapping[str, str]] = {"centres": "prototypes"}

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.by_size != "none" and self.least > self.margin:
            raise ValueError(
                f"least = {self.least} is above margin = {self.margin}: common classes get the smaller one"
            )
        return self


class _PairTerm(_Term):
    """What all terms on pairs and triplets share."""

    miner: Miner = "none"
    """Which pairs or triplets of a batch count. `none`: all. `hard`: of each anchor the farthest positive and the
    nearest negative (arXiv 1703.07737). `semihard`: triplets whose negative is farther than the positive, but by the
    margin at most (arXiv 1503.03832). `multi_similarity`: positives that are farther than the nearest negative, and
    negatives that are nearer than the farthest positive, both with a tolerance of 0.1 (arXiv 1904.06627). `distance`:
    for each positive pair one negative, drawn so that all distances are about equally frequent (arXiv 1706.07567)."""

    memory: int = Field(default=0, ge=0, le=1_000_000)
    """The number of embeddings of earlier batches with which pairs are formed too (cross-batch memory, arXiv
    1912.06798); 0 means none. The memory is emptied when an epoch begins."""


class TripletTerm(_PairTerm):
    """FaceNet's triplets (arXiv 1503.03832), by squared distances of unit vectors."""

    kind: Literal["triplet"]
    """`triplet` selects this term."""

    margin: float = Field(default=0.2, gt=0, le=4)
    """By how much the squared distance to a negative has to be larger than that to a positive."""

    miner: Miner = "semihard"


class ContrastiveTerm(_PairTerm):
    """Siamese training by distance (Hadsell et al. 2006).

    Pairs of one identity come together, and other pairs go `margin` apart.
    """

    kind: Literal["contrastive"]
    """`contrastive` selects this term."""

    margin: float = Field(default=1.0, gt=0, le=2)
    """The distance at which a pair of two identities costs nothing."""


class SiameseTerm(_Term):
    """Siamese training by verification (Koch et al. 2015).

    The sigmoid of a weighted L1 distance says whether a pair has one identity, with cross-entropy over all pairs.
    """

    kind: Literal["siamese"]
    """`siamese` selects this term."""


class MultiSimilarityTerm(_PairTerm):
    """Multi-similarity loss (arXiv 1904.06627)."""

    kind: Literal["multi_similarity"]
    """`multi_similarity` selects this term."""

    alpha: float = Field(default=2.0, gt=0, le=1000)
    """The factor on the similarities of positive pairs."""

    beta: float = Field(default=50.0, gt=0, le=1000)
    """The factor on the similarities of negative pairs."""

    base: float = Field(default=0.5, ge=-1, le=1)
    """The similarity that is subtracted from all similarities (lambda in the paper)."""

    miner: Miner = "multi_similarity"


class CircleTerm(_PairTerm):
    """Circle loss (arXiv 2002.10857)."""

    kind: Literal["circle"]
    """`circle` selects this term."""

    margin: float = Field(default=0.25, ge=0, le=1)
    """The relaxation (m in the paper)."""

    scale: float = Field(default=128.0, gt=0, le=1000)
    """The factor on the similarities (gamma in the paper)."""


class SupConTerm(_PairTerm):
    """Supervised contrastive loss (arXiv 2004.11362)."""

    kind: Literal["supcon"]
    """`supcon` selects this term."""

    temperature: float = Field(default=0.1, gt=0, le=10)
    """The temperature of the softmax, by which similarities are divided."""


class ProxyNcaTerm(_Term):
    """ProxyNCA++ (arXiv 2004.01113): a proxy for each class, softmax over squared distances times `scale`."""

    kind: Literal["proxy_nca"]
    """`proxy_nca` selects this term."""

    scale: float = Field(default=9.0, gt=0, le=1000)
    """The factor on the squared distances."""


class PrototypeTerm(_Term):
    """Prototypical episodes (arXiv 1703.05175).

    The first `shots` samples of each identity in a batch make its prototype, and the other samples are classified by
    squared distance times `scale`. This needs a sampler of kind `pxk` or `group`.
    """

    kind: Literal["prototype"]
    """`prototype` selects this term."""

    shots: int = Field(default=1, ge=1, le=100)
    """The number of samples of each identity that make its prototype."""

    scale: float = Field(default=10.0, gt=0, le=1000)
    """The factor on the squared distances."""


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
    """The terms that are added, each multiplied by its weight."""

    @model_validator(mode="after")
    def _each_kind_once(self) -> Self:
        kinds = [term.kind for term in self.terms]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"the term '{twice[0]}' is there twice; keep one of them")
        if {"arcface", "cosface"} <= set(kinds):
            raise ValueError("'arcface' and 'cosface' both make class prototypes; keep one of them")
        return self
