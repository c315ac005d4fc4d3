from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medalist.competition import Competition
from medalist.records import Answer, Boxes, Instances, Mask, Sample, Score, Split
from medalist.report.classes import COLOURS, WRONG
from medalist.report.eda_pictures import oof_figure, targets_figure
from medalist.report.pictures import FOUND, MISSED

LABELS = np.zeros((40, 48), dtype=np.int32)
LABELS[4:20, 4:20] = 1
LABELS[4:20, 20:30] = 2
VOID = np.zeros((40, 48), np.bool_)
VOID[30:] = True


def competition(truth: Answer, classes: tuple[str, ...] = ()) -> Competition:
    return Competition(
        name="drawn",
        read=lambda data: Split((), ()),
        truth=lambda data, sample: truth,
        score=lambda truths, answers: Score(0.0, {}, {}),
        submission=None,  # type: ignore[arg-type]  # nothing here submits
        classes=classes,
    )


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((40, 48, 3), 90, dtype=np.uint8)).save(path)
    return tuple(Sample(f"s{at}", (path,), (40, 48), stratum=(None, "dark", "stain")[at % 3]) for at in range(9))


def shown(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour)).all(axis=2).any())


def test_targets_are_outlined_and_void_is_hatched(samples, tmp_path):
    for truth in (Instances(LABELS), Mask((LABELS > 0).astype(np.uint8), VOID)):
        picture = shown(targets_figure(competition(truth), tmp_path, samples, each=2))
        assert picture.shape[0] > 3 * 200  # a row for each of the three strata
        assert has(picture, FOUND) and not has(picture, COLOURS[0])
        assert has(picture, (0, 0, 0)) == isinstance(truth, Mask)


def test_targets_of_classes_have_a_legend_above_them(samples, tmp_path):
    truth = Mask(LABELS.astype(np.uint8), VOID)
    one = shown(targets_figure(competition(truth, ("road", "car", "pole")), tmp_path, samples, each=2))
    assert not has(one, FOUND)
    for colour in COLOURS[:3]:
        rows = np.flatnonzero((one == np.array(colour)).all(axis=2).any(axis=1))
        assert rows.min() < 24 and rows.max() > 60, colour
    with_background = competition(truth, ("background", "car", "pole"))
    assert not has(shown(targets_figure(with_background, tmp_path, samples, each=2)), COLOURS[2])


def test_answers_are_drawn_from_the_worst_to_the_best(samples, tmp_path):
    contest = competition(Instances(LABELS))
    truths = {sample.id: contest.truth(tmp_path, sample) for sample in samples}
    scores = {sample.id: place / 10 for place, sample in enumerate(samples)}
    few = shown(oof_figure(contest, samples, truths, truths, scores, most=2))
    more = shown(oof_figure(contest, samples, truths, truths, scores, most=4))
    assert more.shape[0] == pytest.approx(2 * few.shape[0], abs=20)
    assert has(few, FOUND) and few.shape[1] < 3 * 384 + 40


def test_answers_of_classes_show_their_wrong_pixels(samples, tmp_path):
    truth = Mask(LABELS.astype(np.uint8), VOID)
    contest = competition(truth, ("road", "car", "pole"))
    truths: dict[str, Answer] = {sample.id: truth for sample in samples}
    wrong: dict[str, Answer] = {
        sample.id: replace(truth, void=None, classes=np.ones_like(truth.classes)) for sample in samples
    }
    scores = {sample.id: 0.5 for sample in samples}
    picture = shown(oof_figure(contest, samples, truths, wrong, scores, most=1))
    assert picture.shape[1] > 4 * 384 and has(picture[:, -390:], WRONG)
    right = shown(oof_figure(contest, samples, truths, truths, scores, most=1))
    assert not has(right[60:-12, -380:-14], WRONG)


def test_figures_of_nothing_are_drawn(tmp_path):
    for classes in ((), ("road", "car")):
        contest = competition(Instances(LABELS), classes)
        for figure in (targets_figure(contest, tmp_path, ()), oof_figure(contest, (), {}, {}, {})):
            figure.canvas.draw()


def test_boxes_have_the_colours_of_their_classes_and_errors_those_of_the_report(samples, tmp_path):
    xyxy = np.array([(4, 4, 20, 20), (24, 4, 40, 20)], np.float32)
    truth = Boxes(xyxy, np.array([0, 1], np.int32), np.ones(2, np.float32))
    contest = competition(truth)
    one = shown(targets_figure(contest, tmp_path, samples, each=2))
    assert has(one, COLOURS[0]) and has(one, COLOURS[1]) and not has(one, FOUND)
    answer = Boxes(xyxy[:1], np.array([0], np.int32), np.array([0.8], np.float32))
    picture = shown(oof_figure(contest, samples[:1], {"s0": truth}, {"s0": answer}, {"s0": 0.5}))
    assert has(picture, FOUND) and has(picture, MISSED)
