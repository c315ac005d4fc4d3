from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from medalist.engine import checkpoint
from medalist.engine.checkpoint import (
    SavedState,
    forget_states,
    load_optimizer,
    load_part,
    load_state,
    load_weights,
    optimizer_tensors,
    save_state,
    save_weights,
    saving,
    states,
)
from medalist.errors import MedalistError, RunError


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))


def refused(path: Path, load: Any) -> str:
    with pytest.raises(RunError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 500 + len(str(path))
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    return message


# Weights.


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


def test_a_part_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    whole = nn.ModuleDict({"body": nn.Linear(2, 3), "loss": nn.Linear(3, 4)})
    save_weights(whole, path)
    body, loss = nn.ModuleDict({"body": nn.Linear(2, 3)}), nn.Linear(3, 4)
    load_weights(body, path, without="loss.")
    load_part(loss, path, "loss.")
    saved = whole.state_dict()
    assert torch.equal(body.state_dict()["body.weight"], saved["body.weight"])
    assert torch.equal(loss.weight, saved["loss.weight"])
    assert "Missing key" in refused(path, lambda file: load_part(nn.Linear(3, 4), file, "head."))


# States.

KINDS = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Of any kind and shape, zero-dimensional, empty or not contiguous ones too."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    made = torch.randint(-3, 4, shape, generator=generator).to(draw(st.sampled_from(KINDS)))
    if draw(st.booleans()) and made.ndim:
        return made.transpose(0, draw(st.integers(0, made.ndim - 1)))
    if draw(st.booleans()) and made.ndim:
        return made[..., :: draw(st.integers(1, 3))]
    if made.ndim == 4 and draw(st.booleans()):
        return made.contiguous(memory_format=torch.channels_last)
    return made


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
named = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"), tensors(), max_size=5
)


@given(named, st.dictionaries(st.text(max_size=6), json_values, max_size=4), st.integers(0, 10**10 - 1))
def test_state_round_trip(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, Tensor], values: dict[str, Any], batches: int
) -> None:
    folder = tmp_path_factory.mktemp("state")
    with saving(folder) as saver:
        saver.save(SavedState(batches, made, values))
    state, damaged = load_state(folder)
    assert state is not None and damaged == []
    assert state.batches == batches and state.values == values and state.tensors.keys() == made.keys()
    for name, value in made.items():
        loaded = state.tensors[name]
        assert loaded.dtype == value.dtype and torch.equal(loaded, value) and loaded.is_contiguous()
    assert [path.name for path in folder.iterdir()] == [f"state-{batches:010}.safetensors"]


def test_bits_are_kept(tmp_path: Path) -> None:
    """NaN, infinity, minus zero and the smallest there are, in tensors and in values."""
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45, 0.1])
    save_state(tmp_path, SavedState(1, {"x/odd": odd}, {"rows": [{"loss": 0.1 + 0.2, "tiny": 5e-324}]}))
    state, _ = load_state(tmp_path)
    assert state is not None
    assert torch.equal(state.tensors["x/odd"].view(torch.int32), odd.view(torch.int32))
    assert state.values["rows"] == [{"loss": 0.1 + 0.2, "tiny": 5e-324}]


def test_parts_of_a_state() -> None:
    one, two, three = torch.zeros(1), torch.ones(1), torch.ones(2)
    state = SavedState(0, {"model/a.b": one, "model/c/d": two, "models/x": three, "sums/loss": three}, {})
    assert state.part("model") == {"a.b": one, "c/d": two}
    assert state.part("sums") == {"loss": three} and state.part("memory") == {}


