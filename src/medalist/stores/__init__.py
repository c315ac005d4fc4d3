"""Predictions on disk: one store for each type of prediction."""
