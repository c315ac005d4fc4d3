from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medalist.competition import Competition
from medalist.records import Boxes, Instances, Mask, Sample, Score, Split
from medalist.report import eda

TRUTH = np.zeros((20, 24), dtype=np.int32)
TRUTH[2:6, 2:6] = 1
TRUTH[2:6, 6:8] = 2


def competition(kind=Instances) -> Competition:
    def truth(data: Path, sample: Sample):
        values = TRUTH if sample.stratum == "dark" else np.zeros_like(TRUTH)
        return kind(values if kind is Instances else (values > 0).astype(np.uint8))

    return Competition(
        name="drawn",
        read=lambda data: Split((), ()),
        truth=truth,
        score=lambda truths, answers: Score(0.0, {}, {}),
        submission=None,  # type: ignore[arg-type]  # nothing here submits
    )


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    made = []
    for place in range(12):
        stratum = (None, "dark", "dark", "stain")[place % 4]
        image = np.full((20, 24, 3), 30, dtype=np.uint8)
        if stratum == "stain":
            image[:] = (200, 100, 200)
        path = tmp_path / f"{place}.png"
        Image.fromarray(image).save(path)
        made.append(Sample(f"s{place}", (path,), (20, 24), stratum=stratum, group=f"g{place // 2}"))
    return tuple(made)


@pytest.mark.parametrize("kind", [Instances, Mask])
def test_look_measures_images_and_objects(samples, tmp_path, kind):
    looks = eda.describe(competition(kind), tmp_path, samples)
    assert list(looks.images["id"]) == [sample.id for sample in samples]
    first, dark, _, stain = (looks.images.iloc[place] for place in range(4))
    assert first["stratum"] == "all" and first["objects"] == 0 and first["covered"] == 0
    assert dark["objects"] == (2 if kind is Instances else 1)  # touching objects of a mask are one part
    assert dark["covered"] == pytest.approx(24 / 480)
    assert dark["brightness"] == pytest.approx(30 / 255) and dark["saturation"] == 0
    assert stain["saturation"] == pytest.approx(0.5)
    assert sorted(looks.objects["area"].unique()) == ([8, 16] if kind is Instances else [24])
    assert len(looks.objects) == 6 * (2 if kind is Instances else 1)


def test_void_pixels_are_a_share_of_the_image_and_no_object(samples, tmp_path):
    void = np.zeros((20, 24), np.bool_)
    void[:, :6] = True
    mask = Mask(np.where(void, 0, TRUTH > 0).astype(np.uint8), void)
    looks = eda.describe(replace(competition(), truth=lambda data, sample: mask), tmp_path, samples)
    assert set(looks.images["void"]) == {0.25} and set(looks.objects["area"]) == {8}
    every = replace(competition(), truth=lambda data, sample: mask, classes=("road", "car"))
    assert set(eda.describe(every, tmp_path, samples).objects["area"]) == {8, 352}


