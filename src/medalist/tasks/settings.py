"""Settings of the tasks: what targets are made from the truth; torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medalist.config import ConfigModel


class SegmentConfig(ConfigModel):
    """Segmentation: masks, or instances by body and border.

    border: a pixel belongs to the border where a window of 2*border+1 pixels around it sees two different objects.
    """

    kind: Literal["segment"] = "segment"
    border: int = Field(default=2, ge=1, le=50)


class EmbedConfig(ConfigModel):
    """Metric learning: identities become unit vectors, alike ones near.

    turns: each quarter turn of an identity is an identity of its own (4 times as many), for signs that mean something
    else when turned. Mirrored ones too where mirrored is true.
    rare: identities with fewer training samples than this are not trained on (1 = all are).
    composed: so many made-up identities are trained on beside the real ones, each joined of parts of two of them: for
    light signs on a dark even ground, as ink on paper is after image.invert. They make an epoch longer.
    """

    kind: Literal["embed"]
    turns: bool = False
    mirrored: bool = False
    rare: int = Field(default=1, ge=1, le=1000)
    composed: int = Field(default=0, ge=0, le=100_000)


TaskConfig = SegmentConfig | EmbedConfig
"""What the network is trained for."""
