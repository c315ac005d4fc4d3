"""`medalist tta`: views are measured on the run's own networks, and nothing of the run changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medalist.contents import hash_file
from medalist.engine.view_settings import View
from medalist.errors import ConfigError
from medalist.kinds import run_settings
from medalist.reporter import SilentReporter
from medalist.stores.maps import MapStore
from medalist.tasks.segment import view_trial
from medalist.tasks.segment.predict import predict
from medalist.workflows.score import changed_settings


def everything(toy: Any) -> dict[str, str]:
    return {str(path): hash_file(path) for path in sorted(toy.run.folder.rglob("*")) if path.is_file()}


def test_views_are_measured_and_nothing_of_the_run_changes(toy: Any, medalist: Callable[..., Any]) -> None:
    before = everything(toy)
    ended = medalist("--runs", toy.runs, "tta", "tiny", "--samples", 6, "predict.tta=[hflip, rot180, {scale: 1.25}]")
    assert ended.code == 0, ended
    for words in (
        "the image as it is, averaged with one view",
        "hflip",
        "rot180",
        "[{scale: 1.25}]",
        "proposed",
        "config line",
    ):
        assert words in ended.out, ended.out
    assert everything(toy) == before


def test_wrong_folds_other_kinds_and_no_views_are_one_line(toy: Any, medalist: Callable[..., Any]) -> None:
    assert (
        "fold 7 of tiny is not trained; trained are: 0, 1"
        in medalist("--runs", toy.runs, "tta", "tiny", "--fold", 7).line
    )
    assert "names no view to try" in medalist("--runs", toy.runs, "tta", "tiny", "predict.tta=none").line
    assert "only predict.* may be changed" in medalist("--runs", toy.runs, "tta", "tiny", "train.lr=1").line


def test_the_maps_of_views_are_those_that_predict_averages(
    trained: Any, toy: Any, quiet: SilentReporter, monkeypatch: Any
) -> None:
    """The mean of the maps of two views is what `medalist predict` writes for both, but for rounding."""
    run, contest = toy.run, toy.contest()
    settings = changed_settings(run, ["predict.tta=[rot90, {scale: 1.25}]"], "predict")
    kept: dict[str, list[Any]] = {}

    def table(trial: Any, *_: Any) -> tuple[()]:
        kept.update({name: [trial.read(view, name).maps.astype(float) for view in range(3)] for name in trial.ids})
        assert trial.views == (View(1), View(scale=1.25)) and all(one > 0 for one in trial.seconds)
        return ()

    monkeypatch.setattr(view_trial, "tables", table)
    view_trial.measure_views(run, settings, contest, True, [1], None, quiet)  # type: ignore[arg-type]
    assert kept.keys() == set(run.folds().held_out(1))
    predict(run, settings, contest, 1, quiet)  # type: ignore[arg-type]
    store = MapStore(run.folder / "oof")
    for name, maps in kept.items():
        written = store.read(name, ("body", "border")).maps
        assert np.abs(np.mean(maps, axis=0) - written).max() <= 1.01
    assert run_settings(run).predict != settings.predict


def test_views_that_no_config_may_have_are_refused(toy: Any, quiet: SilentReporter) -> None:
    """Maps of directions have other values in other views, and a view may not be scaled without end."""
    settings = run_settings(toy.run)
    large = settings.model_copy(update={"predict": settings.predict.model_copy(update={"scales": (8.0,)})})  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"must be within 0\.1\.\.8") as caught:
        view_trial.measure_views(toy.run, large, toy.contest(), False, [], None, quiet)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
