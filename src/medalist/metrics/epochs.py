"""The names of an epoch's figures in metrics.jsonl."""

from __future__ import annotations

NO_SCORES = ("epoch", "step", "lr", "seconds", "loss")


def is_score(name: str) -> bool:
    """Return whether a figure is a score on held-out samples (higher = better), and not a loss or a count."""
    return name not in NO_SCORES and not name.startswith(("loss_", "val_loss", "average_"))


def told(name: str, value: float) -> str:
    """Return a figure for a line. A score of exactly 0 is explained, because it looks like a fault in first epochs.

    For instance, the Dice coefficient of thin borders stays 0 until the network is sure of a pixel (above 0.5).
    """
    return f"{name} {value:.4f}" + (" (nothing right yet)" if value == 0 and is_score(name) else "")
