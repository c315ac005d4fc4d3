"""Settings of the tasks: what targets are made from the truth; torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medalist.config import Part


class SegmentConfig(Part):
    """Segmentation: masks, or instances by body and border.

    border: a pixel belongs to the border where a window of 2*border+1 pixels around it sees two different objects.
    """

    kind: Literal["segment"] = "segment"
    border: int = Field(default=2, ge=1, le=50)


TaskConfig = SegmentConfig
"""What the network is trained for; a closed union once there is a second kind."""
