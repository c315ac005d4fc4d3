"""Nearest-neighbour search: an index of vectors with fields returns ranked answers. The room needs only NumPy."""

from medalist.search.answers import Hits, Page, Stats
from medalist.search.filters import F, has_id
from medalist.search.index import Index

__all__ = ["F", "Hits", "Index", "Page", "Stats", "has_id"]
