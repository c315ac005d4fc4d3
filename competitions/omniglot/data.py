"""Reads both questions: the parts of the retrieval split, and the folders of the official one-shot runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.records import Sample, Split

ASK = frozenset({"1", "2", "3", "4", "5"})
ANSWER = frozenset(str(drawer) for drawer in range(6, 16))
"""Drawers of the test part; validation asks and answers by the same ones."""


def asks(sample: Sample) -> bool:
    """Whether the sample's drawer is one of those who ask."""
    return sample.meta["drawer"] in ASK


def answers(sample: Sample) -> bool:
    """Whether the sample's drawer is one of those who answer."""
    return sample.meta["drawer"] in ANSWER


def read(root: Path) -> Split:
    """Read the retrieval split; raises DataError that names every bad file at once. The group is the alphabet."""

    def image(name: str) -> Path:
        return root / "test_images" / f"{name}.png"

    order = layouts.ids_in(root / "sample_submission.csv", "id")
    test = layouts.listed(root / "query.csv", "id", image, order=order)
    return layouts.parted(_train(root), test, layouts.listed(root / "gallery.csv", "id", image))


def read_oneshot(root: Path) -> Split:
    """Read the official runs: items are asked, class images answer within their run; raises DataError.

    Ids are those of the sample submission: `run01/test/item01`, `run01/training/class01`.
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
    """The background characters; a sample's id is its path under train_images, its identity alphabet/character."""
    path, folder = root / "train.csv", root / "train_images"
    return layouts.listed(
        path, "path", lambda name: folder / name, identity="label", group="alphabet", meta=("drawer",)
    )


def _by_run(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    return tuple(replace(sample, meta={"trial": sample.id.partition("/")[0]}) for sample in samples)
