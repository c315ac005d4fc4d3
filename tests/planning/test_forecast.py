from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from medalist.kinds import load_settings
from medalist.planning.cost_model import predicted_batches
from medalist.planning.forecast import make_plan
from medalist.planning.inference_cost import inference_batches
from medalist.runs.plans import PARTS, PlanRequest
from medalist.runs.setup import TrainSetup
from medalist.tasks.embed import cost
from medalist.tasks.embed.settings import EmbedSettings
from medalist.training.request import TrainRequest
from medalist.training.start import checked

pytestmark = pytest.mark.usefixtures("short_probes")


def setup_of(config: Path, data: Path, folds: tuple[int, ...], name: str | None, root: Path) -> TrainSetup:
    return checked(TrainRequest(load_settings(config), config, (), str(data), folds, name, root))


@pytest.mark.parametrize("contest", ["whales", pytest.param("signs", marks=pytest.mark.slow)])
def test_a_plan_of_embeddings(request: pytest.FixtureRequest, quiet: Any, contest: str) -> None:
    toy = request.getfixturevalue(contest)
    setup = setup_of(toy.config, toy.data, (), "other", toy.runs)
    assert isinstance(setup.settings, EmbedSettings)
    made = make_plan(setup, cost, PlanRequest(seconds=5), time.perf_counter(), quiet)
    path = setup.run.folder / "plan.json"
    assert path.is_file() and list(setup.run.folder.iterdir()) == [path]
    assert set(made.seconds) == set(PARTS) and all(made.seconds[part] > 0 for part in PARTS)
    assert any(option.change.startswith("sampler.classes=") for option in made.options)
    dim = 8
    rows = [len(samples) for fold in (0, 1) for samples in cost.predicted(setup, fold)]
    rows += [2 * len(samples) for samples in cost.predicted(setup, None)]  # two folds side by side
    assert made.disk["predictions"] == sum(rows) * dim * 4


FROZEN = """\
competition: humpback_whale
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed}
image: {size: [64, 64]}
model: {encoder: tf_efficientnet_lite0, frozen: true, pooling: POOLING, dim: 8}
loss: {terms: [{kind: arcface}]}
train: {epochs: 3, batch: 8}
predict: {batch: 8}
tracking: none
"""


@pytest.mark.parametrize("pooling", ["avg", pytest.param("gem", marks=pytest.mark.slow)])
def test_a_plan_of_a_head_on_kept_features(
    trained_whales: Any, at_home: Path, quiet: Any, tmp_path: Path, pooling: str
) -> None:
    config = tmp_path / "frozen.yaml"
    config.write_text(FROZEN.replace("POOLING", pooling))
    setup = setup_of(config, trained_whales.data, (0,), None, tmp_path / "runs")
    made = make_plan(setup, cost, PlanRequest(seconds=6), time.perf_counter(), quiet)
    # The encoder is what takes time: it sees all training images once (the fold's gallery), then the test's.
    # (How long is the difference of two measurements, which may be nothing on a busy machine.)
    assert min(made.seconds["reading"], made.seconds["test"]) >= 0
    assert cost.computed(setup, 0) == [] and len(predicted_batches(cost, setup, setup.settings, 0)) > 1
    queries = inference_batches([(64, 64)] * len(setup.contest.split.test), 1, 8)
    assert cost.computed(setup, None) == queries
    assert made.measured["paces"][0]["batch"] < 1
    assert not list(tmp_path.rglob("features*"))
