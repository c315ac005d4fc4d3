"""Weights of a whole network, its decoder included, loaded by their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from medalist.errors import WeightsError
from medalist.models.inputs import adapted_input

_COUNTER = "num_batches_tracked"
"""Batch norms count their batches under this name. Files of old versions of torch leave it out."""


def load_whole(network: nn.Module, state: Mapping[str, Tensor], first: str = "", ignored: Collection[str] = ()) -> None:
    """Load a state dict of the whole network, by name.

    A tensor with two names needs only one of them in the file. first: the name of the first convolution's weight, which
    is adapted to the number of input channels, see `adapted_input`. ignored: beginnings of names that the file may have
    though the network has not. Raises WeightsError, which names the first tensor that is missing, unknown, of another
    shape, or different under its two names.
    """
    own = network.state_dict()
    same: dict[int, list[str]] = {}
    for name, tensor in own.items():
        same.setdefault(tensor.data_ptr(), []).append(name)
    unknown = [name for name in state if name not in own and not name.startswith(tuple(ignored))]
    if unknown:
        raise WeightsError(f"the weights do not fit the network: it has no tensor {unknown[0]}{_others(unknown)}")
    found = {}
    for names in same.values():
        there = [name for name in names if name in state]
        if not there and not names[0].endswith(_COUNTER):
            raise WeightsError(f"the weights do not fit the network: {names[-1]} is missing")
        for name in there:
            found[name] = _fitted(name, state[name], own[name], first in names)
            if not torch.equal(state[name], state[there[0]]):
                raise WeightsError(f"{name} and {there[0]} are one tensor of the network, and differ in the weights")
    network.load_state_dict(found, strict=False)


def _fitted(name: str, have: Tensor, want: Tensor, is_first: bool) -> Tensor:
    if is_first and have.ndim == want.ndim == 4 and have.shape[1] != want.shape[1] and have.shape[0] == want.shape[0]:
        return adapted_input(have, want.shape[1], name)
    if have.shape != want.shape:
        raise WeightsError(
            f"the weights do not fit the network: {name} is {tuple(have.shape)}, not {tuple(want.shape)}"
        )
    return have


def _others(names: Sequence[str]) -> str:
    return f", nor {len(names) - 1} others of the file" if len(names) > 1 else ""
