"""Metric learning: identities from unit vectors."""
