from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from medalist.errors import WeightsError
from medalist.models.checkpoints import load_whole


class Net(nn.Module):
    """An encoder, one of whose layers has a second name."""

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(inputs, 4, 3), nn.BatchNorm2d(4))
        self.first = self.encoder[0]
        self.head = nn.Conv2d(4, 2, 1)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn_like(tensor.float()) for name, tensor in network.state_dict().items()} | {
        "first.weight": (weight := torch.randn(4, 3, 3, 3)),
        "encoder.0.weight": weight,
        "first.bias": (bias := torch.randn(4)),
        "encoder.0.bias": bias,
        "encoder.1.num_batches_tracked": torch.tensor(7),
    }


def test_every_tensor_arrives() -> None:
    network, state = Net(), state_of(Net())
    load_whole(network, state)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])


@pytest.mark.parametrize("left_out", ["first.weight", "encoder.0.weight", "encoder.1.num_batches_tracked"])
def test_one_of_two_names_is_enough_and_counters_may_lack(left_out: str) -> None:
    network, state = Net(), state_of(Net())
    short = {name: tensor for name, tensor in state.items() if name != left_out}
    load_whole(network, short)
    for name, tensor in short.items():
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head.weight": None}, "head.weight is missing"),
        ({"first.weight": None, "encoder.0.weight": None}, "first.weight is missing"),
        ({"encoder.1.running_var": None}, "encoder.1.running_var is missing"),
        ({"fc.weight": torch.zeros(1)}, "it has no tensor fc.weight"),
        ({"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, "fc.weight, nor 1 others of the file"),
        ({"head.weight": torch.zeros(5, 4, 1, 1)}, r"head.weight is \(5, 4, 1, 1\), not \(2, 4, 1, 1\)"),
        ({"first.weight": torch.zeros(4, 3, 3, 3)}, "first.weight and encoder.0.weight are one tensor of the network"),
        ({"first.weight": torch.zeros(4, 5, 3, 3)}, r"first.weight is \(4, 5, 3, 3\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(change: dict[str, Tensor | None], says: str) -> None:
    network = Net()
    before = copy.deepcopy(network.state_dict())
    state = {name: tensor for name, tensor in (state_of(network) | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=says):
        load_whole(network, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_names_may_be_ignored() -> None:
    network = Net()
    load_whole(network, state_of(network) | {"encoder.fc.weight": torch.zeros(1)}, ignored=("encoder.fc.",))


def test_the_first_convolution_takes_more_channels() -> None:
    network, state = Net(inputs=6), state_of(Net())
    load_whole(network, state, first="encoder.0.weight")
    weight = network.state_dict()["first.weight"]
    assert torch.allclose(weight.sum(dim=1), state["first.weight"].sum(dim=1), atol=1e-5)
    with pytest.raises(WeightsError, match=r"encoder.0.weight is \(4, 3, 3, 3\)"):
        load_whole(network, state)
