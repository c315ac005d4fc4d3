"""Read the contest's files as Kaggle ships them: slides as TIFF, a csv of run-length codes, a csv about the donors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.files import read_table
from medalist.layouts.faults import refuse
from medalist.records import Mask, Sample, Split

INFORMATION = "HuBMAP-20-dataset_information.csv"


def read(root: Path) -> Split:
    """Read the samples under `root`: a slide is a sample, and its group is the donor of the kidney.

    Raises DataError, which names every bad file of a step, or every slide that the csv about the donors does not have.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root, "train", (".tif", ".tiff")),
        test=layouts.images_in_folder(root, "test", (".tif", ".tiff")),
        annotations=layouts.read_annotations(root / "train.csv", "id", "encoding", row_per="image"),
        order=layouts.ids_in(root / "sample_submission.csv", "id"),
    )
    rows = read_table(root / INFORMATION, ("image_file", "patient_number"))
    donor = {Path(row["image_file"]).stem: row["patient_number"] for row in rows}
    unknown = [f"'{sample.id}'" for sample in split.train if not donor.get(sample.id)]
    refuse(f"{root / INFORMATION}: no patient_number of the slide", unknown, "download the contest again")
    return replace(split, train=tuple(replace(sample, group=donor[sample.id]) for sample in split.train))


def truth(root: Path, sample: Sample) -> Mask:
    """Return the glomeruli of a training slide as one mask. Raises DataError for a bad code."""
    return layouts.mask(root / "train.csv", sample)
