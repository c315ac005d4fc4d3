"""medalist: from a computer-vision competition's data to a validated submission.

The public names are listed in docs/python.md. Each is imported when it is first used, so `import medalist` is quick,
and only `open_run` imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medalist import codecs, metrics
    from medalist.competition import load_competition
    from medalist.errors import MedalistError
    from medalist.predictor import Predictor, open_run
    from medalist.search import F, Index

__all__ = ["F", "Index", "MedalistError", "Predictor", "codecs", "load_competition", "metrics", "open_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    match name:
        case "open_run" | "Predictor":
            found: Any = getattr(import_module("medalist.predictor"), name)
        case "F" | "Index":
            found = getattr(import_module("medalist.search"), name)
        case "MedalistError":
            found = import_module("medalist.errors").MedalistError
        case "load_competition":
            found = import_module("medalist.competition").load_competition
        case "codecs" | "metrics":
            return import_module(f"medalist.{name}")
        case _:
            raise AttributeError(f"module 'medalist' has no attribute '{name}'")
    globals()[name] = found  # so that this function is not asked again
    return found


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
