"""The names of an epoch's figures, as they stand in metrics.jsonl."""

from __future__ import annotations

NO_SCORES = ("epoch", "step", "lr", "seconds", "loss")


def is_score(name: str) -> bool:
    """Whether a figure says how good held-out samples are answered, higher = better; not a loss, and no count."""
    return name not in NO_SCORES and not name.startswith(("loss_", "val_loss", "average_"))
