"""The scores that were tried on a run's OOF predictions, in `tries.json`, and the one among them that `submit` uses.

`scores.json` and `oof.csv` are those of the kept score: the config's own `decide`, or that of `score --keep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from medalist.errors import RunError
from medalist.files import read_json, refuse_newer, sha256_json, write_json
from medalist.runs.runs import Run

FILE = "tries.json"
FORMAT = 1

Origin = Literal["config", "--keep"]


@dataclass(frozen=True)
class Try:
    """One score of a run.

    changes: the keys of `decide` that differ from the config, with their values. decide: all of them. value, error: the
    score and its standard error over samples. folds: the folds that were scored, of folds_of. predictions: the hashes
    of what made the OOF predictions, by part.
    """

    changes: Mapping[str, Any]
    decide: Mapping[str, Any]
    value: float
    error: float | None
    folds: tuple[str, ...]
    folds_of: int
    predictions: Mapping[str, str]


@dataclass(frozen=True)
class Kept:
    """The score that `submit` uses.

    origin: where its `decide` comes from. decide: its settings. scores: the hash of the content of `scores.json`.
    sources: the hashes of the code that decided and scored, by file.
    """

    origin: Origin
    decide: Mapping[str, Any]
    scores: str
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Tries:
    """The content of `tries.json`: the tries in their order, and the kept score, None where there is none yet."""

    tries: tuple[Try, ...] = ()
    kept: Kept | None = None

    def is_kept(self, one: Try) -> bool:
        """Return whether a try is the kept one."""
        return self.kept is not None and dict(self.kept.decide) == dict(one.decide)


def read_tries(run: Run) -> Tries:
    """Return the tries of a run; no tries for runs from before they were recorded. Raises RunError for damage."""
    path = run.folder / FILE
    if not path.exists():
        return Tries()
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    try:
        tries = tuple(Try(**{**one, "folds": tuple(one["folds"])}) for one in value["tries"])
        kept = None if value["kept"] is None else Kept(**value["kept"])
        if kept is not None and not all(isinstance(part, dict) for part in (kept.decide, kept.sources)):
            raise TypeError(kept)
        if not all(isinstance(one.value, float | int) and isinstance(one.decide, dict) for one in tries):
            raise TypeError(tries)
    except (TypeError, LookupError):
        raise RunError(f"{path} is damaged; delete it: it only lists the scores that were tried") from None
    return Tries(tries, kept)


def add_try(run: Run, one: Try, kept: Kept | None) -> None:
    """Add a try, in place of an earlier one of the same decision. kept: the new kept score, None to leave it."""
    before = read_tries(run)
    others = [other for other in before.tries if dict(other.decide) != dict(one.decide)]
    now = kept or before.kept
    value = {"tries": [asdict(each) for each in (*others, one)], "kept": None if now is None else asdict(now)}
    write_json(run.folder / FILE, {"format": FORMAT, **value})


def is_unproved(run: Run, kept: Kept | None) -> bool:
    """Return whether nothing says that `scores.json` is what `score` wrote, because `tries.json` is gone.

    Runs from before tries were recorded have no hashes of sources in their lock either, and count as proved.
    """
    return kept is None and bool(run.lock().sources)


def is_edited(scores: Mapping[str, Any], kept: Kept | None) -> bool:
    """Return whether the content of `scores.json` is not that of the kept score, as far as that is known."""
    try:
        return kept is not None and kept.scores != sha256_json(dict(scores))
    except ValueError:  # not a number or infinite, which `write_json` never writes
        return True
