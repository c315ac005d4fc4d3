"""Write a module as a program of torch.export, which torch loads without medalist; and run such a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medalist.errors import ExportError, RunError
from medalist.exporting.graphs import FoldsGraph, example_of, output_names
from medalist.exporting.onnx_files import EXPORT_FAILS, quiet, told
from medalist.files import written
from medalist.tasks.exported import ExportPlan


def write_program(graph: FoldsGraph, plan: ExportPlan, path: Path) -> None:
    """Write the networks of a plan as a program of torch.export. Raises ExportError where torch cannot trace them."""
    sides = (0, 1, 2) if plan.size is None else (0,)
    shapes = {"image": dict.fromkeys(sides, torch.export.Dim.DYNAMIC)}
    with written(path) as temporary, quiet():
        try:
            with torch.no_grad():
                program = torch.export.export(graph, (example_of(plan),), dynamic_shapes=shapes, strict=False)
            torch.export.save(program, str(temporary))
        except EXPORT_FAILS as error:
            raise ExportError(f"torch.export cannot write this network: {told(error)}") from error


class ModuleRunner:
    """A module with the outputs of `FoldsGraph`, as a network that `deploy.Deployed` can call."""

    def __init__(self, module: torch.nn.Module, names: Sequence[str]):
        """`names` of the module's outputs, in their order."""
        self._module = module
        self._places = {name: at for at, name in enumerate(names)}

    @torch.no_grad()
    def run(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names, of images uint8[B, h, w, C]. Raises RunError where the program fails."""
        try:
            found = self._module(torch.from_numpy(np.ascontiguousarray(images)))
        except EXPORT_FAILS as error:
            shape = "x".join(map(str, images.shape))
            raise RunError(f"the program fails on images of {shape}: {told(error)}") from None
        return [found[self._places[name]].float().numpy() for name in names]


def open_program(path: Path, plan: ExportPlan, folds: tuple[int, ...]) -> ModuleRunner:
    """Open a program that `write_program` wrote. Its file holds code, so it must be one's own."""
    with quiet():
        module = torch.export.load(str(path)).module()
    return ModuleRunner(module, output_names(plan, folds))
