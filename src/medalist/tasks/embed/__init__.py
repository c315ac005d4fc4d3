"""Metric learning: a network embeds images as unit vectors, and identities are found by comparing them."""
