"""Settings of the step from embeddings to ranked answers; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Neighbours = Annotated[int, Field(ge=0, le=1000)]
"""A number of nearest neighbours; 0 = the step is left out."""


class NoRerank(ConfigModel):
    """Answers stay as the search gives them."""

    kind: Literal["none"] = "none"
    """`none` selects no re-ranking."""


class ReciprocalConfig(ConfigModel):
    """k-reciprocal re-ranking (Zhong et al. 2017, arXiv 1701.08398)."""

    kind: Literal["k_reciprocal"]
    """`k_reciprocal` selects this re-ranking."""

    k1: int = Field(default=20, ge=1, le=1000)
    """The number of nearest neighbours within which two samples must be neighbours of each other."""

    k2: int = Field(default=6, ge=1, le=1000)
    """The number of neighbours over which the sets of neighbours are averaged."""

    weight: float = Field(default=0.3, ge=0, le=1)
    """The share of the original distance in the final distance (lambda in the paper)."""

    candidates: int = Field(default=100, ge=1, le=10000)
    """The number of gallery samples of each query that are ranked again."""


class DiffusionConfig(ConfigModel):
    """Diffusion over the graph of nearest neighbours (Iscen et al. 2017, arXiv 1611.05113)."""

    kind: Literal["diffusion"]
    """`diffusion` selects this re-ranking."""

    k: int = Field(default=20, ge=1, le=1000)
    """The number of neighbours of each gallery sample; only mutual neighbours are linked."""

    queries: int = Field(default=10, ge=1, le=1000)
    """The number of neighbours through which a query enters the graph."""

    alpha: float = Field(default=0.9, gt=0, lt=1)
    """How far similarity spreads in the graph: the share that each sample passes on."""

    power: float = Field(default=3.0, gt=0, le=20)
    """The power of the similarities."""

    candidates: int = Field(default=1000, ge=1, le=100000)
    """The number of gallery samples of each query that are ranked again."""


RerankConfig = Annotated[NoRerank | ReciprocalConfig | DiffusionConfig, Field(discriminator="kind")]


class RankConfig(ConfigModel):
    """How the embeddings of queries and of a gallery become ranked answers."""

    renamed: ClassVar[Mapping[str, str]] = {"centres": "prototypes"}

    kind: Literal["rank"] = "rank"
    """`rank` is the only kind."""

    augment_gallery: Neighbours = 0
    """Each gallery vector becomes the weighted mean of itself and this many neighbours in the gallery (database-side
    augmentation); 0 leaves it out. The weights are similarity ** alpha (Radenovic et al. 2018, arXiv 1711.02512)."""

    expand: Neighbours = 0
    """Each query becomes the weighted mean of itself and this many neighbours in the gallery (query expansion); 0
    leaves it out. The weights are those of `augment_gallery`."""

    alpha: float = Field(default=3.0, ge=0, le=20)
    """The power of the similarity in the weights of `augment_gallery` and `expand`."""

    rerank: RerankConfig = NoRerank()
    """Re-ranking: a second look at the nearest gallery samples."""

    head: Literal["nearest", "knn", "prototype"] = "nearest"
    """How samples vote for identities, where answers are identities. `nearest`: the best sample of each identity.
    `knn`: the sum of exp(similarity / temperature) over the samples of the identity among the `k` nearest.
    `prototype`: the mean vector of each identity."""

    k: int = Field(default=50, ge=1, le=10000)
    """The number of nearest samples that vote under the head `knn`."""

    temperature: float = Field(default=0.1, gt=0, le=10)
    """The temperature of the votes under the head `knn`."""

    prototypes: float = Field(default=0.0, ge=0, le=1)
    """The share of the training's class prototypes (the weights of an ArcFace head) in the score of an identity; 0
    means samples alone. It applies only to identities that the network was trained on."""

    new: float | Literal["tuned"] | None = None
    """The contest's name for a new identity is placed before the names whose similarity is below this threshold.
    `tuned` takes the threshold that is best on the out-of-fold answers of the other folds. null never answers a new
    identity."""

    new_share: float | None = Field(default=None, ge=0, le=1)
    """The share of queries with a new identity that is expected in the test part, which is the prior for `tuned`. null
    takes the share among the out-of-fold queries."""

    assign: bool = False
    """Whether each query of a split gets a first name of its own, by the best one-to-one assignment. This is for splits
    that are known to have one query for each name. All queries of a split are then answered together."""

    recall: float = Field(default=0.999, gt=0, le=1)
    """The recall to aim at in galleries that are too large for comparing all pairs."""

    @model_validator(mode="after")
    def _share_needs_tuning(self) -> Self:
        if self.new_share is not None and self.new != "tuned":
            raise ValueError("decide.new_share is the prior of a tuned threshold; set decide.new=tuned")
        return self
