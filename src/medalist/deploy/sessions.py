"""A network in a file, ready to run: onnxruntime, opened with checks of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medalist.deploy.description import Described
from medalist.errors import ConfigError, RunError
from medalist.files import sha256_file

IMAGE = "image"
"""The name of the network's input: uint8[B, h, w, C], red, green and blue, or gray."""

ERRORS = (
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
"""The names of onnxruntime's errors."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Runner(Protocol):
    """A network: images -> its outputs. Several threads may call it at the same time."""

    def run(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names, of images uint8[B, h, w, C]."""
        ...


class OnnxRunner:
    """A network of an ONNX file in onnxruntime."""

    def __init__(self, path: Path, threads: int = 0, device: str = "cpu"):
        """`threads` of one run; 0 takes a thread for each processor. Raises RunError where the file is damaged."""
        import onnxruntime

        if device not in PROVIDERS or PROVIDERS[device] not in onnxruntime.get_available_providers():
            raise ConfigError(f"device = '{device}': this onnxruntime has no such device; take 'cpu'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings are about graphs, which a user cannot change
        # Threads that spin would take processors from the service's other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._path, self._fails = path, _errors()
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[device]])
        except self._fails as error:
            raise RunError(f"{path} cannot be opened: {' '.join(str(error).split())[:160]}") from None
        self.names = tuple(one.name for one in self._session.get_outputs())
        self.inputs: Mapping[str, str] = {one.name: one.type for one in self._session.get_inputs()}

    def run(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names, of images uint8[B, h, w, C]. Raises RunError where the network fails."""
        try:
            found: list[NDArray[np.float32]] = self._session.run(list(names), {IMAGE: images})
        except self._fails as error:
            said = " ".join(str(error).split())[:160]
            raise RunError(f"{self._path} fails on images of {'x'.join(map(str, images.shape))}: {said}") from None
        return found


def _errors() -> tuple[type[Exception], ...]:
    """Return the errors of onnxruntime, which have no base class of their own, and those of its arguments."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = [getattr(state, name, None) for name in ERRORS]
    return (*(one for one in named if isinstance(one, type)), RuntimeError, ValueError)


def open_runner(folder: Path, described: Described, threads: int, device: str) -> OnnxRunner:
    """Open the network of an export. Raises RunError where the file is missing, or is not the one that was exported."""
    path = folder / described.model
    if path.suffix != ".onnx":
        raise RunError(f"{path} is not for onnxruntime: load it with torch.export.load, or export again --to onnx")
    if not path.is_file():
        raise RunError(f"{path} is missing; write the export again with medalist export")
    if sha256_file(path) != described.sha256:
        raise RunError(f"{path} is not the file that was exported: it was changed or replaced since; export it again")
    runner = OnnxRunner(path, threads, device)
    wanted = [f"{name}{fold}" for fold in described.folds for name in described.outputs]
    missing = next((name for name in wanted if name not in runner.names), None)
    if missing is not None or dict(runner.inputs) != {IMAGE: "tensor(uint8)"}:
        what = f"has no output '{missing}'" if missing else f"has the inputs {dict(runner.inputs)}"
        raise RunError(f"{path} {what}; write the export again with medalist export")
    return runner
