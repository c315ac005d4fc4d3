"""Nearest neighbours: embeddings go in, ranked answers come out. Needs NumPy alone."""

from medalist.search.answers import Hits, Stats
from medalist.search.index import Index

__all__ = ["Hits", "Index", "Stats"]
