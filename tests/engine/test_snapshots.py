from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from medalist.engine.checkpoint import save_weights
from medalist.engine.snapshots import keep_snapshots, mean_network, snapshot
from medalist.errors import RunError


def network(seed: int) -> nn.Module:
    """A convolution of two channels and its batch norm, which has seen two batches."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    for _ in range(2):
        made(torch.randn(4, 3, 5, 5) * (1 + seed))
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kept(folder: Path, epochs: int) -> list[dict[str, Tensor]]:
    """Snapshots of so many epochs, and what is in them."""
    for epoch in range(1, epochs + 1):
        save_weights(network(epoch), snapshot(folder, epoch))
    return [safetensors.torch.load_file(snapshot(folder, epoch)) for epoch in range(1, epochs + 1)]


def test_snapshots_of_other_epochs_are_deleted(tmp_path: Path) -> None:
    kept(tmp_path, 12)
    others = ["best.safetensors", "last.safetensors", "state-0000000012.safetensors", "metrics.jsonl", "snapshot-note"]
    for name in others:
        (tmp_path / name).write_text("stays")
    keep_snapshots(tmp_path, [1, 12, 13])
    assert names(tmp_path) == sorted([*others, "snapshot-1.safetensors", "snapshot-12.safetensors"])
    keep_snapshots(tmp_path, [])
    assert names(tmp_path) == sorted(others)
    keep_snapshots(tmp_path / "not there", [])


def test_the_mean_of_epochs_and_of_their_statistics(tmp_path: Path) -> None:
    first, _, third = kept(tmp_path, 3)
    own = network(9)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    mean = mean_network(own, tmp_path, [1, 3], []).state_dict()
    for name, value in mean.items():
        if value.is_floating_point():
            assert torch.equal(value, ((first[name].double() + third[name].double()) / 2).float()), name
    assert int(mean["1.num_batches_tracked"]) == 2
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items()), "it is a copy"


def test_batch_norms_see_images(tmp_path: Path) -> None:
    """Their statistics become the means over batches of what the mean convolution gives."""
    kept(tmp_path, 2)
    torch.manual_seed(0)
    images = [torch.randn(4, 3, 6, 6) + number for number in range(3)]
    own = network(9)
    own.eval()
    mean = mean_network(own, tmp_path, [1, 2], iter(images))
    assert isinstance(mean, nn.Sequential) and not mean.training
    seen = [mean[0](image).transpose(0, 1).reshape(2, -1) for image in images]
    torch.testing.assert_close(mean[1].running_mean, torch.stack([one.mean(1) for one in seen]).mean(0))
    torch.testing.assert_close(mean[1].running_var, torch.stack([one.var(1) for one in seen]).mean(0))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half")])
def test_a_snapshot_that_is_not_whole_is_named(tmp_path: Path, damage: object) -> None:
    kept(tmp_path, 2)
    assert callable(damage)
    damage(snapshot(tmp_path, 2))
    with pytest.raises(RunError) as caught:
        mean_network(network(9), tmp_path, [1, 2], [])
    assert str(snapshot(tmp_path, 2)) in str(caught.value) and "\n" not in str(caught.value)
