from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.engine.settings import TrainConfig
from medalist.planning.arithmetic import (
    Pace,
    Stage,
    Timed,
    at_pixels,
    checkpoint_bytes,
    pace,
    peak_bytes,
    queue_seconds,
    share_of_batches,
    stages_of,
    state_bytes,
    training_seconds,
    validations_of,
    whole_seconds,
)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 10, **settings})


def test_epochs_that_cost_alike_are_one_stage() -> None:
    assert stages_of(config()) == (Stage(10, None, False),)
    staged = config(sizes=[{"epochs": 3, "size": [64, 64]}, {"epochs": 2, "size": [96, 96]}], freeze=4)
    assert stages_of(staged) == (
        Stage(3, (64, 64), True),
        Stage(1, (96, 96), True),
        Stage(1, (96, 96), False),
        Stage(5, None, False),
    )


@given(st.integers(1, 30), st.data())
def test_stages_are_all_epochs(epochs: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, epochs))
    sizes = [{"epochs": first, "size": [64, 64]}] if first else []
    made = config(epochs=epochs, freeze=data.draw(st.integers(0, epochs - 1)), sizes=sizes)
    stages = stages_of(made)
    assert sum(stage.epochs for stage in stages) == epochs
    assert sum(stage.epochs for stage in stages if stage.frozen) == made.freeze
    assert sum(stage.epochs for stage in stages if stage.size) == first


@pytest.mark.parametrize(
    ("epochs", "every", "validations"), [(10, 0, 1), (10, 1, 10), (10, 5, 2), (10, 4, 3), (3, 7, 1)]
)
def test_validations(epochs: int, every: int, validations: int) -> None:
    counted = sum(1 for done in range(1, epochs + 1) if done == epochs or (every and done % every == 0))
    assert validations_of(config(epochs=epochs, evaluate_every=every)) == counted == validations


def moments(*gaps: float) -> list[float]:
    """Ends of batches that took so long each, begun at 100."""
    now, ends = 100.0, []
    for gap in gaps:
        now += gap
        ends.append(now)
    return ends


def test_the_pace_leaves_out_the_first_batches_and_tells_the_ends_of_epochs() -> None:
    # Epochs of four batches: what follows the 4th and the 8th takes 0.5 longer.
    found = pace(100.0, moments(5, 2, 1, 1, 1.5, 1, 1, 1, 1.5, 1), 1, 4)
    assert found.batch == pytest.approx(1) and found.epoch == pytest.approx(0.5) and found.first == pytest.approx(5)


def test_accumulated_batches_count_together() -> None:
    # Every second batch makes a step, and takes three times as long; a median of single ones would be 1 or 3.
    found = pace(0.0, moments(*[1, 3] * 5)[:], 2, 1000)
    assert found.batch == pytest.approx(2)


def test_one_slow_batch_changes_nothing() -> None:
    assert pace(100.0, moments(1, 1, 1, 1, 60, 1, 1), 1, 100).batch == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_batches_give_a_pace_too(count: int) -> None:
    found = pace(100.0, moments(*[4.0, 2.0, 1.0][:count]), 4, 100)
    assert found.batch == pytest.approx([4, 2, 1][count - 1]) and found.epoch == 0
    assert found.first == pytest.approx([0, 2, 4][count - 1])


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 50))
def test_a_pace_is_one_of_what_was_seen(gaps: list[float], group: int, per_epoch: int) -> None:
    found = pace(100.0, moments(*gaps), group, per_epoch)
    assert min(gaps) - 1e-6 <= found.batch <= max(gaps) + 1e-6 and found.first >= 0 and found.epoch >= 0


def test_the_training_is_its_stages() -> None:
    staged = config(epochs=10, sizes=[{"epochs": 4, "size": [64, 64]}], freeze=1)
    paces = {((64, 64), True): Pace(1, 3, 0), ((64, 64), False): Pace(2, 5, 1), (None, False): Pace(8, 4, 10)}
    # 1 epoch of 20 batches by 1, 3 by 2 with an end of 1, 6 by 8 with one of 10; the longest warm-up once.
    assert training_seconds(staged, paces, 20) == 20 + 3 * 41 + 6 * 170 + 5


