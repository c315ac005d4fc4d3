from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medalist.engine.averaging import average_weights, recalibrate, wanted
from medalist.engine.checkpoint import save_weights
from medalist.engine.settings import AverageConfig
from medalist.errors import RunError
from medalist.tasks.segment.model_settings import TernausConfig
from medalist.tasks.segment.network import build_model


def rows(*losses: float | None) -> list[dict[str, float]]:
    return [
        {"epoch": float(number), **({} if loss is None else {"val_loss": loss})}
        for number, loss in enumerate(losses, start=1)
    ]


def best(count: int) -> AverageConfig:
    return AverageConfig(of="best", count=count)


def test_the_last_epochs() -> None:
    chosen = AverageConfig(of="last", count=3)
    kept = [wanted(rows(*[0.5] * done), chosen, 5) for done in range(6)]
    assert kept == [[], [], [], [3], [3, 4], [3, 4, 5]]
    assert wanted(rows(1, 1), AverageConfig(of="last", count=2), 2) == [1, 2]


def test_the_best_epochs() -> None:
    assert wanted(rows(0.3, None, 0.1, 0.2, float("nan")), best(2), 9) == [3, 4]
    assert wanted(rows(0.3, 0.2, 0.2, 0.2), best(2), 9) == [2, 3], "the earlier of equals"
    assert wanted(rows(None, 0.5), best(3), 9) == [2]
    assert wanted([], best(3), 9) == []


@given(st.lists(st.one_of(st.none(), st.integers(0, 5).map(float)), max_size=12), st.integers(2, 4), st.booleans())
def test_what_is_dropped_never_comes_back(losses: list[float | None], count: int, by_loss: bool) -> None:
    chosen = AverageConfig(of="best" if by_loss else "last", count=count)
    on_disk: set[int] = set()
    for done in range(1, len(losses) + 1):
        kept = set(wanted(rows(*losses[:done]), chosen, len(losses)))
        assert kept <= on_disk | {done}
        assert len(kept) <= count
        on_disk = kept
    last = {number for number in range(1, len(losses) + 1) if number > len(losses) - count}
    looked_at = sorted((loss, number) for number, loss in enumerate(losses, 1) if loss is not None)
    assert on_disk == ({number for _, number in looked_at[:count]} if by_loss else last)


def network(seed: int) -> nn.Module:
    """A convolution, a batch norm with statistics of its own, a convolution of halves."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    for _ in range(seed + 1):
        model(torch.randn(2, 3, 8, 8))
    model[3].to(torch.bfloat16)
    return model


def saved(folder: Path, count: int = 3) -> tuple[list[Path], list[dict[str, Tensor]]]:
    paths, states = [], []
    for number in range(count):
        path, model = folder / f"snapshot-{number + 1}.safetensors", network(number)
        save_weights(model, path)
        paths.append(path)
        states.append(dict(model.state_dict()))
    return paths, states


def test_the_mean_of_snapshots(tmp_path: Path) -> None:
    paths, states = saved(tmp_path)
    model = network(9)
    average_weights(model, paths)
    for name, value in model.state_dict().items():
        assert value.dtype == states[0][name].dtype
        if value.is_floating_point():
            mean = torch.stack([state[name].double() for state in states]).mean(0)
            torch.testing.assert_close(value, mean.to(value.dtype), rtol=0, atol=1e-9)
        else:
            assert torch.equal(value, states[-1][name]), "the count of batches is that of the last"
    average_weights(model, paths[:1])
    assert all(torch.equal(value, states[0][name]) for name, value in model.state_dict().items())


def test_sums_do_not_lose_small_differences(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    paths = []
    for number, value in enumerate([1e8, 1.0, -1e8]):
        nn.init.constant_(model.weight, value)
        paths.append(tmp_path / f"{number}.safetensors")
        save_weights(model, paths[-1])
    average_weights(model, paths)
    assert model.weight.item() == pytest.approx(1 / 3)  # zero in float32


def test_tensors_under_two_names(tmp_path: Path) -> None:
    """TernausNet has its convolutions twice; a file holds them once."""
    made = TernausConfig(kind="ternausnet11", weights="none", channels=("a",), filters=1)
    paths = []
    for number in range(2):
        model = build_model(made)
        for parameter in model.parameters():
            nn.init.constant_(parameter, number)
        paths.append(tmp_path / f"{number}.safetensors")
        save_weights(model, paths[-1])
    model = build_model(made)
    average_weights(model, paths)
    assert all((value == 0.5).all() for value in model.state_dict().values())
    assert model.get_parameter("encoder.0.weight") is model.get_submodule("conv1").weight


def test_snapshots_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    paths, _ = saved(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(RunError, match=r"snapshot-2.safetensors") as caught:
        average_weights(network(0), paths)
    assert "\n" not in str(caught.value)
    paths[1].unlink()
    with pytest.raises(RunError, match=r"snapshot-2.safetensors"):
        average_weights(network(0), paths)
    save_weights(nn.Linear(2, 2), paths[1])
    with pytest.raises(RunError, match=r"snapshot-2.safetensors"):
        average_weights(network(0), paths)


class Net(nn.Module):
    """Two norms behind each other, dropout, and a part that is in prediction mode on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3, momentum=0.2), nn.BatchNorm2d(3)
        self.drop, self.rest = nn.Dropout(0.5), nn.Dropout(0.5)
        self.rest.eval()

    def forward(self, image: Tensor) -> Tensor:
        image = self.rest(self.drop(self.first(image)).exp())
        second: Tensor = self.second(image)
        return second


def test_statistics_are_the_means_over_batches_without_dropout() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(size, 3, 4, 5) * size + size for size in (2, 3, 5)]
    model = Net()
    model(torch.randn(4, 3, 8, 8))
    modes = [part.training for part in model.modules()]
    weights = {name: value.clone() for name, value in model.named_parameters()}
    recalibrate(model, iter(batches))

    inner = [
        (b - b.mean((0, 2, 3), keepdim=True)) / (b.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        for b in batches
    ]
    for norm, seen in ((model.first, batches), (model.second, [b.exp() for b in inner])):
        assert norm.running_mean is not None and norm.running_var is not None
        mean = torch.stack([b.mean((0, 2, 3)) for b in seen]).mean(0)
        variance = torch.stack([b.var((0, 2, 3)) for b in seen]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-6)
        assert norm.num_batches_tracked == 3
    assert (model.first.momentum, model.second.momentum) == (0.2, 0.1)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())


def test_torchs_own_update_agrees_where_there_is_no_dropout() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(4, 3, 4, 4) for _ in range(3)]
    one, other = Net(), Net()
    other.drop.p = other.rest.p = 0.0
    recalibrate(one, batches)
    torch.optim.swa_utils.update_bn(batches, other)  # type: ignore[no-untyped-call]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


def test_without_batch_norms_no_batch_is_asked_for() -> None:
    def batches() -> Iterator[Tensor]:
        raise AssertionError
        yield

    recalibrate(nn.Linear(2, 2), batches())


def test_no_batches_leave_the_statistics() -> None:
    model = nn.BatchNorm1d(2)
    model(torch.randn(5, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recalibrate(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_return_after_a_failure() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))

    def broken(batch: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        recalibrate(model, [torch.randn(3, 2)], broken)
    assert model[1].training and model[0].momentum == 0.1
