"""Segmentation: masks and instances from maps of the image."""
