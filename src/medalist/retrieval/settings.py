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


class ReciprocalConfig(ConfigModel):
    """k-reciprocal re-ranking (Zhong et al. 2017, arXiv 1701.08398).

    k1: neighbours that must be mutual; k2: neighbours over which their sets are averaged; weight: share of the
    original distance in the final one (lambda). candidates: gallery samples of each query that are ranked anew.
    """

    kind: Literal["k_reciprocal"]
    k1: int = Field(default=20, ge=1, le=1000)
    k2: int = Field(default=6, ge=1, le=1000)
    weight: float = Field(default=0.3, ge=0, le=1)
    candidates: int = Field(default=100, ge=1, le=10000)


class DiffusionConfig(ConfigModel):
    """Diffusion over the graph of nearest neighbours (Iscen et al. 2017, arXiv 1611.05113).

    k: neighbours of each gallery sample, mutual ones kept; queries: neighbours by which a query enters the graph;
    alpha: how far it spreads; power: of the similarities. candidates: as many gallery samples are ranked anew.
    """

    kind: Literal["diffusion"]
    k: int = Field(default=20, ge=1, le=1000)
    queries: int = Field(default=10, ge=1, le=1000)
    alpha: float = Field(default=0.9, gt=0, lt=1)
    power: float = Field(default=3.0, gt=0, le=20)
    candidates: int = Field(default=1000, ge=1, le=100000)


RerankConfig = Annotated[NoRerank | ReciprocalConfig | DiffusionConfig, Field(discriminator="kind")]


class RankConfig(ConfigModel):
    """How embeddings of queries and of a gallery become answers.

    augment_gallery: each gallery vector becomes the weighted mean of itself and its neighbours (database-side
        augmentation); expand: so does each query over its neighbours in the gallery (query expansion). Weights are
        similarity ** alpha (Radenovic et al. 2018, arXiv 1711.02512).
    rerank: a second look at the nearest gallery samples.
    head: how samples vote for identities, where answers are identities: `nearest`, the best sample of each; `knn`,
        the sum of exp(similarity / temperature) over the k nearest samples; `prototype`, the mean vector of each.
    prototypes: share of the training's class prototypes (the weights of an ArcFace head) in the score of an identity,
        0 = samples alone; only for identities that the network was trained on.
    new: similarity below which the contest's name for a new identity comes before the others; `tuned` takes the best
        on the out-of-fold answers of the other folds; None never answers it.
    new_share: the share of queries with a new identity that is expected in the test part, the prior for `tuned`;
        None takes that of the out-of-fold queries.
    assign: each query of a split gets a first name of its own, by the best one-to-one assignment: for splits that are
        known to have one query for each name. All queries of a split are then answered together.
    recall: the recall to aim at in galleries that are too large to be compared one by one.
    """

    renamed: ClassVar[Mapping[str, str]] = {"centres": "prototypes"}

    kind: Literal["rank"] = "rank"
    augment_gallery: Neighbours = 0
    expand: Neighbours = 0
    alpha: float = Field(default=3.0, ge=0, le=20)
    rerank: RerankConfig = NoRerank()
    head: Literal["nearest", "knn", "prototype"] = "nearest"
    k: int = Field(default=50, ge=1, le=10000)
    temperature: float = Field(default=0.1, gt=0, le=10)
    prototypes: float = Field(default=0.0, ge=0, le=1)
    new: float | Literal["tuned"] | None = None
    new_share: float | None = Field(default=None, ge=0, le=1)
    assign: bool = False
    recall: float = Field(default=0.999, gt=0, le=1)

    @model_validator(mode="after")
    def _share_needs_tuning(self) -> Self:
        if self.new_share is not None and self.new != "tuned":
            raise ValueError("decide.new_share is the prior of a tuned threshold; say decide.new=tuned")
        return self
