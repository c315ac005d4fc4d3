"""Read pictures whose values are numbers of classes, never colours: masks, and label pictures with a palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import Orientation, as_rgb, upright
from medalist.codecs.rasters import Raster, Values, read_raster
from medalist.errors import DataError

VOID = 255
"""The number that label pictures by palette use for pixels that belong to no class and are not judged."""

_HALF = 128
_BETWEEN = 0.1  # the largest share of a lossy mask's pixels that may be far from black and white
_FAR = 64  # how far from black and white a value of a lossy mask is then
_SMALL = 32  # grays up to this, and void, may be numbers of classes
_NAMED = 12  # the most values that one message lists


@dataclass(frozen=True, eq=False)
class LabelPicture:
    """The values of a picture as stored: `ids` is uint8[H, W].

    palette: uint8[256, 3] where the values are numbers of palette colours, else None. white: the value that is shown as
    white where there is no palette: 255, or less for gray of fewer than 8 bits. lossy: whether the file is a JPEG,
    whose values are only near those that were written.
    """

    ids: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None = None
    white: int = 255
    lossy: bool = False

    @property
    def values(self) -> list[int]:
        """The values that occur, sorted."""
        return values_in(self.ids)


def read_label_picture(path: Path, orientation: Orientation = "shown") -> LabelPicture:
    """Read a picture of labels: PNG, GIF, TIFF or JPEG.

    The values are the palette's numbers, or the gray values as stored: gray of 1, 2 or 4 bits gives 0..1, 0..3, 0..15.
    RGB is read where its three channels are equal. Of a GIF with a palette of grays, the grays are read. Raises
    DataError as `read_image` does; where colours stand for classes; where a palette of grays may mean its numbers or
    its grays; where a gray TIFF has 0 as white; and for 16-bit values above 255.
    """
    raster, values = _stored(path)
    if values.max(initial=0) > 255:
        raise DataError(f"{path}: 16-bit values up to {values.max()}; classes are numbers within 0..255")
    return _picture(path, raster, values, orientation)


def read_label_ids(path: Path, orientation: Orientation = "shown") -> Values:
    """Read the numbers of a picture of labels as stored, never scaled: uint8[H, W], or uint16[H, W] of a 16-bit file.

    Raises DataError as `read_label_picture` does, and for a JPEG, which does not keep numbers. 16-bit values are read.
    """
    raster, values = _stored(path)
    _refuse_lossy(path, raster)
    if values.dtype == np.uint16:
        return _turned(values, raster, orientation)
    return _picture(path, raster, values, orientation).ids


def read_label_colours(path: Path, orientation: Orientation = "shown") -> NDArray[np.uint8]:
    """Read the colours of a picture in which colours stand for classes: uint8[H, W, 3]; alpha is dropped.

    Of a palette, these are its colours. Raises DataError as `read_image` does, and for a JPEG, which does not keep
    colours, for 16 bits and for gray with 0 as white.
    """
    raster = read_raster(path)
    _refuse_lossy(path, raster)
    if raster.values.dtype == np.uint16 or raster.header.negative:
        what = "16-bit values" if raster.values.dtype == np.uint16 else "gray with 0 as white"
        raise DataError(f"{path}: {what}, where colours of 8 bits stand for classes; save it as an 8-bit PNG")
    return np.ascontiguousarray(upright(as_rgb(raster), _turn(raster, orientation)))


def _stored(path: Path) -> tuple[Raster, Values]:
    """A picture with its values as stored, [H, W], not turned; DataError where they are no numbers of classes."""
    raster = read_raster(path)
    values = raster.values
    if values.ndim == 3:
        if (values[..., 0] != values[..., 1]).any() or (values[..., 0] != values[..., 2]).any():
            raise DataError(f"{path}: {_colours(raster)} stand for classes; save it with the numbers of the classes")
        values = np.ascontiguousarray(values[..., 0])
    if raster.header.negative and raster.header.bits > 1:
        raise DataError(f"{path}: gray with 0 as white, so its values may be negatives of classes; save it as PNG")
    return raster, 255 - values if raster.header.negative else values


def _picture(path: Path, raster: Raster, values: Values, orientation: Orientation) -> LabelPicture:
    header = raster.header
    ids = values.astype(np.uint8)
    white = (1 << header.bits) - 1 if raster.palette is None and header.bits < 8 else 255
    ids //= 255 // white
    picture = LabelPicture(_turned(ids, raster, orientation), raster.palette, white, header.format == "JPEG")
    return _of_grays(path, picture, header.format == "GIF")


def _turn(raster: Raster, orientation: Orientation) -> int:
    return raster.header.orientation if orientation == "shown" else 1


def _turned(values: Values, raster: Raster, orientation: Orientation) -> Values:
    return np.ascontiguousarray(upright(values, _turn(raster, orientation)))


def _refuse_lossy(path: Path, raster: Raster) -> None:
    if raster.header.format == "JPEG":
        raise DataError(f"{path}: a JPEG does not keep the numbers or colours of classes; use the masks as PNG")


def _of_grays(path: Path, picture: LabelPicture, gif: bool) -> LabelPicture:
    """Take the grays of a palette in place of its numbers where a gray picture was surely stored so.

    GIF has no gray pictures, so writers number the grays that occur. Raises DataError where both could be the classes.
    """
    grays = _grays(picture)
    if picture.palette is None or grays is None:
        return picture
    used = picture.palette[picture.values, 0].tolist()
    if used == picture.values or set(used) <= {0, 255}:
        return picture
    small = all(gray <= _SMALL or gray == VOID for gray in used)
    if gif and small:
        return LabelPicture(grays)
    if gif or small:
        raise DataError(
            f"{path}: the palette shows the numbers {_list(picture.values)} as the grays {_list(used)}, and both may "
            "be classes; save it as a gray PNG, or with a palette of colours"
        )
    return picture


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:_NAMED])) + (", …" if len(values) > _NAMED else "")


def read_mask_picture(
    path: Path,
    foreground: Sequence[int] | None = None,
    threshold: int | None = None,
    orientation: Orientation = "shown",
) -> NDArray[np.uint8]:
    """Read a mask of one class: uint8[H, W] of 0 and 1.

    foreground: the values that are the class; all others are background. threshold: gray values from it on are the
    class. Without both, a mask may have 0 and one other value, which is 1, or white where there is no palette. A JPEG
    that is nearly black and white is read by the threshold 128. A palette of black and white goes by these two colours.
    Raises DataError as `read_label_picture` does, and where it is not clear what the class is; it names the values.
    """
    assert foreground is None or threshold is None, "give foreground or threshold"
    picture = read_label_picture(path, orientation)
    if foreground is not None:
        if picture.lossy:
            raise DataError(f"{path}: a JPEG does not keep numbers of classes; type threshold=128, or use a PNG")
        return np.isin(picture.ids, np.array(foreground, np.uint8)).astype(np.uint8)
    if threshold is not None:
        grays = _grays(picture)
        if grays is None:
            raise DataError(f"{path}: a palette of colours has no threshold; type foreground=(1,) or other numbers")
        return (grays >= threshold).astype(np.uint8)
    if picture.lossy:
        return _from_lossy(path, picture.ids)
    values = picture.values
    grays = _grays(picture)
    if picture.palette is not None and grays is not None and set(np.unique(grays).tolist()) <= {0, 255}:
        return (grays > 0).astype(np.uint8)
    others = [value for value in values if value]
    if others not in ([], [1]) and (picture.palette is not None or others != [picture.white]):
        raise DataError(
            f"{path}: a mask with {told(values, picture.palette is not None)}, where the contest has one class; "
            f"type {_proposal(values, picture)}"
        )
    return (picture.ids > 0).astype(np.uint8)


def values_in(ids: NDArray[np.uint8]) -> list[int]:
    """Return the values that occur in uint8[H, W], sorted."""
    return list(counted(ids))


def counted(ids: NDArray[np.uint8]) -> dict[int, int]:
    """Return the number of pixels of each value that occurs in uint8[H, W], the lowest value first."""
    counts = np.bincount(ids.ravel(), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def told(values: Sequence[int], palette: bool = False) -> str:
    """Return the values of a mask in words. 255 is called void where a palette, or lower values, make it likely."""
    shown = [str(value) for value in values[:_NAMED]]
    if VOID in values and (palette or (1 in values and values[-2] < VOID // 2)):
        shown = [*(str(value) for value in values[:-1][:_NAMED]), f"{VOID} (void)"]
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return f"the value{'s' * (len(values) > 1)} {', '.join(shown)}{more}"


def _proposal(values: Sequence[int], picture: LabelPicture) -> str:
    if picture.palette is None and (len(values) > _NAMED or (len(values) > 3 and min(values[1:]) > 15)):
        return f"threshold={_HALF}"
    ids = [value for value in values if value not in (0, VOID)]
    if not ids:
        return "foreground=(), because nothing but void is there, or foreground=(255,)"
    return f"foreground=({ids[0]},) or other numbers, and all others are background"


def _grays(picture: LabelPicture) -> NDArray[np.uint8] | None:
    """The picture's gray values; None where its palette has any colour but grays."""
    if picture.palette is None:
        return picture.ids
    if (picture.palette != picture.palette[:, :1]).any():
        return None
    return picture.palette[:, 0][picture.ids]


def _from_lossy(path: Path, grays: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask from a JPEG by the threshold 128; DataError where the values are not near black and white."""
    between = float(((grays >= _FAR) & (grays <= 255 - _FAR)).mean())
    top = int(grays.max(initial=0))
    if between > _BETWEEN or 2 <= top < 255 - _FAR:
        raise DataError(
            f"{path}: a mask as JPEG, which is not black and white ({100 * between:.0f} % of its values are far from "
            f"both, the largest is {top}); type threshold={_HALF} or another value, or use the mask as PNG"
        )
    return (grays >= _HALF).astype(np.uint8)


def _colours(raster: Raster) -> str:
    found = np.unique(raster.values.reshape(-1, 3), axis=0)
    shown = ", ".join(f"({', '.join(map(str, colour))})" for colour in found[:4].tolist())
    return f"{len(found)} colours ({shown}{', …' if len(found) > 4 else ''})"
