"""Export of masks' networks: the same numbers as the run, and nothing written where they are others."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="an export to ONNX needs the extra 'export'")

from medalist.deploy import Deployed
from medalist.errors import ConfigError, DataError, ExportError, MedalistError, RunError
from medalist.exporting import export as exporting
from medalist.exporting import onnx_files
from medalist.exporting.export import ExportRequest, Written, export
from medalist.exporting.graphs import FoldsGraph
from medalist.predictor import Predictor, open_run
from medalist.records import Instances, MapPrediction
from medalist.reporter import SilentReporter

from ..conftest import PROJECT, Toy

PIXELS = np.random.default_rng(4).integers(0, 256, (40, 52, 3)).astype(np.uint8)
QUICK = ExportRequest(exporters=("torchscript",), samples=6)


def opened(toy: Toy, *changes: str, folds: list[int] | None = None) -> Predictor:
    return open_run(toy.run.folder, device="cpu", precision="32-true", changes=changes, folds=folds)


def maps(prediction: object) -> np.ndarray[Any, Any]:
    assert isinstance(prediction, MapPrediction)
    return prediction.maps.astype(int)


@pytest.fixture(scope="session")
def exported(trained: Toy, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return an export of both folds in four views. Tests must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        folder = tmp_path_factory.mktemp("exported") / "made"
        return export(opened(trained, "predict.tta=flips"), trained.contest(), folder, QUICK, SilentReporter())


@pytest.mark.parametrize("size", [(40, 52), (64, 64), (7, 130)])
def test_an_export_predicts_and_answers_as_the_run_does(
    exported: Written, trained: Toy, at_home: Path, size: tuple[int, int]
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (*size, 3)).astype(np.uint8)
    deployed, predictor = Deployed.open(exported.folder), opened(trained, "predict.tta=flips")
    found, right = deployed.predict(image), predictor.predict(image)
    assert isinstance(found, MapPrediction) and isinstance(right, MapPrediction) and found.channels == right.channels
    assert maps(found).shape == (2, *size) and np.abs(maps(found) - maps(right)).max() <= 1
    assert (maps(found) == maps(right)).mean() > 0.999
    answer, expected = deployed.answer(image), predictor.answer(image)
    assert isinstance(answer, Instances) and isinstance(expected, Instances)
    assert (answer.labels == expected.labels).mean() > 0.99


def test_one_fold_of_an_export_predicts_as_this_fold_alone(exported: Written, trained: Toy, at_home: Path) -> None:
    deployed = Deployed.open(exported.folder)
    for fold in (0, 1):
        right = opened(trained, "predict.tta=flips", folds=[fold]).predict(PIXELS)
        assert np.abs(maps(deployed.predict(PIXELS, [fold])) - maps(right)).max() <= 1
    assert np.abs(maps(deployed.predict(PIXELS, [0])) - maps(deployed.predict(PIXELS, [1]))).max() > 2
    with pytest.raises(RunError, match=r"folds = \[2\]; the export has the folds 0, 1"):
        deployed.predict(PIXELS, [2])


def test_the_gate_has_measured_logits_and_the_score_through_rows(exported: Written) -> None:
    figures = exported.figures
    assert exported.exporter == "torchscript" and figures.samples == 6
    assert 0 < figures.outputs < 1e-4 and figures.predictions <= 1 / 255
    assert figures.score is not None and figures.score == pytest.approx(figures.run_score, abs=1e-3)
    kept = json.loads((exported.folder / "export.json").read_text())
    assert kept["facts"]["gate"]["outputs"] == figures.outputs and set(kept["facts"]["weights"]) == {"fold0", "fold1"}
    assert sorted(path.name for path in exported.folder.iterdir()) == ["export.json", "model.onnx"]


def test_a_service_imports_no_torch_and_no_pandas(exported: Written) -> None:
    code = """
