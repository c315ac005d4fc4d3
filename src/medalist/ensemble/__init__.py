"""Blend the predictions of several runs, without torch."""
