"""Classifiers in an export: the same probabilities, grades and labels as the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="an export to ONNX needs the extra 'export'")

from medalist.deploy import Deployed
from medalist.errors import RunError
from medalist.exporting.export import ExportRequest, export
from medalist.predictor import open_run
from medalist.records import Labels, TablePrediction
from medalist.reporter import SilentReporter

from .conftest import CONFIGS, Bodies

QUICK = ExportRequest(exporters=("torchscript",), samples=8)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_export_predicts_and_answers_as_the_run_does(
    name: str, bodies: Bodies, tmp_path: Path, medalist: Callable[..., Any]
) -> None:
    assert medalist("score", f"{name}/tiny", "--data", "data").code == 0
    predictor = open_run(f"{name}/tiny", device="cpu", precision="32-true")
    made = export(predictor, bodies.contest(name), tmp_path / "out", QUICK, SilentReporter())
    assert made.figures.outputs < 1e-4 and made.figures.score == pytest.approx(made.figures.run_score, abs=1e-4)
    deployed = Deployed.open(made.folder)
    for seed, size in enumerate([(32, 32), (45, 20), (100, 130)]):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
        found, right = deployed.predict(image), predictor.predict(image)
        assert isinstance(found, TablePrediction) and isinstance(right, TablePrediction)
        assert found.columns == right.columns and np.abs(found.values - right.values).max() < 1e-4
        answer, expected = deployed.answer(image), predictor.answer(image)
        assert isinstance(answer, Labels) and isinstance(expected, Labels) and answer.names == expected.names


def test_thresholds_that_were_never_tuned_are_no_answer(bodies: Bodies, tmp_path: Path) -> None:
    predictor = open_run("bodies.several/tiny", device="cpu", precision="32-true", folds=[1])
    made = export(predictor, bodies.contest("bodies.several"), tmp_path / "out", QUICK, SilentReporter())
    assert made.figures.score is None
    deployed = Deployed.open(made.folder)
    assert isinstance(deployed.predict(np.zeros((32, 32, 3), np.uint8)), TablePrediction)
    with pytest.raises(RunError, match=r"predicts and does not answer: .*nothing was tuned"):
        deployed.answer(np.zeros((32, 32, 3), np.uint8))
