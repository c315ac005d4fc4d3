from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medalist.files import sha256_file
from medalist.kinds import run_settings
from medalist.models.weights import Resolved
from medalist.processors import keep_buffers
from medalist.runs.runs import Run, config_hash
from medalist.training import doctor
from medalist.training.machine import machine


def test_it_tells_what_is_there(at_home: Path, tmp_path: Path) -> None:
    found = dict(doctor.examine(tmp_path / "runs" / "that" / "are" / "not" / "there"))
    assert str(tmp_path) in found["disk for runs"] and "GB free" in found["memory"]
    assert {"python", "processors", "commit", "torch", "timm", "weights from the hub"} <= found.keys()
    assert int(found["processors"]) >= 1 and found["freed memory"] == keep_buffers()
    assert "threads that wait" in found
    assert any(name.startswith("GPU") for name in found)
    assert "tf_efficientnet_lite0" in " ".join(found)


def test_the_gpu_of_a_mac_is_named(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.training.doctor.MPSAccelerator.is_available", lambda: True)
    monkeypatch.setattr("medalist.training.doctor.torch.mps.recommended_max_memory", lambda: 12_345_678_900)
    found = dict(doctor.examine(tmp_path))
    assert found["GPU"] == "MPS (Apple), up to 12.3 GB of the memory; DISABLE_MPS=1 trains on the processors"
    monkeypatch.setattr("medalist.training.machine.torch.backends.mps.is_available", lambda: True)
    assert machine()["GPUs"].endswith("1 x MPS")


def test_a_gpu_that_cannot_be_used_does_not_stop_it(
    at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "H")
    monkeypatch.setattr("torch.cuda.mem_get_info", full)
    assert dict(doctor.examine(tmp_path))["GPU 0"].startswith("H, cannot be used: CUDA error: out of memory ")


def test_offline_is_told(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    assert "never" in dict(doctor.examine(tmp_path))["weights from the hub"]


def test_a_missing_package_does_not_stop_it(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", absent)
    assert dict(doctor.examine(tmp_path))["medalist"] == "not installed by pip"


# --------------------------------------------------------------------------------------------- a run, and what is here


def edit(run: Run, **changes: Any) -> None:
    """Make the run's lock say something else."""
    path = run.folder / "lock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def told(toy: Any, data: str | None = None) -> list[list[str]]:
    found = doctor.compare(toy.run, data, toy.runs)
    assert not found.damaged
    return found.rows


def test_of_an_untouched_run_nothing_differs(medalist: Callable[..., Any], toy: Any) -> None:
    assert told(toy) == []
    ended = medalist("--runs", toy.runs, "doctor", "tiny")
    assert (ended.code, ended.out, ended.err) == (0, "nothing differs\n", "")


def test_what_differs_is_told_line_by_line(medalist: Callable[..., Any], toy: Any) -> None:
    lock = toy.run.lock()
    packages = dict(lock.packages)
    del packages["rich"], packages["typer"]
    torch = packages["torch"]
    packages |= {"torch": "1.0", "not-here": "2.0"}
    edit(toy.run, packages=packages, python="3.11.0", commit="abc+", data="0" * 64, config="1" * 64)
    rows = told(toy)
    assert rows == [
        ["python", "3.11.0", sys.version.split()[0]],
        ["commit", "abc+", lock.commit],
        ["torch", "1.0", torch],
        ["not-here", "2.0", "not installed"],
        ["other packages", "none", "2 that the run did not have"],
        ["config.yaml", "1" * 12, f"{lock.config[:12]}: edited since"],
        ["data", "0" * 12, f"{lock.data[:12]} in {toy.data}"],
    ]
    ended = medalist("--runs", toy.runs, "doctor", "tiny")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "toy_nuclei/tiny" and lines[-1] == "nothing else differs" and len(lines) >= len(rows) + 3
    assert [line.split()[0] for line in lines[2:5]] == ["python", "commit", "torch"]


def test_names_of_packages_have_one_spelling(toy: Any) -> None:
    packages = {name.upper().replace("-", "_"): version for name, version in toy.run.lock().packages.items()}
    edit(toy.run, packages=packages)
    assert told(toy) == []


def test_an_edited_config_differs(toy: Any) -> None:
    path = toy.run.folder / "config.yaml"
    path.write_text(path.read_text().replace("tracking: none", "tracking: tensorboard"))
    assert told(toy) == []  # it decides no weight
    path.write_text(path.read_text().replace("batch: 4", "batch: 5", 1))
    ((what, was, now),) = told(toy)
    assert (what, was) == ("config.yaml", toy.run.lock().config[:12]) and "edited since" in now


def test_data_that_is_elsewhere_or_nowhere(toy: Any, own_data: Path, tmp_path: Path) -> None:
    edit(toy.run, data_folder=str(tmp_path / "gone"))
    ((what, _, now),) = told(toy, str(tmp_path / "none"))
    assert what == "data" and now.startswith("not checked: no data folder")
    assert told(toy, str(own_data)) == []
    image = next((own_data / "stage1_train").glob("*/images/*.png"))
    image.write_bytes(image.read_bytes() + b"more")
    ((what, was, now),) = told(toy, str(own_data))
    assert (what, was) == ("data", toy.run.lock().data[:12]) and now.endswith(f" in {own_data}")


def test_weights_that_are_not_here(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy.run.folder / "config.yaml"
    text = path.read_text()
    assert text.count("\n  weights: none") == 1
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    digest = sha256(b"mine").hexdigest()

    def weights(value: object, known: str) -> list[list[str]]:
        path.write_text(text.replace("\n  weights: none", f"\n  weights: {value}"))
        edit(toy.run, weights={"test_resnet": known}, config=config_hash(run_settings(toy.run)))
        return told(toy)

    assert weights(tmp_path / "mine.safetensors", digest) == []
    ((what, was, now),) = weights(tmp_path / "mine.safetensors", "2" * 64)
    assert (what, was, now) == ("weights test_resnet", "2" * 12, f"{digest[:12]} in {tmp_path / 'mine.safetensors'}")
    ((_, _, now),) = weights(tmp_path / "gone.pth", digest)
    assert "is not a file here" in now
    # Those of the hubs are looked for by hash, and nobody is asked for them.
    here = Resolved("test_resnet", tmp_path / "mine.safetensors", digest, "folder")
    monkeypatch.setattr(doctor, "list_weights", lambda: [here])
    monkeypatch.setattr("medalist.models.weights.from_hub", None)
    assert weights("imagenet", digest) == []
    assert weights("imagenet", "3" * 64) == [["weights test_resnet", "3" * 12, "no such file is here"]]


def test_a_fold_that_is_not_done_and_predictions_of_other_weights(toy: Any) -> None:
    (toy.run.fold_folder(1) / "last.safetensors").unlink()
    last = toy.run.checkpoint(0, "last")
    tensors = load_file(last)
    save_file({name: np.asarray(value + 1) for name, value in tensors.items()}, last)
    rows = told(toy)
    assert [row[0] for row in rows] == ["predictions of fold 0", "fold 1"]
    assert rows[0][2] == f"last.safetensors is {sha256_file(last)[:12]}" and rows[1][1:] == [
        "begun",
        "not trained to its end",
    ]


def test_a_damaged_run_ends_with_code_2(medalist: Callable[..., Any], toy: Any) -> None:
    last = toy.run.checkpoint(0, "last")
    last.write_bytes(last.read_bytes()[:-9])
    ended = medalist("--runs", toy.runs, "doctor", "tiny")
    assert ended.code == 2 and "fold0/last.safetensors" in ended.out
    assert "is damaged: fold0/last.safetensors: damaged (" in ended.line
    (toy.run.folder / "folds.csv").unlink()
    ended = medalist("--runs", toy.runs, "doctor", "tiny")
    assert ended.code == 2 and "folds.csv" in ended.line


def test_folds_of_another_run_are_damage(toy: Any) -> None:
    edit(toy.run, folds="4" * 64)
    found = doctor.compare(toy.run, None, toy.runs)
    assert found.rows == found.rows[-1:] and found.rows[0][:2] == ["folds.csv", "4" * 12]
    assert found.damaged == [f"folds.csv: {found.rows[0][2]}"]


@pytest.mark.parametrize(
    "change", [{"packages": ["torch"]}, {"python": 3}, {"weights": {"x": 1}}, {"data": None}], ids=str
)
def test_a_damaged_lock_is_one_line(medalist: Callable[..., Any], toy: Any, change: dict[str, Any]) -> None:
    edit(toy.run, **change)
    ended = medalist("--runs", toy.runs, "doctor", "tiny")
    assert ended.code == 2 and "lock.json is damaged" in ended.line


def test_another_machine_is_told(toy: Any) -> None:
    here = doctor.machine()
    assert all(isinstance(value, str) and value for value in here.values())
    edit(toy.run, machine={**here, "GPUs": "8 x NVIDIA A100", "CUDA": "12.4"})
    assert told(toy) == [["CUDA", "12.4", here["CUDA"]], ["GPUs", "8 x NVIDIA A100", here["GPUs"]]]
    edit(toy.run, machine={})
    assert told(toy) == []