def test_pixels_are_read_off_a_line() -> None:
    known = [(100, 1.0), (300, 2.0), (300, 4.0), (700, 5.0)]
    assert at_pixels(known, 100) == 1 and at_pixels(known, 200) == 2 and at_pixels(known, 300) == 3
    assert at_pixels(known, 500) == 4 and at_pixels(known, 700) == 5
    assert at_pixels(known, 50) == 0.5 and at_pixels(known, 1400) == 10  # beyond the ends by pixels
    assert at_pixels([(8, 2.0)], 8) == 2 and at_pixels([(8, 2.0)], 2) == 0.5 and at_pixels([(8, 2.0)], 12) == 3


def test_whole_images_are_read_predicted_and_written() -> None:
    timed = [Timed(10, 1, 4, 0.5), Timed(20, 2, 12, 1)]
    # Batches of 10, 10 and 20 pixels: 4 to read, 20 for each network, 2 to write.
    assert whole_seconds(timed, [10, 10, 20], 1, 0) == 26
    assert whole_seconds(timed, [10, 10, 20], 3, 0) == 66
    assert whole_seconds(timed, [10, 10, 20], 1, 0.5) == 24
    assert whole_seconds(timed, [], 1, 0) == 0
    assert whole_seconds([Timed(10, 9, 1)], [10], 1, 1.0) == 9  # no more is hidden than what it hides behind


@pytest.mark.parametrize(
    ("samples", "processes", "batches"), [(100, 1, 20), (90, 1, 18), (104, 1, 20), (100, 3, 6), (3, 1, 1), (100, 64, 1)]
)
def test_other_folds_and_processes_have_their_share_of_batches(samples: int, processes: int, batches: int) -> None:
    assert share_of_batches(20, samples, 100, processes) == batches


@pytest.mark.parametrize(
    ("folds", "folds_at_once", "seconds"),
    [([3, 3, 3], 1, 9), ([3, 3, 3], 2, 6), ([3, 3, 3], 9, 3), ([5, 1, 1, 1], 2, 5), ([1, 1, 5], 2, 6), ([], 3, 0)],
)
def test_a_queue_ends_with_its_longest_worker(folds: list[float], folds_at_once: int, seconds: float) -> None:
    assert queue_seconds(folds, folds_at_once) == seconds


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=12), st.integers(1, 8))
def test_no_queue_beats_its_workers_or_its_longest_fold(folds: list[float], folds_at_once: int) -> None:
    found = queue_seconds(folds, folds_at_once)
    assert max(*folds, sum(folds) / folds_at_once) - 1e-6 <= found <= sum(folds) + 1e-6


def test_checkpoints_are_counted() -> None:
    adam, sgd = config(), config(optimizer="sgd", momentum=0)
    assert state_bytes(adam, 100, 90) == 280 and state_bytes(sgd, 100, 90) == 100
    assert state_bytes(config(optimizer="sgd", ema=0.9), 100, 90) == 290
    assert checkpoint_bytes(adam, 100, 90, 1) == 2 * 100 + 2 * 280
    assert checkpoint_bytes(config(ema=0.9), 100, 90, 1) == 3 * 100 + 2 * 380  # also the weights without average
    averaged = config(average={"of": "last", "count": 3})
    assert checkpoint_bytes(averaged, 100, 90, 2) == 2 * (2 * 100 + 100 + 3 * 100 + 2 * 280)


def test_the_peak_has_the_pixels_that_a_training_keeps_while_it_trains() -> None:
    assert peak_bytes(1000, 1000, 50, 400) == 1350  # prediction needed no more
    assert peak_bytes(1000, 1200, 50, 400) == 1350  # it did, but the pixels were gone then
    assert peak_bytes(1000, 1600, 50, 400) == 1550
    assert peak_bytes(1000, 1000, 50, 0) == 950  # a training that keeps nothing


def test_the_arithmetic_needs_no_torch() -> None:
    names = "medalist.planning.arithmetic, medalist.planning.options, medalist.runs.plans, medalist.workflows.board"
    subprocess.run([sys.executable, "-c", f"import sys, {names}; assert 'torch' not in sys.modules"], check=True)
