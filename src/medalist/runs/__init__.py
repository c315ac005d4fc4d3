"""Runs on disk: the files of a run, their values, and their provenance."""