def test_classes_are_counted(samples, tmp_path):
    void = np.zeros((20, 24), np.bool_)
    void[0] = True
    masks = {
        "dark": Mask(np.minimum(TRUTH, 1).astype(np.uint8)),
        "stain": Mask((TRUTH * 3).astype(np.uint8) // 2, void),
    }
    nothing = Mask(np.zeros((20, 24), np.uint8))
    contest = replace(
        competition(),
        truth=lambda data, sample: masks.get(sample.stratum, nothing),
        classes=("road", "a", "b", "c", "d"),
    )
    table = eda.classes_table(contest, tmp_path, samples)
    assert table["class"].tolist() == ["road", "a", "b", "c", "d"]
    assert table["images"].tolist() == [12, 9, 0, 3, 0] and table["objects"].tolist() == [12, 9, 0, 3, 0]
    judged = 12 * 480 - 3 * 24
    assert table["share of pixels"].tolist() == [
        pytest.approx(part / judged) for part in (judged - 9 * 24, 6 * 24 + 3 * 16, 0, 3 * 8, 0)
    ]
    drawn(eda.classes_figure(table))
    unnamed = eda.classes_table(replace(contest, classes=()), tmp_path, samples)
    assert unnamed["class"].tolist() == ["background", "class 1", "class 2", "class 3"]
    assert eda.classes_table(competition(), tmp_path, samples).empty and eda.classes_table(
        contest, tmp_path, ()
    ).shape == (5, 4)


def test_areas_of_a_mask_count_parts_by_class():
    classes = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [1, 0, 2, 0]], dtype=np.uint8)
    assert sorted(eda.object_areas(Mask(classes))) == [1, 1, 2, 2]
    assert len(eda.object_areas(Mask(np.zeros((3, 3), dtype=np.uint8)))) == 0
    assert len(eda.object_areas(Instances(np.zeros((3, 3), dtype=np.int32)))) == 0
    boxes = Boxes(np.array([(0, 0, 3, 2.5)], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    assert eda.object_areas(boxes).tolist() == [8]


def test_tables_count_everything_once(samples):
    split = Split(samples[:10], samples[10:])
    strata = eda.strata_table(split)
    assert strata["train"].sum() == 10 and strata["test"].sum() == 2
    assert strata["share of train"].sum() == pytest.approx(1)
    assert strata.loc["dark", "groups"] == 5
    sizes = eda.sizes_table(split)
    assert sizes.loc[(20, 24)].to_dict() == {"train": 10, "test": 2}
    folds = eda.folds_table(eda.folds_of(competition(), Split(samples, ())))
    assert folds["samples"].sum() == 12 and list(folds.index) == [0, 1, 2, 3, 4]
    assert folds[["all", "dark", "stain"]].to_numpy().sum() == 12


def test_sampling_is_seeded_and_keeps_the_order(samples):
    some = eda.sampled(samples, 5, seed=1)
    assert some == eda.sampled(samples, 5, seed=1)
    assert some == sorted(some, key=samples.index) and len(set(map(id, some))) == 5
    assert eda.sampled(samples, 50) == list(samples)
    assert any(eda.sampled(samples, 5, seed=seed) != some for seed in range(5))


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def test_figures_are_drawn(samples, tmp_path):
    looks = eda.describe(competition(), tmp_path, samples)
    for figure in (eda.objects_figure(looks.images), eda.modalities_figure(looks.images)):
        names = [text.get_text() for text in drawn(figure).axes[0].get_legend().get_texts()]
        assert names == ["dark", "all", "stain"]
    areas = drawn(eda.areas_figure(looks.objects)).axes[0]
    assert areas.get_legend() is None and areas.get_xscale() == "log"  # only one stratum has objects
    assert sum(bar.get_height() for bar in areas.patches) == 12
    bars = eda.objects_figure(looks.images).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(  # stacked: three strata over one another
        len(samples), abs=0
    )
    assert list(eda.objects_table(looks.images).loc["dark", ["images", "least", "most"]]) == [6, 2, 2]


def test_figures_of_nothing_are_drawn(tmp_path):
    looks = eda.describe(competition(), tmp_path, ())
    for figure in (
        eda.objects_figure(looks.images),
        eda.areas_figure(looks.objects),
        eda.modalities_figure(looks.images),
    ):
        drawn(figure)
    assert isinstance(eda.objects_table(looks.images), pd.DataFrame)
    assert eda.sizes_table(Split((), ())).empty and eda.strata_table(Split((), ())).empty


def test_a_stratum_has_one_colour_in_all_figures(samples, tmp_path):
    """Only the stratum `dark` has objects; it keeps its colour in the figure of objects."""
    looks = eda.describe(competition(), tmp_path, samples)

    def colours(figure) -> dict[str, tuple[float, ...]]:
        ax = figure.axes[0]
        handles, names = ax.get_legend_handles_labels()
        return {name: tuple(handle.get_facecolor()) for name, handle in zip(names, handles, strict=True)}

    of_images, of_areas = colours(eda.objects_figure(looks.images)), colours(eda.areas_figure(looks.objects))
    assert set(of_images) == {"all", "dark", "stain"} and set(of_areas) == {"dark"}
    assert of_areas["dark"] == of_images["dark"]
    points = eda.modalities_figure(looks.images).axes[0]
    names = points.get_legend_handles_labels()[1]
    assert {name: tuple(dots.get_facecolor()[0][:3]) for name, dots in zip(names, points.collections, strict=True)} == {
        name: colour[:3] for name, colour in of_images.items()
    }
