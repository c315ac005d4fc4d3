"""The figures of each epoch of a fold."""

from __future__ import annotations

import json
from typing import Any

from medalist.errors import RunError
from medalist.files import reason
from medalist.reading import JSON_BYTES, read_text
from medalist.runs.runs import Run


def metrics_rows(run: Run, fold: int) -> list[dict[str, Any]]:
    """Return the rows of a fold's metrics.jsonl, one for each epoch. Raises RunError where it cannot be read."""
    path = run.fold_folder(fold) / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in read_text(path, JSON_BYTES).splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not a row of figures")
        return rows
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({reason(error)[:80]}); train that fold again") from None