import sys, numpy
from medalist.deploy import Deployed
networks = Deployed.open(sys.argv[1], threads=1)
networks.predict(numpy.zeros((40, 52, 3), numpy.uint8))
heavy = ("torch", "torchvision", "pandas", "pyarrow", "pydantic", "scipy", "albumentations", "matplotlib", "onnx")
print([name for name in heavy if name in sys.modules])
networks.answer(numpy.zeros((40, 52, 3), numpy.uint8))
print([name for name in ("torch", "torchvision", "pandas", "pyarrow", "albumentations") if name in sys.modules])
"""
    words = [sys.executable, "-c", code, str(exported.folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n[]\n", done.stderr


def _spoil_weights(graph: FoldsGraph) -> None:
    with torch.no_grad():
        next(graph.models.parameters()).add_(0.05)


def _spoil_normalisation(graph: FoldsGraph) -> None:
    graph.shift += 0.1


@pytest.mark.parametrize("spoil", [_spoil_weights, _spoil_normalisation])
def test_a_spoilt_file_is_refused_and_nothing_is_written(
    spoil: Callable[[FoldsGraph], None], toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = onnx_files.write_onnx

    def spoilt(graph: FoldsGraph, plan: Any, *rest: Any) -> None:
        changed = FoldsGraph(plan)
        changed.models = copy.deepcopy(graph.models)
        spoil(changed)
        write(changed, plan, *rest)

    monkeypatch.setattr(exporting, "write_onnx", spoilt)
    with pytest.raises(ExportError, match=r"tiny is not exported; torchscript: outputs .*differ by .*limit is 0\.0003"):
        export(opened(toy, folds=[0]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*-out"))


def test_wrong_normalisation_of_both_file_and_graph_is_refused(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "medalist.exporting.graphs.affine", lambda norm: (torch.full((3, 1, 1), 0.01), torch.zeros(3, 1, 1))
    )
    with pytest.raises(ExportError, match=r"outputs of sample .* differ by"):
        export(opened(toy, folds=[0]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())


def test_wrong_maps_are_shown_in_a_picture(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.deploy.forms.seen", lambda image, view: image[::-1])
    with pytest.raises(ExportError, match=r"predictions of sample .* differ by .* \(see .*export-worst\.png\)"):
        export(opened(toy, folds=[0]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert (toy.run.folder / "debug" / "export-worst.png").stat().st_size > 1000


def test_an_operator_that_onnx_lacks_is_named(toy: Toy, tmp_path: Path) -> None:
    predictor = opened(toy, folds=[0])
    networks: Any = predictor.networks

    class Head(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            added: torch.Tensor = image[:, :2] + torch.linalg.eigvals(image[..., :2, :2]).real.sum()
            return added

    object.__setattr__(networks, "models", (Head(),))
    with pytest.raises(ExportError, match=r"ONNX has no operator for aten::linalg_eigvals") as raised:
        export(predictor, toy.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*rest: Any, **more: Any) -> None:
        raise RuntimeError("write failed: No space left on device")

    monkeypatch.setattr("torch.onnx.export", full)
    with pytest.raises(MedalistError, match="disk full"):
        export(opened(toy, folds=[0]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("out")]


def test_views_that_a_format_cannot_hold_are_refused(toy: Toy, tmp_path: Path) -> None:
    for change in ("predict.scales=[0.5]", "predict.tta=[{shift: 4}]", "predict.tta=[{clahe: 2.0}]"):
        with pytest.raises(ExportError, match=r"which an export cannot hold; type predict\.tta=none"):
            export(opened(toy, change, folds=[0]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())


def test_a_folder_of_other_things_is_not_replaced(exported: Written, toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(MedalistError, match="is there already and is no export"):
        export(opened(toy, folds=[0]), toy.contest(), tmp_path / "mine", QUICK, SilentReporter())
    with pytest.raises(ConfigError, match="int8 is for --to onnx"):
        export(opened(toy), toy.contest(), tmp_path / "x", ExportRequest("torch", "int8"), SilentReporter())


def test_a_changed_file_and_images_of_other_types_are_refused(exported: Written, tmp_path: Path) -> None:
    deployed = Deployed.open(exported.folder)
    for wrong in (PIXELS[..., 0], PIXELS.astype(float), PIXELS[:0], "x.png"):
        with pytest.raises(DataError, match="the image"):
            deployed.predict(wrong)  # type: ignore[arg-type]
    shutil.copytree(exported.folder, tmp_path / "copy")
    (tmp_path / "copy" / "model.onnx").write_bytes(b"x")
    with pytest.raises(RunError, match="is not the file that was exported"):
        Deployed.open(tmp_path / "copy")
    with pytest.raises(RunError, match="is no export"):
        Deployed.open(tmp_path)


def test_large_images_are_predicted_by_the_same_tiles(toy: Toy, tmp_path: Path) -> None:
    change = "predict.tile={size: 64, overlap: 24, window: pyramid}"
    made = export(opened(toy, change, folds=[1]), toy.contest(), tmp_path / "out", QUICK, SilentReporter())
    image = np.random.default_rng(6).integers(0, 256, (50, 203, 3)).astype(np.uint8)
    right, found = opened(toy, change, folds=[1]).predict(image), Deployed.open(made.folder).predict(image)
    assert np.abs(maps(found) - maps(right)).max() <= 1
    assert np.abs(maps(found) - maps(opened(toy, folds=[1]).predict(image))).max() > 1  # whole, it says something else


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "limit"), [("fp16", 8), ("int8", 80)])
def test_smaller_files_pass_their_gates(
    precision: Any, limit: int, exported: Written, toy: Toy, tmp_path: Path
) -> None:
    request = ExportRequest(precision=precision, exporters=("torchscript",), samples=6)
    made = export(opened(toy), toy.contest(), tmp_path / "out", request, SilentReporter())
    assert sorted(path.name for path in made.folder.iterdir()) == ["export.json", "model.onnx"]
    smaller, whole = (one.folder / "model.onnx" for one in (made, exported))
    assert smaller.stat().st_size < 0.8 * whole.stat().st_size
    right = opened(toy).predict(PIXELS)
    assert np.abs(maps(Deployed.open(made.folder).predict(PIXELS)) - maps(right)).max() <= limit


@pytest.mark.slow
def test_the_newer_exporter_and_torchs_own_programs_say_the_same(toy: Toy, tmp_path: Path) -> None:
    right = maps(opened(toy).predict(PIXELS))
    made = export(opened(toy), toy.contest(), tmp_path / "onnx", ExportRequest(samples=6), SilentReporter())
    assert made.exporter == "dynamo" and np.abs(maps(Deployed.open(made.folder).predict(PIXELS)) - right).max() <= 1
    program = export(
        opened(toy), toy.contest(), tmp_path / "torch", ExportRequest("torch", samples=6), SilentReporter()
    )
    assert program.exporter == "torch.export" and program.figures.outputs < 1e-4
    with pytest.raises(RunError, match=r"load it with torch\.export\.load"):
        Deployed.open(program.folder)
