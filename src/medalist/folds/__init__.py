"""Folds, and groups of images found by their pixels, which folds must not split."""
