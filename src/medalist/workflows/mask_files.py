"""Compare truths with the mask files that annotations name: values that a JPEG lost, colours read in place of "
"numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from medalist.codecs.label_pictures import VOID, LabelPicture, read_label_picture, told
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.records import Answer, Mask, Sample

LOOKED = 100
"""Mask files that are read."""
_LOSSY = (".jpg", ".jpeg")
_SUFFIXES = (*_LOSSY, ".png", ".gif", ".tif", ".tiff")


def implausible_mask_files(contest: Contest, truths: Mapping[str, Answer]) -> Iterator[str]:
    """Yield a line where masks are JPEG files, and where a truth is not what the numbers of its palette say.

    truths: by the id of the sample. Only masks that the annotation names, as a path in the contest's folder, are seen.
    """
    named = [(sample, path) for sample in contest.split.train if (path := mask_file(contest.data, sample)) is not None]
    lossy = [path for _, path in named if path.suffix.lower() in _LOSSY]
    if lossy:
        yield (
            f"{len(lossy)} masks are JPEG files, which do not keep values (the first is {lossy[0]}): a threshold "
            "decides, 128 unless `truth` says another; look at some"
        )
    for sample, path in named[:: max(1, -(-len(named) // LOOKED))]:
        truth = truths.get(sample.id)
        if isinstance(truth, Mask):
            line = _palette_line(contest, sample, path, truth)
            if line:
                yield line
                return


def mask_file(data: Path, sample: Sample) -> Path | None:
    """The file that an annotation names; None where it is something else."""
    if len(sample.annotation) != 1 or not sample.annotation[0][-5:].lower().endswith(_SUFFIXES):
        return None
    path = data / sample.annotation[0]
    return path if path.is_file() else None


def _palette_line(contest: Contest, sample: Sample, path: Path, truth: Mask) -> str:
    """A line where void is foreground, or where the truth is that of a colour and not of a number."""
    try:
        picture = read_label_picture(path, contest.competition.orientation)
    except DataError:
        return ""  # for example colours, which `truth` may know how to read
    if picture.palette is None or picture.ids.shape != truth.size:
        return ""
    whole = f"sample {sample.id}: {path.name} has {told(picture.values, palette=True)} by its palette, and in its truth"
    remedy = "read it by layouts.mask_picture(data, sample, foreground=(1,)), with the numbers of the class"
    coloured = (picture.palette != picture.palette[:, :1]).any()
    if VOID in picture.values and coloured and truth.classes[picture.ids == VOID].all():
        return f"{whole} void, {VOID}, is foreground; {remedy}"
    lost = _lost_to_colours(picture, truth)
    if lost:
        return f"{whole} {', '.join(map(str, lost))} is background, as in one colour channel of the picture; {remedy}"
    return ""


def _lost_to_colours(picture: LabelPicture, truth: Mask) -> list[int]:
    """The numbers that are background in the truth, where the truth is what one colour channel shows; else none."""
    assert picture.palette is not None
    found = truth.classes > 0
    for channel in range(3):
        shown = picture.palette[:, channel] > 0
        lost = [value for value in picture.values if value not in (0, VOID) and not shown[value]]
        kept = [value for value in picture.values if value not in (0, VOID) and shown[value]]
        if lost and kept and np.array_equal(shown[picture.ids], found):
            return lost
    return []
