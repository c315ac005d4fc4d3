from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import RunError, SubmissionError
from medalist.files import write_json
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.formats.rle import RleFormat
from medalist.postprocess.settings import DecideConfig, ThresholdConfig, WatershedConfig
from medalist.records import Instances, Mask, Score, Split
from medalist.retrieval.settings import RankConfig
from medalist.runs.runs import Run
from medalist.tasks.scored import oof_path, refuse_unwritable, scored_decide

RANK = TypeAdapter(RankConfig)
DOT = np.ones((2, 3), np.uint8)
SCORE = Score(1.0, {}, {})
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


def test_answers_of_a_run_have_the_suffix_of_the_submission(tmp_path: Path) -> None:
    for form, name in ((RleFormat(), "oof.csv"), (LabelPictureFormat(("road", "car")), "oof.zip")):
        asks = Competition("x", lambda data: Split((), ()), lambda data, sample: Mask(DOT), lambda a, b: SCORE, form)
        assert oof_path(Run(tmp_path), Contest(asks, tmp_path, Split((), ()))) == tmp_path / name


def test_answers_that_a_format_cannot_write_are_refused_by_csv_and_archive() -> None:
    objects = Instances(np.ones((2, 3), np.int32))
    for form in (RleFormat(row_per="image"), LabelPictureFormat(("road", "car"))):
        refuse_unwritable(form, [Mask(DOT)])
        with pytest.raises(SubmissionError, match="image a1: the contest asks for a mask"):
            refuse_unwritable(form, [Mask(DOT), objects], "a1")
