"""The pictures and figures of a segmentation report, from answers that are drawn here: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import Competition
from medalist.files import sha256_json
from medalist.kinds import run_settings
from medalist.metrics.masks import mean_dice
from medalist.records import Mask, Sample, Split
from medalist.report.classes import Classes
from medalist.report.page import extremes
from medalist.reporter import SilentReporter
from medalist.tasks.protocols import Oof
from medalist.tasks.segment import report as segment_report
from medalist.tasks.segment.report import _classes_report, _drawing, _numbers, worst
from medalist.workflows.report import report
from medalist.workflows.score import score_run

SIZE = (120, 200)


def mask(*boxes: tuple[int, int, int, int]) -> Mask:
    classes = np.zeros(SIZE, np.uint8)
    for top, left, bottom, right in boxes:
        classes[top:bottom, left:right] = 1
    return Mask(classes)


PIT, SPOT, FAR = (10, 10, 16, 16), (100, 150, 103, 154), (60, 100, 64, 104)


@pytest.fixture
def pits(tmp_path: Path) -> tuple[Any, Oof]:
    """Thirty images: 20 are empty in truth and answer, the others have a missed, a found or a false object."""
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).save(path)
    truths = {f"e{place:02}": mask() for place in range(20)}
    answers = dict(truths)
    for place in range(5):
        truths[f"m{place}"], answers[f"m{place}"] = mask(PIT, SPOT), mask()
        truths[f"f{place}"], answers[f"f{place}"] = mask(), mask(FAR)
    truths["m4"] = mask(SPOT)
    samples = tuple(Sample(name, (path,), SIZE) for name in truths)
    competition = Competition(
        name="pits",
        read=lambda data: Split((), ()),
        truth=lambda data, sample: mask(),
        score=mean_dice,  # type: ignore[arg-type]  # its masks are answers
        submission=None,  # type: ignore[arg-type]  # nothing here submits
    )
    return SimpleNamespace(competition=competition), Oof(samples, truths, answers, mean_dice(truths, answers))


def test_a_mask_of_0_and_255_is_compared_as_metrics_do(pits: tuple[Any, Oof]) -> None:
    contest, oof = pits
    run: Any = SimpleNamespace(folds=lambda: SimpleNamespace(fold_of=lambda name: 0))
    contest.competition = replace(contest.competition, submission=SimpleNamespace(one_class=True))
    white = {name: Mask(truth.classes * 255) for name, truth in oof.truths.items() if isinstance(truth, Mask)}
    for one, other in zip(worst(run, contest, oof), worst(run, contest, replace(oof, truths=white)), strict=True):
        assert one.id == other.id and np.array_equal(one.picture, other.picture)


def test_the_worst_images_of_each_class_are_drawn(pits: tuple[Any, Oof]) -> None:
    """The class 2 is nowhere, and the images that are right are no worst ones."""
    contest, oof = pits
    run: Any = SimpleNamespace(folds=lambda: SimpleNamespace(fold_of=lambda name: 1))
    contest.competition = replace(contest.competition, classes=("background", "pit", "stain"))
    found = _classes_report(run, _drawing(contest, oof, "no maps"))
    assert found is not None and found.classes == Classes(("background", "pit", "stain"))
    assert [row.iou for row in found.pixels.rows()][1:] == [0.0, None]
    assert list(found.pictures) == [1, 0] and [one.id for one in found.pictures[1]] == ["m0", "m1"]
    assert found.pictures[1][0].score == 0 and found.pictures[1][0].note == "48 px missed, 0 px false"
    contest.competition = replace(contest.competition, classes=())
    assert _classes_report(run, _drawing(contest, oof, "no maps")) is None


@pytest.mark.parametrize(
    ("channels", "classes", "numbers"),
    [(("b", "a"), ("background", "a", "b"), (2, 1)), (("x", "y"), (), (1, 2)), (("x", "y"), ("background", "a"), ())],
)
def test_the_maps_of_classes_are_known_by_their_channels(channels: Any, classes: Any, numbers: Any) -> None:
    model, task = SimpleNamespace(channels=channels), SimpleNamespace(activation="sigmoid")
    settings: Any = SimpleNamespace(model=model, task=task)
    competition: Any = SimpleNamespace(classes=classes)
    assert _numbers(settings, competition) == numbers


def test_images_that_are_empty_in_truth_and_answer_are_not_shown(pits: tuple[Any, Oof]) -> None:
    contest, oof = pits
    run: Any = SimpleNamespace(folds=lambda: SimpleNamespace(fold_of=lambda name: 0))
    shown = [one.id for one in worst(run, contest, oof)]
    # All score 0; those with more wrong pixels come first. The empty ones score 1 and are not among them.
    assert shown == ["m0", "m1", "m2", "m3", "f0"]


def test_the_report_of_a_run_shows_thresholds_sizes_and_probabilities(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_report, "extremes", lambda by_sample, wrong: extremes(by_sample, 2, wrong))
    run, contest, settings = toy.run, toy.contest(), run_settings(toy.run)
    scores = score_run(run, contest, settings, quiet)
    text = report(run, contest, settings).read_text()
    assert "Is the threshold right" in text and "Which objects are found" in text
    assert text.count("probability 0 to 1") == 2
    assert "swatch" in text and "<script" not in text
    made = dict(scores["predictions"])
    assert set(made) == {"fold0", "fold1"} and sha256_json({}) not in made.values()


def test_maps_that_were_not_scored_are_not_shown(
    toy: Any, quiet: SilentReporter, predict_anew: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_report, "extremes", lambda by_sample, wrong: extremes(by_sample, 2, wrong))
    run, contest, settings = toy.run, toy.contest(), run_settings(toy.run)
    score_run(run, contest, settings, quiet)
    predict_anew(run, contest, body=140, predict='{"scales": [1.5], "tta": "none"}')
    (run.folder / "oof" / "fold1.json").unlink()
    text = report(run, contest, settings).read_text()
    assert "The stored predictions of fold 1 are not those that were scored" in text
    assert "run medalist score toy_nuclei/tiny again" in text and "probability 0 to 1" not in text
