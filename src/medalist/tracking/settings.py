"""Where an experiment is tracked."""

from __future__ import annotations

from typing import Literal

Tracking = Literal["none", "wandb", "tensorboard"]
"""The tool that gets the curves of a training beside metrics.jsonl."""
