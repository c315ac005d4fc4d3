"""What a plan says that the time is spent on, and the cheaper settings that follow from it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rich.console import Console

from medalist.cli.planning import show
from medalist.kinds import kind_of, load_settings
from medalist.planning.shares import _less, views_times
from medalist.runs.plans import Plan, PlanRequest
from medalist.training.request import TrainRequest
from medalist.training.start import checked

pytestmark = pytest.mark.usefixtures("short_probes")
LISTED = "predict.tta=[hflip, {scale: 1.5}]"


@pytest.fixture
def made(untrained: Any, quiet: Any) -> Plan:
    changes = ("train.epochs=8", "predict.tta=d4")
    settings = load_settings(untrained.config, changes)
    setup = checked(TrainRequest(settings, untrained.config, changes, str(untrained.data), (0,), None, untrained.runs))
    request = PlanRequest(seconds=3)
    return kind_of(settings).training().forecast(setup, request, time.perf_counter(), quiet)


def test_a_plan_ranks_by_share_of_the_cost(made: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = [one.seconds for one in made.shares]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) == pytest.approx(made.whole)
    named = {one.what: one for one in made.shares}
    assert {"evaluation", "training: the encoder", "further views of predictions (TTA)"} <= named.keys()
    assert named["evaluation"].seconds == pytest.approx(made.seconds["validation"])
    assert named["evaluation"].change == "train.evaluate_every=4"
    views = named["further views of predictions (TTA)"].seconds
    assert 0 < views < made.seconds["oof"] + made.seconds["test"]
    options = {option.change: option for option in made.options}
    for change, saved in (("predict.tta=none", views), ("train.evaluate_every=4", made.seconds["validation"] * 6 / 8)):
        if saved > 0.05 * made.whole:
            found = options[change].seconds
            assert found is not None and found == pytest.approx(made.whole - saved)
            assert options[change].note.startswith("computed")
    show(Console(width=200), made)
    out = capsys.readouterr().out
    assert "what the time is spent on" in out and "train.evaluate_every=4" in out and "model.encoder" in out


def test_proposals_are_sizes_that_networks_take() -> None:
    assert [_less(size) for size in ((256, 256), (96, 64), (32, 40))] == [(192, 192), (64, 32), (32, 32)]


def test_the_work_of_views_and_scales_is_counted(untrained: Any) -> None:
    for change, times in (
        ("predict.tta=none", 1),
        ("predict.tta=d4", 8),
        ("predict.scales=[1.0,2.0]", 5),
        (LISTED, 4.25),
    ):
        assert views_times(load_settings(untrained.config, (change,))) == times
