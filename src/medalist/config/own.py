"""What a config says of a part that the contest's folder brings: `kind: own`, its name, and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from medalist.config.model import ConfigModel

OWN = "own"
"""The kind of all parts of a contest's folder."""


class OwnConfig(ConfigModel):
    """A part of the contest's own `parts.py` (see docs/own_parts.md)."""

    kind: Literal["own"] = "own"
    """`own` selects a part of the contest's folder."""

    name: str = Field(min_length=1)
    """The name of the part in the dictionary of `parts.py`."""

    args: dict[str, Any] = Field(default_factory=dict)
    """The arguments of the part, by name. They are checked against its signature and type hints."""


def kind_or(default: str) -> Callable[[Any], str]:
    """Return the discriminator of a union whose member `default` may leave out its `kind`."""

    def kind(value: Any) -> str:
        said = value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", default)
        return said if isinstance(said, str) else default

    return kind


def own_parts_in(settings: Any, at: str = "") -> Iterator[tuple[str, OwnConfig]]:
    """Yield all parts of the contest's folder that settings name, each with its dotted key, such as `model`."""
    match settings:
        case OwnConfig():
            yield at, settings
        case BaseModel():
            for name in type(settings).model_fields:
                yield from own_parts_in(getattr(settings, name), f"{at}.{name}".removeprefix("."))
        case tuple():
            for number, one in enumerate(settings):
                yield from own_parts_in(one, f"{at}[{number}]")
