"""Where an experiment is tracked."""

from __future__ import annotations

from typing import Literal

Tracking = Literal["none", "wandb", "tensorboard"]
"""`wandb` writes offline unless the user is logged in; `tensorboard` writes event files; `none` leaves it at
metrics.jsonl."""
