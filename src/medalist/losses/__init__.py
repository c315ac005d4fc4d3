"""Losses on logits and their weighted sums."""
