"""Checks of arguments that `Index` and its twin share."""

from __future__ import annotations

import math
import os
from typing import Any, Literal, get_args

import numpy as np

from medalist.errors import SearchError
from medalist.search.answers import Metric, Refine
from medalist.search.values import shown
from medalist.search.vectors import share, whole

Plan = Literal["exact", "scan", "walk", "bridge"]
Fsync = Literal["always", "interval", "os"]

RECALL = 0.95
"""The default target recall of a search, where neither `recall=` nor `ef=` is given."""
MOST_ANSWERS = 2**31
"""The most answers (queries times k) of one call; more would need tens of gigabytes."""
MOST_VECTORS = 2**31 - 1
MOST_THREADS = 1024


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> int:
    """Return the number of threads to use: all processors for None. Raises SearchError outside 1 to MOST_THREADS."""
    return processors() if threads is None else whole(threads, "threads", 1, MOST_THREADS)


def check_options(dim: int, metric: str, refine: str, degree: int | None, effort: int | None, seed: int) -> None:
    """Raise SearchError where an index cannot be made with these options."""
    whole(dim, "dim", 1, 2**16)
    for name, value, choices in (("metric", metric, get_args(Metric)), ("refine", refine, get_args(Refine))):
        if not isinstance(value, str) or value not in choices:
            raise SearchError(f"{name}={shown(value)}: expected one of {', '.join(map(repr, choices))}")
    if degree is not None:
        whole(degree, "degree", 4, 512)
    if effort is not None:
        whole(effort, "effort", 8, 2**16)
    whole(seed, "seed", 0, 2**64 - 1)


def check_choice(value: object, name: str, choices: tuple[str, ...]) -> int:
    """Return the position of `value` among the choices. Raises SearchError, which names the choices."""
    if not isinstance(value, str) or value not in choices:
        raise SearchError(f"{name}={shown(value)}: expected one of {', '.join(map(repr, choices))}")
    return choices.index(value)


def check_k(k: int) -> int:
    """Return k, the number of answers for each query. Raises SearchError where it is not an integer of 0 or more."""
    return whole(k, "k", 0, MOST_ANSWERS)


def check_aim(ef: int | None, recall: float | None) -> tuple[int | None, float | None]:
    """Return (ef, None) or (None, recall); the default recall where neither is given, SearchError where both are."""
    if ef is None:
        return None, RECALL if recall is None else share(recall, "recall")
    if recall is not None:
        raise SearchError("ef and recall: give one of them; recall is turned into ef")
    return whole(ef, "ef", 1, 2**63 - 1), None


def check_score(score: Any, name: str) -> float:
    """Return a bound for scores or distances as a float, maybe infinite. Raises SearchError for NaN or no number."""
    if isinstance(score, bool | np.bool_) or not isinstance(score, int | float | np.integer | np.floating):
        raise SearchError(f"{name}={shown(score)}: expected a number")
    try:
        value = float(score)
    except OverflowError:
        raise SearchError(f"{name}={shown(score)}: too large for a float") from None
    if math.isnan(value):
        raise SearchError(f"{name}: not a number (NaN)")
    return value


def file_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file or folder as text. Raises SearchError where `path` cannot be a file name."""
    try:
        name = os.fsdecode(path)
    except TypeError as error:
        raise SearchError(f"{shown(path)}: expected the name of a file") from error
    if "\0" in name or not name:
        raise SearchError(f"{shown(name)}: not a file name")
    return name
