"""Decode images, and encode and decode masks as the texts of a submission's cells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medalist.codecs import images, rle

__all__ = ["images", "rle"]


def __getattr__(name: str) -> Any:
    """Import a codec when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'medalist.codecs' has no attribute '{name}'")
    return import_module(f"medalist.codecs.{name}")
