"""List images in folders, with their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medalist.errors import DataError
from medalist.layouts.faults import refuse

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")

Images = Sequence[tuple[str, Path]]
"""The id and the file of each image, sorted by id."""


def images_in_folder(root: Path, part: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[tuple[str, Path]]:
    """List the images `root/part/<id>.<suffix>`, sorted by id; other files are ignored.

    Raises DataError where the folder is missing or has no image, and where two files have the same id.
    """
    named: dict[str, Path] = {}
    faults = []
    for path in _entries(root, part):
        if path.suffix.lower() in suffixes:
            if path.stem in named:
                faults.append(f"'{path.name}' and '{named[path.stem].name}' have the same id '{path.stem}'")
            named[path.stem] = path
    refuse(f"{root / part}", faults, "keep one file an id")
    return _not_empty(root / part, named, f"<id>{'|'.join(suffixes)}")


def masks_in_folder(
    root: Path, part: str, ending: str = "", suffixes: Sequence[str] = MASK_SUFFIXES
) -> list[tuple[str, Path]]:
    """List the masks `root/part/<id><ending>.<suffix>` with the ids of their images, sorted by id.

    ending: what a mask's name has behind the id, such as "_mask". Raises DataError as `images_in_folder` does, and for
    a name without the ending.
    """
    found = images_in_folder(root, part, suffixes)
    faults = [f"'{path.name}'" for name, path in found if not name.endswith(ending) or name == ending]
    refuse(f"{root / part}: names that do not end in '{ending}'", faults, "take them out, or give another ending")
    return [(name.removesuffix(ending), path) for name, path in found]


def images_in_tree(
    root: Path, part: str, ending: str = "", suffixes: Sequence[str] = MASK_SUFFIXES
) -> list[tuple[str, Path]]:
    """List the images or masks `root/part/**/<id><ending>.<suffix>` of all folders below `part`, sorted by id.

    ending: what a name has behind the id, such as "_leftImg8bit"; files without it are ignored. Raises DataError where
    the folder is missing or has no such file, and where two files have the same id.
    """
    named: dict[str, Path] = {}
    faults = []
    folders = [root / part]
    while folders:
        folder = folders.pop()
        for path in _entries(root, str(folder.relative_to(root))):
            name = path.stem.removesuffix(ending)
            if path.is_dir() and not path.is_symlink():
                folders.append(path)
            elif path.suffix.lower() in suffixes and path.stem.endswith(ending) and name:
                if name in named:
                    faults.append(f"'{path.relative_to(root)}' and '{named[name].relative_to(root)}' have the same id")
                named[name] = path
    refuse(f"{root / part}", faults, "keep one file an id")
    return _not_empty(root / part, named, f"<folder>/<id>{ending}{'|'.join(suffixes)}")


def masks_per_object(
    root: Path, part: str, inside: str = "masks", suffixes: Sequence[str] = MASK_SUFFIXES
) -> list[tuple[str, Path]]:
    """List the masks `root/part/<id>/<inside>/*.<suffix>`, one file for each object, sorted by id and then by name.

    An id comes as often as it has files; plain files in `root/part`, and ids without the folder `inside`, are ignored.
    Raises DataError where the folder `part` is missing or has no mask.
    """
    found = [
        (folder.name, path)
        for folder in _entries(root, part)
        if (folder / inside).is_dir()
        for path in sorted((folder / inside).iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    _not_empty(root / part, dict(found), f"<id>/{inside}/<object>{'|'.join(suffixes)}")
    return found


def folder_per_image(root: Path, part: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[tuple[str, Path]]:
    """List the images `root/part/<id>/images/<one file>`, sorted by id; plain files in `root/part` are ignored.

    Raises DataError where the folder is missing or has no image, and where the `images` folder of an <id> does not have
    exactly one image; the error names these ids.
    """
    named: dict[str, Path] = {}
    faults = []
    for folder in _entries(root, part):
        if not folder.is_dir():
            continue
        inside = folder / "images"
        files = sorted(inside.iterdir()) if inside.is_dir() else []
        images = [path for path in files if path.suffix.lower() in suffixes and not path.name.startswith(".")]
        if len(images) == 1:
            named[folder.name] = images[0]
        else:
            faults.append(f"{folder.name}/images holds {len(images) or 'no'} image{'s' * (len(images) > 1)}")
    refuse(f"{root / part}", faults, "there must be exactly one image in each; download the contest again")
    return _not_empty(root / part, named, "<id>/images/<id>.png")


def folders_in(root: Path, part: str) -> list[tuple[str, Path]]:
    """List the folders `root/part/<id>`, sorted by id: a folder for each sample, video or city.

    Raises DataError where `root/part` is missing or has no folder.
    """
    named = {path.name: path for path in _entries(root, part) if path.is_dir()}
    if not named:
        raise DataError(f"no folders in {root / part}; pass the folder of the downloaded contest with --data")
    return sorted(named.items())


def _entries(root: Path, part: str) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"no folder {root}; pass the folder of the downloaded contest with --data")
    if not (root / part).is_dir():
        raise DataError(f"no folder '{part}' in {root}; pass the folder of the downloaded contest with --data")
    return sorted(path for path in (root / part).iterdir() if not path.name.startswith("."))


def _not_empty(folder: Path, named: Mapping[str, Path], form: str) -> list[tuple[str, Path]]:
    if not named:
        raise DataError(f"no images in {folder}; expected {form}")
    return sorted(named.items())
