"""Decode images, and encode and decode masks as the texts of a submission's cells."""
