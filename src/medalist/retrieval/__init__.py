"""Turn vectors into ranked answers and score them. The room uses `search` and `metrics`, and needs no torch."""
