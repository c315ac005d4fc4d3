"""A limit of memory in a config, such as `4GB`. Torch-free."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def bytes_of(text: str) -> int:
    """Return a size such as `4GB` or `1.5 GiB` in bytes. Raises ValueError for other texts."""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or float(found[1]) == 0:
        raise ValueError(f"predict.memory = {text!r:.40} is no size; type 4GB or 900MB")
    return int(float(found[1]) * unit)


def _checked(text: str) -> str:
    bytes_of(text)
    return text


MemorySize = Annotated[str, AfterValidator(_checked)]
"""A text such as `4GB`, `900MB` or `1.5GiB`."""