def test_states_are_ordered_and_two_are_kept(tmp_path: Path) -> None:
    """By their numbers, whatever their times; other files are none of ours."""
    assert states(tmp_path) == [] and states(tmp_path / "not there") == []
    assert load_state(tmp_path / "not there") == (None, [])
    others = ["state.pt", "state-1.safetensors", "state-0000000001.safetensors.old", "last.safetensors", "state-x"]
    for name in others:
        (tmp_path / name).touch()
    for batches in (9, 10, 100, 99):
        save_state(tmp_path, SavedState(batches, {"x": torch.tensor(batches)}, {}))
    assert [path.name for path in states(tmp_path)] == ["state-0000000100.safetensors", "state-0000000099.safetensors"]
    state, _ = load_state(tmp_path)
    assert state is not None and int(state.tensors["x"]) == 100
    (tmp_path / ".0a1b2c3d-state-0000000101.safetensors").touch()
    forget_states(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    forget_states(tmp_path)


def test_the_check_sum_counts_everything(tmp_path: Path) -> None:
    """A state whose tensors, names, kinds, shapes or values were exchanged has another one."""

    def check(made: dict[str, Tensor], values: dict[str, Any]) -> str:
        save_state(tmp_path, SavedState(1, made, values))
        with safe_open(str(states(tmp_path)[0]), "pt") as file:
            return str(file.metadata()["check"])

    block = torch.arange(6.0).reshape(2, 3)
    made = {"a": block, "b": block + 1}
    sums = [
        check(made, {}),
        check({"a": block + 1, "b": block}, {}),
        check({"a": block, "c": block + 1}, {}),
        check({"a": block.reshape(3, 2), "b": block + 1}, {}),
        check({"a": block.view(torch.int32), "b": block + 1}, {}),
        check(made, {"done": 1}),
        check(made, {"done": 2}),
    ]
    assert len(set(sums)) == len(sums)
    assert check(dict(reversed(made.items())), {}) == sums[0], "not the order"


def test_every_damage_is_told_on_one_line(tmp_path: Path) -> None:
    save_state(tmp_path, SavedState(5, {"a": torch.arange(12.0), "b": torch.ones(3, dtype=torch.bool)}, {"rows": []}))
    (path,) = states(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 13):
        path.write_bytes(whole[:length])
        line = refused(path, lambda _: load_state(tmp_path))
        assert line.startswith(f"{path} is damaged (") and line.endswith(
            "; delete them to train this fold from the beginning"
        )


# The saver.


def test_a_state_is_a_copy_of_its_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed in place while it is written does not reach the file."""
    go, real = threading.Event(), checkpoint.save_state

    def late(folder: Path, state: SavedState) -> None:
        assert go.wait(60)
        real(folder, state)

    monkeypatch.setattr(checkpoint, "save_state", late)
    weight, rows = torch.ones(3, 4), [{"loss": 1.0}]
    with saving(tmp_path) as saver:
        saver.save(SavedState(3, {"w": weight, "t": weight.t(), "slice": weight[1]}, {"rows": rows}))
        weight.zero_()
        rows.append({"loss": 2.0})
        assert list(tmp_path.iterdir()) == []
        go.set()
    state, _ = load_state(tmp_path)
    assert state is not None and state.values == {"rows": [{"loss": 1.0}]}
    assert [tuple(value.shape) for value in state.tensors.values()] == [(4,), (4, 3), (3, 4)]
    assert all(bool((value == 1).all()) for value in state.tensors.values())


def test_tied_weights(tmp_path: Path) -> None:
    """One memory under two names; a gradient's graph does not matter."""
    layer = nn.Linear(3, 3, bias=False)
    tied = nn.ModuleDict({"in": layer, "out": layer})
    with saving(tmp_path) as saver:
        saver.save(SavedState(1, {**tied.state_dict(), "grown": layer.weight * 2}, {}))
    state, _ = load_state(tmp_path)
    assert state is not None
    assert torch.equal(state.tensors["in.weight"], layer.weight) and torch.equal(
        state.tensors["out.weight"], layer.weight
    )
    assert torch.equal(state.tensors["grown"], layer.weight * 2)


def test_one_at_a_time_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkpoint.save_state
    begun: list[int] = []
    ended: list[int] = []

    def noted(folder: Path, state: SavedState) -> None:
        assert begun == ended and threading.current_thread() is not threading.main_thread()
        begun.append(state.batches)
        real(folder, state)
        ended.append(state.batches)

    monkeypatch.setattr(checkpoint, "save_state", noted)
    with saving(tmp_path) as saver:
        for batches in range(1, 6):
            saver.save(SavedState(batches, {"x": torch.tensor(batches)}, {}))
    assert ended == [1, 2, 3, 4, 5]
    assert [path.name for path in states(tmp_path)] == ["state-0000000005.safetensors", "state-0000000004.safetensors"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_begun_is_whole_after_an_interruption(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), saving(tmp_path) as saver:
        saver.save(SavedState(1, {"x": torch.zeros(300_000)}, {}))
        raise error
    assert load_state(tmp_path)[0] is not None
    assert [path.name for path in tmp_path.iterdir()] == ["state-0000000001.safetensors"]


@pytest.mark.parametrize("at", ["next", "end"])
def test_a_full_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def full(tensors: Any, name: str, metadata: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "state-0000000002.safetensors"
    save_state(tmp_path, SavedState(1, {"x": torch.zeros(1)}, {}))
    monkeypatch.setattr(checkpoint, "save_file", full)
    with (
        pytest.raises(MedalistError, match=f"^disk full while writing {path}; free space and run the command again$"),
        saving(tmp_path) as saver,
    ):
        saver.save(SavedState(2, {"x": torch.zeros(1)}, {}))
        if at == "next":
            saver.save(SavedState(3, {"x": torch.zeros(1)}, {}))
            raise AssertionError("it was not told")
    assert [path.name for path in tmp_path.iterdir()] == ["state-0000000001.safetensors"]


# What an optimiser has gathered.


class Layers(nn.Module):
    """Two layers, a norm, and a scalar."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.first = nn.Conv2d(2, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 1, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm(self.first(image))).mean() * self.scale
        return out


def stepped(model: nn.Module, optimizer: Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(2, 2, 5, 5, generator=generator)).square().backward()
        optimizer.step()


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda groups: AdamW(groups, lr=0.1),
    "fused": lambda groups: AdamW(groups, lr=0.1, fused=True),
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "plain sgd": lambda groups: SGD(groups, lr=0.1),
}


def twin(model: nn.Module, layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    made = Layers().to(memory_format=layout)
    made.load_state_dict(model.state_dict())
    return made


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on(tmp_path: Path, name: str, layout: torch.memory_format) -> None:
    """By names: the other one has its groups in another order, and finds its own layout of memory again."""
    torch.manual_seed(0)
    model = Layers().to(memory_format=layout)
    optimizer = OPTIMIZERS[name](model.parameters())
    stepped(model, optimizer, 3)
    with saving(tmp_path) as saver:
        saver.save(SavedState(3, optimizer_tensors(model, optimizer), {}))
    state, _ = load_state(tmp_path)
    assert state is not None
    other = twin(model, layout)
    parameters = list(other.parameters())
    groups = [{"params": parameters[3:]}, {"params": parameters[2:3]}, {"params": parameters[:2]}]
    again = OPTIMIZERS[name](groups)
    load_optimizer(other, again, state.tensors)
    assert [len(group["params"]) for group in again.param_groups] == [len(parameters) - 3, 1, 2]
    gathered, kept = optimizer_tensors(model, optimizer), optimizer_tensors(other, again)
    assert gathered.keys() == kept.keys()
    assert all(torch.equal(gathered[what], kept[what]) for what in gathered)
    for parameter, values in again.state.items():
        for value in values.values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride(), "fused kernels walk over both as they lie"
    stepped(model, optimizer, 2, 1)
    stepped(other, again, 2, 1)
    for own, copied in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(own, copied)


def test_parameters_that_rested_have_nothing_yet() -> None:
    """Those of an encoder that was frozen until now start anew."""
    model = Layers()
    optimizer = AdamW(model.last.parameters(), lr=0.1)
    stepped(model, optimizer, 2)
    kept = optimizer_tensors(model, optimizer)
    assert {key.rpartition(":")[0] for key in kept} == {"last.weight", "last.bias"}
    whole = AdamW(model.parameters(), lr=0.1)
    load_optimizer(model, whole, kept)
    assert len(whole.state) == 2
    stepped(model, whole, 1)
    assert [float(whole.state[parameter]["step"]) for parameter in (model.last.weight, model.first.weight)] == [3, 1]
    empty = AdamW(model.parameters(), lr=0.1)
    load_optimizer(model, empty, {})
    assert not empty.state


@pytest.mark.parametrize(
    "key", ["first.weigh:exp_avg", "nowhere:step", "exp_avg", ":exp_avg", "norm.running_mean:exp_avg", ""]
)
def test_an_unknown_parameter_is_refused(key: str) -> None:
    model = Layers()
    with pytest.raises(ValueError, match=r"^the optimiser does not have "):
        load_optimizer(model, AdamW(model.parameters()), {key: torch.zeros(1)})


def test_what_is_not_trained_any_more_is_refused() -> None:
    model = Layers()
    optimizer = AdamW(model.parameters(), lr=0.1)
    stepped(model, optimizer, 1)
    kept = optimizer_tensors(model, optimizer)
    with pytest.raises(ValueError, match=r"^the optimiser does not have first\.bias$"):
        load_optimizer(model, AdamW(model.last.parameters(), lr=0.1), {"first.bias:step": kept["first.bias:step"]})


@pytest.mark.parametrize("shape", [(1,), (4, 2, 3), (8, 9), (5, 2, 3, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    model = Layers()
    with pytest.raises(ValueError, match=rf"^exp_avg of first\.weight is \[{', '.join(map(str, shape))}\], not \[4, 2"):
        load_optimizer(model, AdamW(model.parameters()), {"first.weight:exp_avg": torch.zeros(shape)})
