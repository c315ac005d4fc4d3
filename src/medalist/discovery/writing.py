"""Write a competition folder and its config from a finding, whole or not at all."""

from __future__ import annotations

import keyword
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalist.competition import competition_folders, folder_names
from medalist.discovery.baseline import baseline
from medalist.discovery.code import CHOOSE, Code, text, whole
from medalist.discovery.code_boxes import write_box_files, write_box_table, write_coco
from medalist.discovery.code_labels import (
    write_class_columns,
    write_class_folders,
    write_class_names,
    write_identities,
    write_label_column,
)
from medalist.discovery.code_pixels import write_class_codes, write_codes, write_mask_files, write_object_masks
from medalist.discovery.finding import (
    KINDS,
    BoxFiles,
    BoxTable,
    ClassCodes,
    ClassColumns,
    ClassFolders,
    ClassNames,
    CocoFile,
    Codes,
    Finding,
    Identities,
    LabelColumn,
    MaskFiles,
    ObjectMasks,
)
from medalist.discovery.pictures import Shapes
from medalist.errors import ConfigError
from medalist.files import written
from medalist.shipped import CONFIGS, CONTESTS, own_folder

_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")


_WRITERS: Mapping[type, Callable[[Code, Finding, Any], None]] = {
    Codes: write_codes,
    ClassCodes: write_class_codes,
    MaskFiles: write_mask_files,
    ObjectMasks: write_object_masks,
    BoxFiles: write_box_files,
    BoxTable: write_box_table,
    CocoFile: write_coco,
    LabelColumn: write_label_column,
    ClassColumns: write_class_columns,
    ClassFolders: write_class_folders,
    ClassNames: write_class_names,
    Identities: write_identities,
}
"""The function that writes the code of each form of truths."""


@dataclass(frozen=True)
class Places:
    """Where a contest is written: its folder, and its config."""

    folder: Path
    config: Path


def places_of(name: str, start: Path | None = None) -> Places:
    """Return where a contest of this name is written: in the `competitions` and `configs` of the user.

    They are the nearest ones at `start` (the working folder) or above it; where there are none, they are made there.
    Raises ConfigError for a name that is none, and for one that is taken.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:50]
        proposal = f"; type {hint}" if _NAME.fullmatch(hint) and not keyword.iskeyword(hint) else ""
        raise ConfigError(
            f"'{name}' is no name of a competition: small letters, digits and _, a letter first{proposal}"
        )
    here = (start or Path.cwd()).resolve()
    contests = own_folder(CONTESTS, start) or here / CONTESTS
    folder, config = contests / name, contests.parent / CONFIGS / name / "baseline.yaml"
    taken = next((place for place in (folder, config) if place.exists()), None)
    if taken is not None:
        raise ConfigError(f"{taken} is there already; choose another name, or take it away")
    try:
        known = {one for place in competition_folders(start) for one in folder_names(place)}
    except ConfigError:
        known = set()
    if name in known:
        raise ConfigError(f"a competition '{name}' comes with medalist; choose another name")
    return Places(folder, config)


def write_contest(name: str, data: Path, finding: Finding, shapes: Shapes, places: Places) -> None:
    """Write the folder and the config of a contest. After an error nothing of them is there."""
    files = {
        places.folder / "__init__.py": code_of(name, finding),
        places.folder / "README.md": readme_of(name, finding, shapes),
        places.folder / "tests" / f"test_{name}.py": test_of(name, data, finding),
        places.config: baseline(name, data, finding, shapes),
    }
    made = [one for one in (places.folder, places.config.parent) if not one.exists()]
    try:
        for path, content in files.items():
            with written(path) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="")
    except BaseException:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def code_of(name: str, finding: Finding) -> str:
    """Return the text of the contest's `__init__.py`."""
    code = Code()
    _WRITERS[type(finding.truth)](code, finding, finding.truth)
    if finding.fields:
        code.use("medalist.folds.mosaic", "field_groups")
        code.set("groups", "field_groups")
    return whole(name, KINDS[finding.kind], code)


def readme_of(name: str, finding: Finding, shapes: Shapes) -> str:
    """Return the text of the contest's README: what was found, why, and what is not sure."""
    height, width = shapes.middle
    train = f"| `{finding.train.images.folder}` | {len(finding.train.images.files):,} training images |"
    test = (
        [] if finding.test is None else [f"| `{finding.test.images.folder}` | {len(finding.test.ids):,} test images |"]
    )
    asked = [] if finding.asked is None else [f"| `{finding.asked.table.file}` | the sample submission |"]
    lines = [
        f"# {name}: {KINDS[finding.kind]}",
        "",
        "This folder was written by `medalist new`, which looked at the downloaded files. Read the contest's page, and",
        f"then decide each line of `__init__.py` that is marked {CHOOSE}.",
        "",
        "## Data",
        "",
        "| file | holds |",
        "|---|---|",
        train,
        f"| `{finding.source}` | the truths |",
        *test,
        *asked,
        "",
        f"The middle of the training images is {width} pixels wide and {height} high.",
        "",
        "## Evidence",
        "",
        *(f"- {_plain(line)}" for line in finding.evidence),
        "",
        "## Doubts",
        "",
        *([f"- {_plain(line)}" for line in finding.doubts] or ["None."]),
        "",
        "## Commands",
        "",
        "```",
        f"medalist check {name} --data DIR",
        f"medalist train configs/{name}/baseline.yaml --fold 0",
        "medalist score RUN",
        "medalist submit RUN -o submission.csv",
        "```",
        "",
    ]
    return "\n".join(lines)


def test_of(name: str, data: Path, finding: Finding) -> str:
    """Return the text of the contest's test: the download is read, and truths survive the submission file."""
    lines = [
        f'"""{name}: the download is read, and each truth is of the right form."""',
        "",
        "from pathlib import Path",
        "",
        "import pytest",
        "",
        "from medalist.competition import load_competition",
        "",
        f"DATA = Path({text(str(data))})",
        f"CONTEST = load_competition({text(name)}, Path(__file__).parents[2])",
        "",
        'pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")',
        "",
        "",
        "def test_the_download_is_read() -> None:",
        "    split = CONTEST.read(DATA)",
        f"    assert len(split.test) == {0 if finding.test is None else _tests(finding)}",
        "    assert split.train and len({sample.id for sample in split.all}) == len(split.all)",
        "",
        "",
        "def test_truths_are_read() -> None:",
        "    for sample in CONTEST.read(DATA).train[:20]:",
        "        assert CONTEST.checked_truth(DATA, sample).size in (None, sample.size)",
        "",
    ]
    return "\n".join(lines)


def _tests(finding: Finding) -> int:
    assert finding.test is not None
    match = finding.asked.match if finding.asked else None
    return len(finding.test.ids) if match is None else match.of


def _plain(line: str) -> str:
    """A line of Markdown: nothing in it can be markup, or a second line."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in " ".join(line.split()))
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", plain)
