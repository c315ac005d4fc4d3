"""Files of weights that would take more memory than they have bytes, or hold what no weight is."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from medalist.errors import WeightsError
from medalist.models.states import load_state


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_state(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


def test_weights_in_both_formats_are_read_as_they_are(tmp_path: Path) -> None:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3), "a.half": torch.ones(2).half()}
    state["tied.weight"] = state["a.weight"]
    for zipped in (True, False):
        torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        found = load_state(tmp_path / "a.pth")
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    del state["tied.weight"]
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in load_state(tmp_path / "a.safetensors").items())


@pytest.mark.parametrize("zipped", [True, False])
def test_one_number_that_is_repeated_to_14_gb_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save(
        {"a.weight": torch.ones(1).expand(3_500_000_000)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped
    )
    told = refused(tmp_path / "a.pth")
    assert "'a.weight' of shape [3500000000]" in told and "13 GB" in told


def test_many_views_of_one_tensor_are_refused(tmp_path: Path) -> None:
    shared = torch.ones(100_000)
    torch.save({f"a{number}": shared.view(1, -1) for number in range(50)}, tmp_path / "a.pth")
    assert "save contiguous tensors" in refused(tmp_path / "a.pth")


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(100_000)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in whole.infolist():
            packed.writestr(part.filename, whole.read(part))
    assert "is compressed" in refused(tmp_path / "a.pth")


def test_a_tensor_that_claims_more_bytes_than_its_part_is_not_read_beyond_the_file(tmp_path: Path) -> None:
    """The pickle says how many numbers a part has; torch trusts it where the file is not mapped."""
    torch.save({"a.weight": torch.ones(1000)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "a.pth", "w") as cut:
        for part in whole.infolist():
            data = whole.read(part)
            cut.writestr(part.filename, data[:4] if part.filename.endswith("data/0") else data)
    refused(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_types_that_no_weight_has_are_refused_by_name(tmp_path: Path, kind: torch.dtype, suffix: str) -> None:
    path, state = tmp_path / f"a.{suffix}", {"a.weight": torch.ones(4).to(kind)}
    if suffix == "pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    assert f"'a.weight' has the type {str(kind).removeprefix('torch.')}; weights are float16" in refused(path)


def test_integers_are_counters_and_no_weights(tmp_path: Path) -> None:
    """Eight-bit weights of a quantised network would be loaded as if they were the values themselves."""
    safetensors.torch.save_file({"a.weight": torch.ones(4, dtype=torch.int8)}, tmp_path / "a.safetensors")
    assert "has the type int8" in refused(tmp_path / "a.safetensors")
    counter = {"a.num_batches_tracked": torch.tensor(3), "a.relative_position_index": torch.ones(4, dtype=torch.int64)}
    safetensors.torch.save_file(counter, tmp_path / "b.safetensors")
    assert set(load_state(tmp_path / "b.safetensors")) == set(counter)
