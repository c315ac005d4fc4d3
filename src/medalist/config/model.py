"""What every config model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel):
    """What every config model is: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys that were called otherwise: the former name and the name now. Both are taken, the former with a note."""
