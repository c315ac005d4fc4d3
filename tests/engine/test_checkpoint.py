from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medalist.engine.checkpoint import load_state, load_weights, save_state, save_weights
from medalist.errors import RunError


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))


def refused(path: Path, load: Any) -> str:
    with pytest.raises(RunError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 500 + len(str(path))
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    return message


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_round_trip(tmp_path: Path, layout: torch.memory_format) -> None:
    saved = network().to(memory_format=layout)
    save_weights(saved, tmp_path / "new" / "last.safetensors")
    loaded = network()
    load_weights(loaded, tmp_path / "new" / "last.safetensors")
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.safetensors"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_weights(network(4), path)
    assert "size mismatch" in refused(path, lambda file: load_weights(network(3), file))
    save_weights(nn.Linear(2, 2), path)
    assert "Missing key" in refused(path, lambda file: load_weights(network(3), file))


def test_missing_and_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    assert refused(path, lambda file: load_weights(network(), file)).startswith(f"no checkpoint {path}; run medalist")
    save_weights(network(), path)
    whole = path.read_bytes()
    for data in (b"", b"\xff" * 8, whole[:-1], whole[:20], whole[:100], b"\xff" * 8 + whole[8:], b"{" * 400):
        path.write_bytes(data)
        assert refused(path, lambda file: load_weights(network(), file)).startswith(f"checkpoint {path} does not fit: ")
    path.unlink()
    path.mkdir()
    refused(path, lambda file: load_weights(network(), file))


STATE = {
    "model": {"weight": torch.arange(12.0).reshape(3, 4), "count": torch.tensor(7)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
    "rows": [{"epoch": 1.0, "loss": 0.25}],
    "best": float("inf"),
}


def test_state_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "fold0" / "state.pt"
    assert load_state(path) is None
    save_state(path, STATE)
    state = load_state(path)
    assert state is not None and state.keys() == STATE.keys()
    assert torch.equal(state["model"]["weight"], torch.arange(12.0).reshape(3, 4))
    assert state["optimizer"]["param_groups"] == [{"lr": 0.1, "params": [0, 1]}]
    assert state["rows"] == [{"epoch": 1.0, "loss": 0.25}] and state["best"] == float("inf")
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_a_truncated_or_damaged_state_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, STATE)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        assert refused(path, load_state).startswith(f"state {path} ")
    # A flipped byte may go unnoticed or be refused, but never ends in another error.
    chance = random.Random(2018)
    refusals = 0
    for _ in range(400):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            load_state(path)
        except RunError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert 50 < refusals < 400


class Hostile:
    """Unpickled, it would make a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_state_is_not_executed(tmp_path: Path) -> None:
    path, mark = tmp_path / "state.pt", tmp_path / "mark"
    torch.save({"model": Hostile(mark)}, path)
    assert "cannot be read" in refused(path, load_state)
    path.write_bytes(pickle.dumps({"model": Hostile(mark)}))
    refused(path, load_state)
    torch.save({}, path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w") as spoilt:
        for name in archive.namelist():
            spoilt.writestr(name, pickle.dumps(Hostile(mark)) if name.endswith("data.pkl") else archive.read(name))
    path.write_bytes(buffer.getvalue())
    refused(path, load_state)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Hostile(mark)))  # it would have worked
    assert mark.exists()


def test_a_state_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "state.pt")
    assert "not one of ours" in refused(tmp_path / "state.pt", load_state)
