"""Checkpoints: weights as safetensors, the state to go on from as a file that holds no code."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model
from torch import nn

from medalist.errors import RunError
from medalist.files import written

_DAMAGE = (  # what torch raises on damaged or hostile files
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a network's weights, whole or not at all."""
    with written(path) as temporary:
        save_model(model, str(temporary))


def load_weights(model: nn.Module, path: Path, without: str | None = None) -> None:
    """Load weights that `save_weights` wrote; RunError where they are missing, damaged or of another network.

    `without`: tensors whose name holds this word are left in the file, as those of a loss, which predicts nothing.
    """
    try:
        if without is None:
            load_model(model, str(path))
        else:
            state = {name: value for name, value in load_file(str(path)).items() if without not in name}
            model.load_state_dict(state)
    except FileNotFoundError:
        raise RunError(f"no checkpoint {path}; run medalist train again, it goes on where it stopped") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"checkpoint {path} does not fit: {reason}; delete its folder and train that fold again"
        ) from None


def load_part(part: nn.Module, path: Path, word: str) -> None:
    """Load the tensors whose names hold `word`, under what follows it, into a part of the network; RunError."""
    try:
        state = {name.partition(word)[2]: value for name, value in load_file(str(path)).items() if word in name}
        part.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"checkpoint {path} does not fit: {reason}; delete its folder and train that fold again"
        ) from None


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state to go on from, whole or not at all."""
    buffer = io.BytesIO()  # torch's own writer says nothing of a full disk but "unexpected pos 576 vs 534"
    torch.save(dict(state), buffer)
    with written(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(path: Path) -> dict[str, Any] | None:
    """The state to go on from, None where there is none; nothing in the file is executed."""
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of files that are not its own
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"state {path} cannot be read ({reason}); delete it to train this fold from its start") from None
    if not isinstance(state, dict):
        raise RunError(f"state {path} is not one of ours; delete it to train this fold from its start")
    return state
