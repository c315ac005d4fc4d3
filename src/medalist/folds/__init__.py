"""Folds, and groups found in pixels that folds must not split."""
