"""Predictions on disk, one form for each kind of prediction."""
