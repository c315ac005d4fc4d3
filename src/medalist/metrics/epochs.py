"""The names of an epoch's figures in metrics.jsonl."""

from __future__ import annotations

NO_SCORES = ("epoch", "step", "lr", "seconds", "loss")


def is_score(name: str) -> bool:
    """Return whether a figure is a score on held-out samples (higher = better), and not a loss or a count."""
    return name not in NO_SCORES and not name.startswith(("loss_", "val_loss", "average_"))
