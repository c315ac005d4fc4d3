"""The classes that a run is trained on, kept in its folder, so that it is used with no other list. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.runs.runs import Run


def keep_classes(run: Run, classes: Sequence[str]) -> None:
    """Write the classes that a run is trained on to `classes.json`, if this file does not exist yet.

    Raises RunError where the run has other classes already.
    """
    if not (run.folder / "classes.json").exists():
        write_json(run.folder / "classes.json", list(classes))
    refuse_other_classes(run, classes)


def has_classes(run: Run, classes: Sequence[str]) -> bool:
    """Return whether the run was trained on these classes in this order; true where it has no `classes.json`."""
    path = run.folder / "classes.json"
    return not path.exists() or read_json(path) == list(classes)


def refuse_other_classes(run: Run, classes: Sequence[str]) -> None:
    """Raise RunError where the run was trained on other classes than these, or on the same in another order."""
    if not has_classes(run, classes):
        known = read_json(run.folder / "classes.json")
        if not isinstance(known, list):
            raise RunError(
                f"{run.folder / 'classes.json'} is no list of classes; restore the file, or train a new run: medalist "
                "train ... --name NAME"
            )
        at = next((number for number, (old, new) in enumerate(zip(known, classes, strict=False)) if old != new), None)
        what = (
            f"{len(known)} classes, now there are {len(classes)}"
            if at is None
            else (f"class {at} was '{known[at]!s:.60}' and is '{classes[at]:.60}'")
        )
        raise RunError(
            f"{run.folder} was trained on another list of classes ({what}); restore the list in the competition, or "
            "train a new run: medalist train ... --name NAME"
        )
