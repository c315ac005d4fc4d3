"""The names of an epoch's figures in metrics.jsonl."""

from __future__ import annotations

from collections.abc import Collection, Mapping

NO_SCORES = ("epoch", "step", "lr", "seconds", "loss")

SHOWN = 6
"""The most scores that a line shows; metrics.jsonl has all."""


def is_score(name: str) -> bool:
    """Return whether a figure is a score on held-out samples (higher = better), and not a loss or a count."""
    return name not in NO_SCORES and not name.startswith(("loss_", "val_loss", "average_"))


def told(name: str, value: float) -> str:
    """Return a figure for a line. A score of exactly 0 is explained, because it looks like a fault in first epochs.

    For instance, the Dice coefficient of thin borders stays 0 until the network is sure of a pixel (above 0.5).
    """
    return f"{name} {value:.4f}" + (" (nothing right yet)" if value == 0 and is_score(name) else "")


def told_row(row: Mapping[str, float], losses: Collection[str]) -> str:
    """Return the figures of an epoch for a line: those named in `losses`, and the first scores."""
    scores = [name for name in row if is_score(name)]
    left_out = set(scores[SHOWN:])
    shown = [told(name, row[name]) for name in row if (name in losses or is_score(name)) and name not in left_out]
    return "  ".join([*shown, *([f"and {len(left_out)} more"] if left_out else [])])
