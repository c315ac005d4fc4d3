"""Segmentation: a network predicts maps of an image, from which masks or instances are made."""
