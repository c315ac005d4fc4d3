"""The optimiser and its groups of parameters; an encoder that rests for the first epochs."""

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
    """Groups: encoder and rest, each with and without weight decay (none on biases and norms).

    With layer_decay below 1 the encoder's groups are those of its layers (`layers_of`): the last learns at
    lr * encoder_lr, each one before it at layer_decay times the rate of the one after it. Parameters that do not
    require gradients are in no group. The highest rates stand in group["lr"], `scaled_lr` for the rest.
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
        # One pass over all weights, a fifth of a small network's step; but it would scale the gradients of fp16 itself,
        # and those could then not be clipped.
        return AdamW(settings, fused=config.precision != "16-mixed")
    return SGD(settings, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0)


def scaled_lr(config: TrainConfig, processes: int) -> float:
    """The highest learning rate on so many processes, whose batches make one step together.

    `linear` is of arXiv 1706.02677 and keeps the mean of what SGD does over as many samples; `sqrt` keeps its
    variance, and is what Adam asks for (arXiv 2205.10287).
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
    """The layer of each parameter of an encoder, 0 at its input; `names` are in the order of registration.

    A layer is a block of the encoder, told by the numbers in its name: `layer1.0`, `blocks.3.1`, `stages_0.blocks.2`.
    What is registered before the first block is layer 0, the stem. What stands between blocks, as a downsampling, or
    after the last, as a norm, belongs to the block beside it with more of its name in common, else to the one before.
    Networks without such blocks (VGG) have a layer for each numbered module, and where nothing is numbered, one for
    each of the outermost modules with a name of their own.
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
    """The path of the block that a parameter is in: up to the last of the first numbers that follow each other.

    A number in the name of the innermost module (`conv1`, `downsample.1`) or of a usual part of a block is none, nor is
    one with a word after one without (`6.branch1`).
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
    """Whether blocks are inside of it: a stage, of which a parameter stands beside its blocks."""
    return any(other is not None and len(other) > len(key) and other[: len(key)] == key for other in keys)


def _next_keys(keys: Sequence[tuple[str, ...] | None]) -> list[tuple[str, ...] | None]:
    following: tuple[str, ...] | None = None
    found = []
    for key in reversed(keys):
        following = key or following
        found.append(following)
    return found[::-1]


def _shared(*paths: tuple[str, ...]) -> int:
    """How many first components are the same in all."""
    count = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return count


def freeze(model: nn.Module) -> tuple[str, ...]:
    """Let the encoder's parameters rest: they require no gradients until `unfreeze` is given the names returned.

    Those that never learn, as fixed positions, are not among them. `train_mode` keeps its batch norms as they are.
    ConfigError where the network has no encoder of its own.
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
    """Let the parameters that `freeze` named learn again; the optimiser knows of them after `regroup` only."""
    for name in names:
        model.get_parameter(name).requires_grad_(True)


def train_mode(model: nn.Module, frozen: bool) -> None:
    """Training mode; while `frozen`, prediction mode for the encoder: no dropout, batch norms with their statistics."""
    model.train()
    if frozen:
        model.get_submodule("encoder").eval()


def regroup(optimizer: Optimizer, model: nn.Module, config: TrainConfig, processes: int = 1) -> Optimizer:
    """An optimiser of all parameters that learn now; what `optimizer` knows of its own goes on as it is.

    Moments and counts of steps are the same tensors as before, so `optimizer` must not be used any more. Those that
    are new to it start as in `make_optimizer`, and so do the rates.
    """
    made = make_optimizer(model, config, processes)
    for group in made.param_groups:
        for parameter in group["params"]:
            if parameter in optimizer.state:
                made.state[parameter] = optimizer.state[parameter]
    return made
