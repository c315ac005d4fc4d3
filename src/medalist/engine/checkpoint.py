"""Weights as safetensors files, and the states from which an interrupted training resumes."""

from __future__ import annotations

import copy
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.optim import Optimizer

from medalist.errors import RunError
from medalist.files import reason, refuse_newer, written
from medalist.reading import require_file

FORMAT = 1
"""The format of states. A number above it means that a newer version wrote the file."""

KEPT = 2
"""How many states of a training are kept. Where the newest is damaged, the one before it is used."""

STATE = re.compile(r"state-([0-9]{10})\.safetensors")


def save_weights(model: nn.Module, path: Path, note: Mapping[str, str] | None = None) -> None:
    """Write a network's weights to a file, which is written whole or not at all.

    note: texts about the weights, which the file's metadata keeps as one JSON value under `medalist`.
    """
    metadata = {"medalist": json.dumps(dict(note), sort_keys=True)} if note else None
    with written(path) as temporary:
        save_model(model, str(temporary), metadata)


def load_weights(model: nn.Module, path: Path, without: str | None = None, *, finite: bool = True) -> None:
    """Load weights that `save_weights` wrote into a network.

    without: tensors whose name holds this word are not loaded, for instance the weights of a loss, which are not needed
    for prediction. finite: weights with NaN or infinity are refused; `debug` takes them and shows where they are.
    Raises RunError where the file is missing or damaged, or belongs to another network.
    """
    try:
        require_file(path)
        if without is None:
            load_model(model, str(path))
        else:
            state = {name: value for name, value in load_file(str(path)).items() if without not in name}
            model.load_state_dict(state)
    except FileNotFoundError:
        raise RunError(f"no checkpoint {path}; run medalist train again to resume the training") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        said = reason(error)[:200]
        raise RunError(f"checkpoint {path} does not fit: {said}; delete its folder and train that fold again") from None
    bad = next((name for name, value in model.state_dict().items() if not value.isfinite().all()), None)
    if finite and bad is not None:
        raise RunError(f"checkpoint {path}: {bad} holds NaN or infinity; delete its folder and train that fold again")


def load_part(part: nn.Module, path: Path, word: str) -> None:
    """Load the tensors whose names hold `word` into a part of the network; the part's names are what follows `word`.

    Raises RunError where the file is damaged or does not fit.
    """
    try:
        require_file(path)
        state = {name.partition(word)[2]: value for name, value in load_file(str(path)).items() if word in name}
        part.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        said = reason(error)[:200]
        raise RunError(f"checkpoint {path} does not fit: {said}; delete its folder and train that fold again") from None


@dataclass(frozen=True, eq=False)
class SavedState:
    """All that is needed to resume a training: tensors by name, and other values that JSON can hold.

    batches: the number of batches since the start of the training; the file name contains it.
    """

    batches: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `name/`, by the name without this prefix."""
        return {key.partition("/")[2]: value for key, value in self.tensors.items() if key.startswith(f"{name}/")}


class Saver:
    """Writes states in a thread. The training waits only while its tensors are copied.

    Where a file cannot be written, MedalistError is raised when the next state is saved, or at the end.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, state: SavedState) -> None:
        """Wait until the state before is on disk, copy this state, and begin to write it."""
        self.wait()
        # safetensors refuses two names for one memory (tied weights), so each name gets a copy of its own.
        copies = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
            for name, tensor in state.tensors.items()
        }
        # The values are copied too, because the training adds rows while the file is written.
        copied = SavedState(state.batches, copies, copy.deepcopy(state.values))
        self._writing = self._pool.submit(save_state, self.folder, copied)

    def wait(self) -> None:
        """Wait until the last state is on disk. Raises MedalistError where it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


@contextmanager
def saving(folder: Path) -> Iterator[Saver]:
    """Yield a Saver. At the end of the block it finishes the state that it is writing, also after an exception."""
    saver = Saver(folder)
    try:
        yield saver
        saver.wait()
    finally:
        saver._pool.shutdown()


def save_state(folder: Path, state: SavedState) -> None:
    """Write a state to its file, whole or not at all, and delete all states but the newest `KEPT`."""
    path = folder / f"state-{state.batches:010}.safetensors"
    values = json.dumps(state.values)
    note = {"format": str(FORMAT), "values": values, "check": str(_check(state.tensors, values))}
    with written(path) as temporary:
        save_file(dict(state.tensors), str(temporary), metadata=note)
    for old in states(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def forget_states(folder: Path) -> None:
    """Delete all states of a finished training, and the temporary files that a killed process has left."""
    for path in (*states(folder), *folder.glob(".????????-*")):
        path.unlink(missing_ok=True)


def states(folder: Path) -> list[Path]:
    """Return the paths of the states in a fold's folder, newest first."""
    return sorted((path for path in folder.glob("state-*") if STATE.fullmatch(path.name)), reverse=True)


