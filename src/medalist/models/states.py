"""Read a file of weights: tensors only, of types that weights have, and no more of them than the file has bytes for."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from medalist.errors import UnreadableFile, WeightsError
from medalist.reading import in_units, require_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The types of weights."""

COUNTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
"""The types of counters, indices and masks, which some networks keep beside their weights."""

WEIGHTS = ("weight", "bias", "running_mean", "running_var")
"""The last words of the names of tensors that must be floats."""

SHARED = 4
"""How often the tensors of a file may use its bytes: tied weights have two or three names for one tensor."""


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from torch's format with tensors only (no code of the file is ever run).

    A state dict inside "state_dict", "model" or "state_dict_ema" is unwrapped, and the prefix "module." is removed from
    names. Raises WeightsError where the file is missing or damaged, holds anything other than tensors, or has tensors
    of another type, tensors with more values than the file has, or values that are not finite.
    """
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path}: weights are files ending in {', '.join(SUFFIXES)}")
    content = _content(path)
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict (names and tensors)")
    state: dict[str, Tensor] = {}
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise WeightsError(f"{path}: '{key}' is not a dense tensor; a state dict has names and tensors only")
        state[key.removeprefix("module.")] = tensor
    _refuse_types(path, state)
    _refuse_expanded(path, state)
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: tensor '{key}' has values that are not finite")
    return state


def _content(path: Path) -> object:
    """Return what a file holds, unchecked. No tensor of a zip file is in memory yet: it is mapped."""
    try:
        require_file(path)
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's notes on the file format; the contents are checked afterwards
            # Mapped, a tensor ends where the file ends, whatever size the file says that it has.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist") from error
    except UnreadableFile as error:
        raise WeightsError(f"{path}: {error.strerror}; weights are files") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is damaged or holds more than tensors, which can run code"
        ) from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        MemoryError,
        zipfile.BadZipFile,
        safetensors.SafetensorError,
    ) as error:
        raise WeightsError(f"{path} cannot be read as weights ({type(error).__name__}); it is damaged") from error


def _refuse_compressed(path: Path) -> None:
    """Raise WeightsError for a zip file with compressed parts: a few megabytes could unpack to all of the memory."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(
                    f"{path} is refused: its part {part.filename} is compressed, and unpacks to "
                    f"{in_units(part.file_size)}; torch.save writes it as it is"
                )


def _refuse_types(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise WeightsError for a tensor of a type that no weight has, such as float8 or a complex number."""
    for key, tensor in state.items():
        allowed = FLOATS if key.rpartition(".")[2] in WEIGHTS else (*FLOATS, *COUNTS)
        if tensor.dtype not in allowed:
            floats = ", ".join(_name(kind) for kind in FLOATS)
            raise WeightsError(
                f"{path}: tensor '{key}' has the type {_name(tensor.dtype)}; weights are {floats}; convert it with "
                "tensor.float() and save it again"
            )


def _refuse_expanded(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise WeightsError where tensors have more values than the file: one number may be repeated to fill a memory."""
    size = path.stat().st_size
    whole = 0
    for key, tensor in state.items():
        wanted = tensor.numel() * tensor.element_size()
        whole += wanted
        if wanted > tensor.untyped_storage().nbytes() or whole > SHARED * size:
            raise WeightsError(
                f"{path} is refused: with tensor '{key}' of shape {list(tensor.shape)} its tensors need "
                f"{in_units(whole)}, but the file has {in_units(size)}; save contiguous tensors"
            )


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
