from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from medalist.errors import RunError
from medalist.files import write_json
from medalist.postprocess.settings import DecideConfig, ThresholdConfig, WatershedConfig
from medalist.retrieval.settings import RankConfig
from medalist.runs.runs import Run
from medalist.tasks.scored import scored_decide

RANK = TypeAdapter(RankConfig)
PIXELS: TypeAdapter[DecideConfig] = TypeAdapter(DecideConfig)


def scored(folder: Path, decide: dict[str, Any]) -> Run:
    run = Run(folder / "contest" / "run")
    oof = {"value": 0.5, "folds": {}, "folds_of": 2, "parts": {}}
    write_json(run.folder / "scores.json", {"oof": oof, "decide": decide, "by_sample": {}})
    return run


def test_before_a_score_the_config_counts(tmp_path: Path) -> None:
    assert scored_decide(Run(tmp_path / "contest" / "run"), RANK, RankConfig(k=7)) == RankConfig(k=7)


def test_what_was_scored_counts_more_than_the_config(tmp_path: Path) -> None:
    run = scored(tmp_path, RankConfig(k=3, rerank={"kind": "diffusion"}).model_dump(mode="json"))
    assert scored_decide(run, RANK, RankConfig(k=7)) == RankConfig(k=3, rerank={"kind": "diffusion"})
    run = scored(tmp_path, ThresholdConfig(channel="b").model_dump(mode="json"))
    assert scored_decide(run, PIXELS, WatershedConfig(kind="watershed")) == ThresholdConfig(channel="b")


def test_a_score_of_before_calls_prototypes_centres(tmp_path: Path) -> None:
    saved = RankConfig(prototypes=0.25).model_dump(mode="json")
    saved["centres"] = saved.pop("prototypes")
    assert scored_decide(scored(tmp_path, saved), RANK, RankConfig()) == RankConfig(prototypes=0.25)


@pytest.mark.parametrize("decide", [{"kind": "odd"}, {"odd": 1}, {"k": "many"}, {"centres": 0.1, "prototypes": 0.1}])
def test_a_damaged_decision_is_one_line(tmp_path: Path, decide: dict[str, Any]) -> None:
    with pytest.raises(RunError) as caught:
        scored_decide(scored(tmp_path, decide), RANK, RankConfig())
    assert str(caught.value).endswith("scores.json is damaged; run medalist score again")
