"""Nearest neighbours: vectors with fields go in, ranked answers come out. Needs NumPy alone."""

from medalist.search.answers import Hits, Page, Stats
from medalist.search.filters import F, has_id
from medalist.search.index import Index

__all__ = ["F", "Hits", "Index", "Page", "Stats", "has_id"]