def load_state(folder: Path) -> tuple[SavedState | None, list[str]]:
    """Return the newest whole state, and a line for each newer state that is damaged.

    The state is None where the folder has no states. Raises RunError where all states are damaged, or where one is of a
    newer format. Nothing in a file is executed.
    """
    damaged: list[str] = []
    for path in states(folder):
        try:
            return _read(path), damaged
        except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
            damaged.append(f"{path} is damaged ({reason(error)[:120]})")
    if damaged:
        raise RunError(f"{'; '.join(damaged)}; delete them to train this fold from the beginning")
    return None, []


def _read(path: Path) -> SavedState:
    require_file(path)
    with safe_open(str(path), "pt") as file:
        note = file.metadata() or {}
        refuse_newer(note, path, FORMAT)
        # The tensors are copied, because the file stays mapped while a tensor lies in it, and Windows cannot delete a
        # mapped file.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
    if str(_check(tensors, note["values"])) != note["check"]:
        raise ValueError("its checksum does not match")
    values = json.loads(note["values"])
    if not isinstance(values, dict):
        raise ValueError("its values are not a mapping")
    found = STATE.fullmatch(path.name)
    assert found
    return SavedState(int(found[1]), tensors, values)


def _check(tensors: Mapping[str, Tensor], values: str) -> int:
    """Return the CRC-32 of the values and of the names, dtypes, shapes and bytes of the tensors."""
    check = zlib.crc32(values.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        check = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), check)
        check = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), check)  # type: ignore[arg-type]
    return check


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's values of each parameter, for instance moments.

    A key is `name of the parameter:name of the value`. Names are used and not the optimiser's numbers, because the
    numbers change when parameters are unfrozen.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}:{what}": value if isinstance(value, Tensor) else torch.tensor(float(value))
        for parameter, gathered in optimizer.state.items()
        for what, value in gathered.items()
        if value is not None
    }


def load_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of an optimiser that `optimizer_tensors` returned.

    Raises ValueError where a parameter is not the optimiser's or has another shape, and LookupError where a parameter
    of the optimiser is not the network's.
    """
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, what = key.rpartition(":")
        by_name.setdefault(name, {})[what] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    unknown = sorted(set(by_name) - set(order))
    if unknown:
        raise ValueError(f"the optimiser does not have {unknown[0]}")
    parameters = dict(model.named_parameters())
    for name, gathered in by_name.items():
        for what, value in gathered.items():
            if value.ndim and value.shape != parameters[name].shape:
                raise ValueError(f"{what} of {name} is {list(value.shape)}, not {list(parameters[name].shape)}")
            if value.ndim:
                # The value gets the memory order of its parameter, because fused optimisers go through both in parallel
                # and assume that their orders are the same.
                laid_out = torch.empty_like(parameters[name], dtype=value.dtype, requires_grad=False)
                gathered[what] = laid_out.copy_(value)
    # The optimiser's own load_state_dict moves each value to the device of its parameter, and sets its precision.
    state = {number: by_name[name] for number, name in enumerate(order) if name in by_name}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
