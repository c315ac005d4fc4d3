"""Write a module as ONNX by one of torch's two exporters, check the file, and make it smaller: fp16 and int8."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medalist.deploy.sessions import IMAGE
from medalist.errors import ConfigError, ExportError
from medalist.exporting.graphs import FoldsGraph, example_of, output_names
from medalist.files import written
from medalist.tasks.exported import ExportPlan

Exporter = Literal["dynamo", "torchscript"]
Precision = Literal["fp32", "fp16", "int8"]

OPSET = 18
"""The version of ONNX's operators: the lowest that the exporter of torch.export writes."""

INSTALL = "pip install 'medalist[export]'"

EXPORT_FAILS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors of torch's exporters, which run any code of the network. Their own errors are RuntimeErrors."""

OPERATOR = re.compile(r"op='?([A-Za-z_0-9]+\.[A-Za-z_0-9]+)|operator '([A-Za-z_0-9]+::[A-Za-z_0-9]+)'")
"""How the exporters name an operator that ONNX lacks."""

COLOURS = re.compile("\x1b\\[[0-9;]*m")


def refuse_missing() -> None:
    """Raise ConfigError, which says what to type, where onnx, onnxruntime or onnxscript cannot be imported."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ConfigError(f"an export to ONNX needs more packages ({error}); type {INSTALL}") from None
    del onnx, onnxruntime, onnxscript


def write_onnx(graph: FoldsGraph, plan: ExportPlan, folds: tuple[int, ...], path: Path, exporter: Exporter) -> None:
    """Write the networks of a plan as ONNX: any number of images, of any size where the networks take any size.

    Raises ExportError, in one line, where the exporter cannot write the network; it names an operator that ONNX lacks.
    """
    names = output_names(plan, folds)
    how: dict[str, Any] = {"dynamo": False, "dynamic_axes": _axes(plan, names)}
    if exporter == "dynamo":
        sides = (0, 1, 2) if plan.size is None else (0,)
        how = {
            "dynamo": True,
            "dynamic_shapes": {"image": dict.fromkeys(sides, torch.export.Dim.DYNAMIC)},
            "external_data": False,
        }
    with written(path) as temporary, quiet():
        try:
            torch.onnx.export(
                graph,
                (example_of(plan),),
                str(temporary),
                input_names=[IMAGE],
                output_names=names,
                opset_version=OPSET,
                verbose=False,
                **how,
            )
            _check(temporary)
        except EXPORT_FAILS as error:
            raise ExportError(f"the exporter {exporter} cannot write this network: {told(error)}") from error


def _axes(plan: ExportPlan, names: Sequence[str]) -> dict[str, dict[int, str]]:
    image = {0: "batch", 1: "height", 2: "width"} if plan.size is None else {0: "batch"}
    sized = list(plan.sized) * len(plan.models)
    found = {IMAGE: image}
    for name, has in zip(names, sized, strict=True):
        found[name] = {0: "batch", 2: "height", 3: "width"} if has and plan.size is None else {0: "batch"}
    return found


def _check(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(str(error)) from error


def told(error: BaseException) -> str:
    """Return why an exporter failed, in one line: the operator that ONNX lacks, or the last words of the error."""
    text = COLOURS.sub("", str(error))
    found = OPERATOR.search(text)
    if found is not None:
        return f"ONNX has no operator for {found[1] or found[2]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "Error" in line), lines[0] if lines else type(error).__name__)
    return said[:200]


def write_fp16(source: Path, path: Path) -> None:
    """Write a network with weights and sums of 16 bits; its inputs and outputs stay as they are.

    Raises ExportError where the network has an operator that cannot be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet(), written(path) as temporary:
        try:
            model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
            onnx.save(model, str(temporary))
            _check(temporary)
        except EXPORT_FAILS as error:
            raise ExportError(f"fp16: {told(error)}") from error


class _Calibration:
    """The images of the training part, one by one, as onnxruntime asks for them."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]):
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {IMAGE: image[np.newaxis]}


def write_int8(source: Path, path: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    """Write a network whose convolutions and products count with 8 bits; ranges are those seen on `images`.

    images: uint8[h, w, C], as the network gets them. Raises ExportError where the network cannot be converted.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(_Calibration)
    prepared = source.with_name(f"{source.stem}-shapes.onnx")
    with quiet(), written(path) as temporary:
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(temporary),
                _Calibration(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            _check(temporary)
        except EXPORT_FAILS as error:
            raise ExportError(f"int8: {told(error)}") from error
        finally:
            prepared.unlink(missing_ok=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what exporters print and warn of: it is about their own code, and the gate judges the file."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
