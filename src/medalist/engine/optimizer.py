"""The optimiser and its groups of parameters; freezing of the encoder in the first epochs."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, assert_never

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError

_ENCODER = "encoder."
_NUMBERED = re.compile(r"[A-Za-z_]*\d+")
_PARTS = re.compile(r"(conv|bn|norm|fc|act|attn|mlp|ls|se|proj|cpe)")
_CONTAINERS = ("blocks", "layers")


def make_optimizer(model: nn.Module, config: TrainConfig, processes: int = 1) -> Optimizer:
    """Return the optimiser of the config. It has groups for the encoder and for all other parameters.

    Each of the two has one group with weight decay and one without it (biases and norms). With layer_decay below 1
    each layer of the encoder (`layers_of`) has its own groups: the last layer learns at lr * encoder_lr, and each
    earlier layer at layer_decay times the rate of the layer after it. Here lr is `scaled_lr`, the rate outside of the
    encoder. Parameters that do not require gradients are in no group. group["lr"] holds the highest rate of a group.
    """
    named = list(model.named_parameters())
    lr = scaled_lr(config, processes)
    layers: dict[str, int] = {}
    if config.layer_decay < 1:
        layers = layers_of([name for name, _ in named if name.startswith(_ENCODER)])
    last = max(layers.values(), default=0)
    groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in named:
        if parameter.requires_grad:
            groups[name.startswith(_ENCODER), layers.get(name, last), parameter.ndim > 1].append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": lr * (config.encoder_lr * config.layer_decay ** (last - layer) if encoder else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (encoder, layer, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    if config.optimizer == "adamw":
        # The fused optimiser makes one pass over all weights and saves a fifth of a small network's step. Under fp16 it
        # would unscale the gradients itself, and they could not be clipped before.
        return AdamW(settings, fused=config.precision != "16-mixed")
    return SGD(settings, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0)


def scaled_lr(config: TrainConfig, processes: int) -> float:
    """Return the highest learning rate for `processes` processes, whose batches make one step together.

    `linear` (arXiv 1706.02677) keeps the mean of SGD's change over the same number of samples. `sqrt` keeps the
    variance of that change, and is the rule for Adam (arXiv 2205.10287).
    """
    match config.lr_scale:
        case "none":
            return config.lr
        case "sqrt":
            return config.lr * math.sqrt(processes)
        case "linear":
            return config.lr * processes
        case _:
            assert_never(config.lr_scale)


def layers_of(names: Sequence[str]) -> dict[str, int]:
    """Return the number of the layer of each parameter of an encoder; layer 0 is at the input.

    `names` are in the order of registration. A layer is a block of the encoder, and a block is found by the numbers in
    its name: `layer1.0`, `blocks.3.1`, `stages_0.blocks.2`. Parameters before the first block are layer 0, the stem.
    Parameters between two blocks (a downsampling) or after the last block (a norm) belong to the block after them where
    its name shares more components with theirs, otherwise to the block before them. A network without such blocks (VGG)
    has a layer for each numbered module. Where no module is numbered, each outermost module with a name of its own is a
    layer.
    """
    split = [tuple(name.split(".")) for name in names]
    keys = [_block(path) for path in split]
    found = set(keys)
    keys = [None if key is None or _is_outer(key, found) else key for key in keys]
    if not any(keys):
        keys = [path[:-1] if len(path) > 1 and path[-2].isdecimal() else None for path in split]
    if not any(keys):
        start = _shared(*split) if len(split) > 1 else 0
        keys = [path[: start + 1] for path in split]
    order: dict[tuple[str, ...], int] = {}
    first = next((number for number, key in enumerate(keys) if key is not None), 0)
    for key in keys:
        if key is not None:
            order.setdefault(key, len(order) + (first > 0))
    after = _next_keys(keys)
    layers: dict[str, int] = {}
    before: tuple[str, ...] | None = None
    for name, path, key, following in zip(names, split, keys, after, strict=True):
        if key is not None:
            layers[name], before = order[key], key
        elif before is None:
            layers[name] = 0
        elif following is not None and _shared(path, following) > _shared(path, before):
            layers[name] = order[following]
        else:
            layers[name] = order[before]
    return layers


def _block(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the path of the block that holds a parameter: up to the last number of the first series of numbers.

    Three kinds of numbers do not count: the number of the innermost module (`conv1`, `downsample.1`), the number of a
    usual part of a block (`_PARTS`), and a number with a word that follows a number without one (`6.branch1`).
    """
    end = 0
    inner = path[:-2]
    for place, part in enumerate(inner):
        counted = part.isdecimal() or (_NUMBERED.fullmatch(part) and not _PARTS.match(part))
        if counted and (not end or part.isdecimal() or not inner[place - 1].isdecimal()):
            end = place + 1
        elif end and not (part in _CONTAINERS and place + 1 < len(inner) and inner[place + 1].isdecimal()):
            break
    return path[:end] or None


def _is_outer(key: tuple[str, ...], keys: set[tuple[str, ...] | None]) -> bool:
    """Whether `key` is a stage and not a block: it contains blocks, and a parameter beside these blocks."""
    return any(other is not None and len(other) > len(key) and other[: len(key)] == key for other in keys)


def _next_keys(keys: Sequence[tuple[str, ...] | None]) -> list[tuple[str, ...] | None]:
    following: tuple[str, ...] | None = None
    found = []
    for key in reversed(keys):
        following = key or following
        found.append(following)
    return found[::-1]


def _shared(*paths: tuple[str, ...]) -> int:
    """Return how many leading components are the same in all paths."""
    count = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return count


def freeze(model: nn.Module) -> tuple[str, ...]:
    """Freeze the encoder's parameters, and return their names for `unfreeze`.

    Frozen parameters require no gradients. Parameters that never learn, for instance fixed positions, are not among the
    names. `train_mode` keeps the encoder's batch norms unchanged. Raises ConfigError where the network has no encoder.
    """
    if not any(name == "encoder" for name, _ in model.named_children()):
        raise ConfigError("train.freeze: this network has no encoder to freeze; type train.freeze=0")
    names = []
    for name, parameter in model.named_parameters():
        if name.startswith(_ENCODER) and parameter.requires_grad:
            parameter.requires_grad_(False)
            parameter.grad = None
            names.append(name)
    return tuple(names)


def unfreeze(model: nn.Module, names: Sequence[str]) -> None:
    """Let the parameters that `freeze` named learn again. The optimiser has them only after `regroup`."""
    for name in names:
        model.get_parameter(name).requires_grad_(True)


def train_mode(model: nn.Module, frozen: bool) -> None:
    """Set training mode; a frozen encoder gets evaluation mode: no dropout, and batch norms use running statistics."""
    model.train()
    if frozen:
        model.get_submodule("encoder").eval()


def regroup(optimizer: Optimizer, model: nn.Module, config: TrainConfig, processes: int = 1) -> Optimizer:
    """Return a new optimiser of all parameters that learn now, with the moments of those that `optimizer` had.

    Moments and counts of steps are the same tensors as before, so `optimizer` must not be used any more. Parameters
    that were not in `optimizer`, and the rates of all, start as in `make_optimizer`.
    """
    made = make_optimizer(model, config, processes)
    for group in made.param_groups:
        for parameter in group["params"]:
            if parameter in optimizer.state:
                made.state[parameter] = optimizer.state[parameter]
    return made
