"""A contest whose truth is in mask files, for tests of what belongs to the data of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CODE = """
from pathlib import Path
import numpy as np
from PIL import Image
from medalist.competition import Competition
from medalist.folds.mosaic import field_groups
from medalist.formats.rle import RleFormat
from medalist.records import Mask, Sample, Score, Split

NAMED = {named}

def sample(data, part, path):
    mask = (f"masks/{{path.name}}",) if NAMED and part == "train" else ()
    return Sample(path.stem, (path,), (32, 32), mask, group=GROUPS.get(path.stem) if part == "train" else None)

def read(data):
    parts = [[sample(data, part, path) for path in sorted((data / part).glob("*.png"))] for part in ("train", "test")]
    return Split(tuple(parts[0]), tuple(parts[1]))

def truth(data, sample):
    return Mask((np.asarray(Image.open(data / "masks" / f"{{sample.id}}.png")) > 0).astype(np.uint8))

def score(truths, answers):
    same = {{name: float((truth.classes == answers[name].classes).mean()) for name, truth in truths.items()}}
    return Score(sum(same.values()) / len(same), {{}}, same)

GROUPS = {groups}
COMPETITION = Competition("{name}", read, truth, score, RleFormat(row_per="image"), sample_submission=None{extra})
"""


def write_contest(home: Path, name: str, named: bool = True, groups: str = "{}", extra: str = "") -> Path:
    """Write a contest's folder below `home/competitions`, and return it."""
    folder = home / "competitions" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(CODE.format(name=name, named=named, groups=groups, extra=extra))
    return folder


def write_data(data: Path, train: int = 6, test: int = 2) -> Path:
    """Write images of noise and their masks, and return the data folder."""
    rng = np.random.default_rng(5)
    for part, count in (("train", train), ("test", test)):
        (data / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(data / part / f"{part[:2]}{number}.png")
    (data / "masks").mkdir(exist_ok=True)
    for number in range(train):
        mask = np.zeros((32, 32), np.uint8)
        mask[number : number + 9, 4:12] = 255
        Image.fromarray(mask).save(data / "masks" / f"tr{number}.png")
    return data
