"""Losses on embedding vectors."""
