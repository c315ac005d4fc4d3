"""Detectors in an export: the same boxes as the run, whatever the head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxscript", reason="an export to ONNX needs the extra 'export'")

from medalist.data.items import Normalisation
from medalist.deploy import Deployed
from medalist.deploy.boxes import best_boxes, straightened
from medalist.deploy.description import BoxRules, Turned
from medalist.engine.view_settings import View
from medalist.errors import ExportError
from medalist.exporting.export import ExportRequest, export
from medalist.exporting.graphs import FoldsGraph, output_names
from medalist.exporting.onnx_files import write_onnx
from medalist.predictor import open_run
from medalist.records import Boxes, BoxPrediction
from medalist.reporter import SilentReporter
from medalist.tasks.detect.decoding import boxes_of
from medalist.tasks.detect.exporting import plan
from medalist.tasks.detect.inference import boxes_back
from medalist.tasks.detect.jobs import build_task
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.predictor import DetectNetworks
from medalist.tasks.detect.settings import DetectSettings

from .conftest import Cells

QUICK = ExportRequest(exporters=("torchscript",), samples=6)
SLICES = "predict.slices={size: 64, overlap: 16}"


@pytest.mark.parametrize("change", ["predict.doubles=0.6", SLICES])
def test_an_export_finds_the_boxes_that_the_run_finds(
    change: str, trained_cells: Cells, tmp_path: Path, at_home: Path
) -> None:
    predictor = open_run(trained_cells.run.folder, device="cpu", precision="32-true", changes=[change])
    made = export(predictor, trained_cells.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert made.figures.outputs < 1e-4 and made.figures.score == pytest.approx(made.figures.run_score, abs=1e-4)
    deployed = Deployed.open(made.folder)
    image = np.random.default_rng(1).integers(0, 256, (110, 70, 3)).astype(np.uint8)
    found, right = deployed.predict(image), predictor.predict(image)
    assert isinstance(found, BoxPrediction) and isinstance(right, BoxPrediction)
    assert found.sources == right.sources == 4 and len(found.scores) == len(right.scores) > 20
    mine, theirs = (np.lexsort((one.xyxy[:, 0].round(2), -one.scores.round(4), one.source)) for one in (found, right))
    assert np.abs(found.scores[mine] - right.scores[theirs]).max() < 1e-4
    near = np.abs(found.xyxy[mine] - right.xyxy[theirs]).max(axis=1) < 0.05
    assert near.mean() > 0.95  # equal scores may change places
    answer, expected = deployed.answer(image), predictor.answer(image)
    assert (
        isinstance(answer, Boxes)
        and isinstance(expected, Boxes)
        and abs(len(answer.scores) - len(expected.scores)) <= 1
    )


def test_views_that_need_another_frame_are_refused(trained_cells: Cells, tmp_path: Path, at_home: Path) -> None:
    for change in ("predict.tta=d4", "predict.scales=[0.5,1.0]"):
        predictor = open_run(trained_cells.run.folder, device="cpu", precision="32-true", changes=[change])
        with pytest.raises(ExportError, match=r"type predict\.tta="):
            export(predictor, trained_cells.contest(), tmp_path / "out", QUICK, SilentReporter())


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "fcos", "encoder": "test_resnet", "weights": "none", "width": 32, "depth": 1},
        {"kind": "retinanet", "encoder": "test_resnet", "weights": "none", "width": 32},
        {"kind": "aligned", "neck": "pan", "encoder": "test_resnet", "weights": "none", "width": 32, "depth": 1},
    ],
)
def test_each_head_is_written(model: dict[str, Any], trained_cells: Cells, tmp_path: Path, at_home: Path) -> None:
    import onnxruntime

    settings = DetectSettings.model_validate(
        {
            "competition": "bccd",
            "task": {"kind": "detect"},
            "image": {"size": (96, 128)},
            "augment": (),
            "train": {"epochs": 1},
            "model": model,
        }
    )
    torch.manual_seed(1)
    network = build_model(settings.model, 3).eval()
    place: Any = None
    networks = DetectNetworks(
        settings, place, (network,), Normalisation((0.5,) * 3, (0.25,) * 3), build_task(settings, 3)
    )
    predictor = open_run(trained_cells.run.folder, device="cpu", folds=[0])
    made = plan(networks, predictor.run, settings, predictor.competition)
    graph = FoldsGraph(made)
    write_onnx(graph, made, (0,), tmp_path / "x.onnx", "torchscript")
    images = torch.randint(0, 256, (3, 96, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        right = [one.numpy() for one in graph(images)]
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(output_names(made, (0,)), {"image": images.numpy()})
    for one, other in zip(found, right, strict=True):
        assert np.abs(one - other).max() < 3e-4 * max(1.0, np.abs(other).max())
    # The twin in torch decodes the same outputs.
    rules = BoxRules((96, 128), 114, made.described["boxes"]["levels"], 0.005, 50, 0.7)
    criterion, limits = networks.task.criterion, replace(networks.task.limits, floor=0.005, most=50, doubles=0.7)
    with torch.no_grad():
        dense = network((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25).float()
        twins = boxes_of(criterion, dense, (96, 128), limits)
    for number, twin in enumerate(twins):
        mine = best_boxes(right[1][number], right[2][number], rules, (96, 128))
        assert len(mine.scores) == len(twin.scores) > 0
        assert np.abs(mine.scores - twin.scores.numpy()).max() < 1e-4
        assert (np.abs(mine.xyxy - twin.xyxy.numpy()).max(axis=1) < 0.02).mean() > 0.95


@given(st.integers(0, 3), st.booleans(), st.tuples(st.integers(1, 50), st.integers(1, 50)), st.integers(0, 9))
def test_boxes_of_a_view_are_turned_back_as_in_torch(
    turns: int, mirror: bool, side: tuple[int, int], seed: int
) -> None:
    corners = np.sort(np.random.default_rng(seed).random((5, 2, 2)), axis=1).reshape(5, 4).astype(np.float32) * 20
    frame = side[::-1] if turns % 2 else side
    right = boxes_back(torch.from_numpy(corners), View(turns, mirror), side, frame).numpy()
    assert np.allclose(straightened(corners, Turned(turns, mirror), side), right, atol=1e-4)
