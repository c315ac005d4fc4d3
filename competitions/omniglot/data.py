"""Read the data of both questions: the parts of the retrieval split, and the folders of the official one-shot runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.records import Sample, Split

ASK = frozenset({"1", "2", "3", "4", "5"})
ANSWER = frozenset(str(drawer) for drawer in range(6, 16))
"""Drawers of the test part's queries (ASK) and gallery (ANSWER). Validation uses the same drawers."""


def asks(sample: Sample) -> bool:
    """Return whether the sample's drawer is one of the query drawers."""
    return sample.meta["drawer"] in ASK


def answers(sample: Sample) -> bool:
    """Return whether the sample's drawer is one of the gallery drawers."""
    return sample.meta["drawer"] in ANSWER


def read(root: Path) -> Split:
    """Read the retrieval split. The group is the alphabet. Raises one DataError that names all bad files."""

    def image(name: str) -> Path:
        return root / "test_images" / f"{name}.png"

    order = layouts.ids_in(root / "sample_submission.csv", "id")
    test = layouts.listed(root / "query.csv", "id", image, order=order)
    return layouts.parted(_train(root), test, layouts.listed(root / "gallery.csv", "id", image))


def read_oneshot(root: Path) -> Split:
    """Read the official runs. The queries are the items, the gallery is the class images of the same run.

    Ids are as in the sample submission: `run01/test/item01`, `run01/training/class01`. Raises DataError for bad files.
    """
    folder = root / "oneshot"
    test = layouts.listed(root / "oneshot_sample_submission.csv", "item", lambda name: folder / f"{name}.png")
    runs = {sample.id.partition("/")[0] for sample in test}
    shown = sorted(path for run in runs for path in (folder / run / "training").glob("*.png"))
    gallery = layouts.with_sizes([(path.relative_to(folder).with_suffix("").as_posix(), path) for path in shown])
    bare = sorted(runs - {sample.id.partition("/")[0] for sample in gallery})
    if bare:
        raise DataError(f"{folder / bare[0] / 'training'} holds no class images; download the data again")
    return layouts.parted(_train(root), _by_run(test), _by_run(gallery))


def _train(root: Path) -> tuple[Sample, ...]:
    """Return the training characters; a sample's id is its path under train_images, its identity alphabet/character."""
    path, folder = root / "train.csv", root / "train_images"
    return layouts.listed(
        path, "path", lambda name: folder / name, identity="label", group="alphabet", meta=("drawer",)
    )


def _by_run(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    return tuple(replace(sample, meta={"trial": sample.id.partition("/")[0]}) for sample in samples)
