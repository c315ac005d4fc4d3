"""The pictures and figures of a segmentation report, from answers that are drawn here: nothing is trained."""

from __future__ import annotations

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
from medalist.report.zoom import FRAME
from medalist.reporter import SilentReporter
from medalist.tasks.protocols import Oof
from medalist.tasks.segment.objects import compared
from medalist.tasks.segment.report import _picture, worst, worst_places
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


def test_images_that_are_empty_in_truth_and_answer_are_not_shown(pits: tuple[Any, Oof]) -> None:
    contest, oof = pits
    run: Any = SimpleNamespace(folds=lambda: SimpleNamespace(fold_of=lambda name: 0))
    shown = [one.id for one in worst(run, contest, oof)]
    # All score 0; those with more wrong pixels come first. The empty ones score 1 and are not among them.
    assert shown == ["m0", "m1", "m2", "m3", "f0"]


def test_the_worst_objects_are_enlarged_and_framed(pits: tuple[Any, Oof]) -> None:
    contest, oof = pits
    sample = next(one for one in oof.samples if one.id == "m0")
    found = compared(oof.truths["m0"], oof.answers["m0"])
    picture = _picture(contest, oof, sample, 0, found, "no maps", 2)
    words = [words for words, _ in picture.details]
    assert words == ["a: a missed object of 36 px", "b: a missed object of 12 px"]
    assert picture.note == "2 objects in the truth (48 px); the answer is empty; 2 missed"
    assert (picture.picture[:, :640] == np.array(FRAME)).all(axis=2).sum() > 100
    assert not _picture(contest, oof, sample, 0, found, "no maps", 0).details


def test_neighbours_share_one_place() -> None:
    truth = mask(PIT, (18, 18, 20, 20), SPOT)
    places = worst_places(compared(truth, mask()), SIZE, 2)
    assert [flaw.pixels for flaw, _ in places] == [36, 12]
    assert [flaw.pixels for flaw, _ in worst_places(compared(truth, mask()), SIZE, 1)] == [36]
    assert worst_places(compared(truth, truth), SIZE, 2) == []


def test_the_report_of_a_run_shows_thresholds_sizes_and_probabilities(toy: Any, quiet: SilentReporter) -> None:
    run, contest, settings = toy.run, toy.contest(), run_settings(toy.run)
    scores = score_run(run, contest, settings, quiet)
    text = report(run, contest, settings).read_text()
    assert "Is the threshold right" in text and "Which objects are found" in text
    assert text.count("probability 0 to 1") == 2
    assert "swatch" in text and "<script" not in text
    made = dict(scores["predictions"])
    assert set(made) == {"fold0", "fold1"} and sha256_json({}) not in made.values()


def test_maps_that_were_not_scored_are_not_shown(toy: Any, quiet: SilentReporter, predict_anew: Any) -> None:
    run, contest, settings = toy.run, toy.contest(), run_settings(toy.run)
    score_run(run, contest, settings, quiet)
    predict_anew(run, contest, body=140, predict='{"scales": [1.5], "tta": "none"}')
    (run.folder / "oof" / "fold1.json").unlink()
    text = report(run, contest, settings).read_text()
    assert "The stored predictions of fold 1 are not those that were scored" in text
    assert "run medalist score toy_nuclei/tiny again" in text and "probability 0 to 1" not in text
