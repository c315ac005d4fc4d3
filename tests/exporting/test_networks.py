"""Each network of masks is written as ONNX, and says the same there at sizes that the exporter did not see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

pytest.importorskip("onnxscript", reason="an export to ONNX needs the extra 'export'")

import onnxruntime

from medalist.data.items import Normalisation
from medalist.errors import ExportError
from medalist.exporting.gate import relative
from medalist.exporting.graphs import FoldsGraph, affine, example_of, output_names
from medalist.exporting.onnx_files import Exporter, told, write_onnx
from medalist.tasks.exported import ExportPlan
from medalist.tasks.segment.exporting import said_of
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.model_settings import ModelConfig, SmpConfig
from medalist.tasks.segment.network import build_model
from medalist.tasks.segment.task import SegmentTask

SMP = [str(name) for name in get_args(SmpConfig.model_fields["kind"].annotation)]
TINY = {"encoder": "test_resnet", "weights": "none", "channels": ["a", "b"]}
OWN = {"weights": "none", "channels": ["a", "b"]}
CONFIGS: dict[str, dict[str, Any]] = {
    **{name: {"kind": name, **TINY} for name in SMP if name != "dpt"},
    "dpt": {"kind": "dpt", **TINY, "encoder": "vit_tiny_patch16_224"},
    "presence and condition": {
        "kind": "unet",
        **TINY,
        "presence": True,
        "condition": {"column": "x", "values": ["u", "v", "w"]},
    },
    "linknet34": {"kind": "linknet34", **OWN},
    "unet11": {"kind": "unet11", **OWN, "filters": 4},
    "ternausnet16": {"kind": "ternausnet16", **OWN, "filters": 4},
    "albunet34": {"kind": "albunet34", **OWN, "filters": 4},
    "ternausnetv2": {"kind": "ternausnetv2", **OWN, "in_channels": 3, "filters": 4},
}
QUICK = ("unet", "linknet34", "presence and condition")


@dataclass(frozen=True)
class Nothing:
    """What a plan has and no test of a file needs."""


def planned(config: dict[str, Any]) -> ExportPlan:
    model: Any = TypeAdapter(ModelConfig).validate_python(config)
    torch.manual_seed(1)
    network = build_model(model).eval()
    planes = 0 if getattr(model, "condition", None) is None else len(model.condition.values)
    task = SegmentTask(LossConfig(bce=1.0), model.channels, outputs=model.outputs)
    nothing: Any = Nothing()
    return ExportPlan(
        models=(network,),
        normalisation=Normalisation((0.5,) * 3, (0.25,) * 3),
        said=said_of(task),
        names=("logits", "maps"),
        sized=(True, True),
        size=None,
        item=nothing,
        alone=nothing,
        described={},
        multiple=model.stride,
        planes=planes,
    )


def apart(plan: ExportPlan, path: Path) -> float:
    """Return the largest difference of file and module, of two batches and sizes that the exporter did not see."""
    graph, names = FoldsGraph(plan), output_names(plan, (0,))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = 0.0
    for batch, grown in ((1, 1), (3, 2)):
        image = example_of(plan, seed=batch, batch=batch, grown=grown)
        seen = image.permute(0, 3, 1, 2).float() * graph.scale + graph.shift
        seen = torch.cat([seen, torch.zeros(len(seen), plan.planes, *seen.shape[2:])], dim=1)
        with torch.no_grad():
            right = plan.said(plan.models[0](seen))  # the network itself, with all of its own parts
        for one, other in zip(session.run(names, {"image": image.numpy()}), right, strict=True):
            found = max(found, relative(one, other.numpy()))
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CONFIGS]
)
def test_each_network_is_written_by_an_exporter(name: str, tmp_path: Path) -> None:
    plan, tried = planned(CONFIGS[name]), []
    exporters: tuple[Exporter, ...] = ("torchscript", "dynamo")
    for exporter in exporters:
        path, far = tmp_path / f"{exporter}.onnx", float("inf")
        try:
            write_onnx(FoldsGraph(plan), plan, (0,), path, exporter)
            far = apart(plan, path)
        except ExportError as error:
            tried.append(f"{exporter}: {error}")
            continue
        except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no base class of their own
            tried.append(f"{exporter} does not run: {str(error)[:160]}")
            continue
        tried.append(f"{exporter}: {far:.1e}")
        if far < 1e-4:
            break
    if os.environ.get("EXPORTERS_LOG"):
        with Path(os.environ["EXPORTERS_LOG"]).open("a") as log:
            log.write(f"{name}: {tried}\n")
    assert far < 1e-4, tried


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x\nNo ONNX function found for <OpOverload(op='aten.linalg_eig', overload='default')>. y", "aten.linalg_eig"),
        ("Exporting the operator 'aten::fft_rfft' to ONNX opset version 18 is not supported", "aten::fft_rfft"),
    ],
)
def test_the_operator_that_onnx_lacks_is_named(text: str, line: str) -> None:
    assert told(RuntimeError(text)) == f"ONNX has no operator for {line}"
    assert told(RuntimeError("")) == "RuntimeError" and "\n" not in told(RuntimeError("a\n\x1b[96mErrors\x1b[0m b\nc"))


def test_the_normalisation_inside_is_that_of_the_training() -> None:
    from medalist.data.preparing import normalise

    norm = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    image = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    scale, shift = affine(norm)
    inside = torch.from_numpy(image).permute(2, 0, 1).float() * scale + shift
    assert np.abs(inside.numpy() - normalise(image, norm.mean, norm.std)).max() < 1e-6
