"""The configs of segmentation fit the contests: pictures of the real sizes are augmented to a size that networks take.

Contests that draw their data draw small pictures, so these configs are not tried on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medalist.competition import competition_names
from medalist.data.targets import MapTarget
from medalist.data.transforms import augment_sample, compose_augment, sample_seed
from medalist.kinds import load_settings
from medalist.tasks.segment.settings import SegmentSettings

PROJECT = Path(__file__).parents[2]
REAL = {
    "airbus_ships": ((768, 768),),
    "bsd_pitting": ((230, 565), (322, 770), (508, 1428)),
    "carvana": ((1280, 1918),),
    "cityscapes": ((1024, 2048),),
    "contrails": ((256, 256),),
    "dsb2018": ((256, 256), (1040, 1388)),
    "hubmap": ((1024, 1024),),
    "robot_surgery": ((1024, 1280),),
    "severstal": ((256, 1600),),
    "tgs_salt": ((101, 101),),
    "toy_nuclei": ((128, 128),),
}
"""Heights and widths of pictures of the real contest; of slides, the crops."""
CONFIGS = [path for name in REAL for path in sorted((PROJECT / "configs" / name).glob("*.yaml"))]


def test_every_contest_has_a_config_of_its_own() -> None:
    names = {name.partition(".")[0] for name in competition_names(PROJECT / "competitions")}
    assert {path.parent.name for path in (PROJECT / "configs").glob("*/*.yaml")} == {*names, "base"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_pictures_of_the_real_sizes_are_augmented_to_one_size(path: Path) -> None:
    settings = load_settings(path)
    if not isinstance(settings, SegmentSettings):
        return
    pipeline = compose_augment(settings.augment)
    sizes = set()
    for size in REAL[settings.competition.partition(".")[0]]:
        maps = np.zeros((*size, len(settings.model.channels)), np.uint8)
        maps[size[0] // 2 :][:9, :9] = 1
        image = np.full((*size, 3), 100, np.uint8)
        for epoch in range(3):
            seen, target = augment_sample(pipeline, path.stem, image, MapTarget(maps), sample_seed(1, epoch, 0))
            assert isinstance(target, MapTarget) and target.maps.shape[:2] == seen.shape[:2]
            sizes.add(seen.shape[:2])
    ((height, width),) = sizes
    assert height % settings.model.stride == width % settings.model.stride == 0
