"""Losses on logits and on embeddings, and their weighted sums."""
