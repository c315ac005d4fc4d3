"""Embedders in an export: the same unit vectors as the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="an export to ONNX needs the extra 'export'")

from medalist.deploy import Deployed
from medalist.errors import RunError
from medalist.exporting.export import ExportRequest, export
from medalist.predictor import open_run
from medalist.records import VectorPrediction
from medalist.reporter import SilentReporter

from ...conftest import Identities

QUICK = ExportRequest(exporters=("torchscript",), samples=12)


@pytest.mark.parametrize("name", ["trained_whales", "trained_signs"])
def test_an_export_embeds_as_the_run_does(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, at_home: Path
) -> None:
    made: Identities = request.getfixturevalue(name)
    predictor = open_run(made.run.folder, device="cpu", precision="32-true", changes=["predict.tta=mirror"])
    done = export(predictor, made.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert done.figures.outputs < 1e-4 and done.figures.score == 1.0
    deployed = Deployed.open(done.folder)
    for seed, size in enumerate([(32, 32), (45, 20), (100, 130)]):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
        found, right = deployed.predict(image), predictor.predict(image)
        assert isinstance(found, VectorPrediction) and isinstance(right, VectorPrediction)
        assert found.vector.shape == (16,) and np.abs(found.vector - right.vector).max() < 1e-5
        assert np.linalg.norm(found.vector) == pytest.approx(1)
    with pytest.raises(RunError, match="names come from a gallery"):
        deployed.answer(image)
