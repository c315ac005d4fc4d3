"""What timm knows of an encoder: its full name, its input statistics, and whether a state dict fits it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from medalist.errors import ConfigError, WeightsError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, std), one value for each input channel, for images scaled to 0..1."""

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BY_ORDER = "_conv_stem.weight"  # the first name in states of the EfficientNet-PyTorch family


def check_encoder(encoder: str) -> PretrainedCfg:
    """Return timm's pretrained configuration of an encoder, "name" or "name.tag".

    Raises ConfigError with the nearest timm names, or with the tags there are.
    """
    base, _, tag = encoder.partition(".")
    if base.startswith("tu-") and timm.is_model(base[3:]):
        raise ConfigError(f"encoder '{encoder}': write timm's own name, '{encoder[3:]}'")
    if ":" in encoder or "/" in encoder or not timm.is_model(base):
        near = get_close_matches(base, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; timm.list_models() has them all"
        raise ConfigError(f"encoder '{encoder}' is not in timm {timm.__version__}{hint}")
    try:
        known: PretrainedCfg | None = timm.get_pretrained_cfg(encoder)
    except RuntimeError as error:
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{base}.*")]
        near = get_close_matches(tag, tags, n=1, cutoff=0.0)
        hint = f"; did you mean {base}.{near[0]}?" if near else "; leave the tag out"
        raise ConfigError(f"encoder '{encoder}': {base} has no weights '{tag}'{hint}") from error
    return known if known is not None else PretrainedCfg()


def full_name(encoder: str) -> str:
    """The encoder with the tag of its weights: "resnet34" -> "resnet34.a1_in1k". Raises ConfigError."""
    tag = check_encoder(encoder).tag
    base = encoder.partition(".")[0]
    return f"{base}.{tag}" if tag else base


def statistics(encoder: str, in_channels: int = 3) -> Statistics:
    """Mean and std that an encoder's weights were trained with, for `in_channels` channels in 0..1.

    For other counts than 3 they follow what is done to the first convolution: one channel gets the average of
    the three (its weights are summed), more channels repeat them in turn.
    """
    cfg = check_encoder(encoder)
    return adapted((tuple(cfg.mean), tuple(cfg.std)), in_channels)


def adapted(values: Statistics, in_channels: int) -> Statistics:
    """Statistics of 3 channels made to fit `in_channels`."""

    def fit(three: tuple[float, ...]) -> tuple[float, ...]:
        if in_channels == 1:
            return (sum(three) / len(three),)
        return tuple(three[i % len(three)] for i in range(in_channels))

    return fit(values[0]), fit(values[1])


def fitted_state(encoder: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of timm's whole classifier `encoder`, under timm's names, with every tensor accounted for.

    Takes timm's own states (older forms too, as timm itself converts them), and those of the
    EfficientNet-PyTorch family, whose tensors come in timm's order under other names. The number of classes
    may be any, or none.
    Raises WeightsError that names the first tensor that is missing, unknown or of another shape.
    """
    cfg = check_encoder(encoder)
    if _BY_ORDER in state:
        return _state_by_order(encoder, state)
    classes = _classes(cfg, state)
    overlay = {"state_dict": dict(state), "num_classes": classes}
    try:
        with quiet_timm(), torch.random.fork_rng(devices=[]):
            model: nn.Module = timm.create_model(
                encoder, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay
            )
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        raise WeightsError(f"the weights do not fit encoder '{encoder}': {_first_line(error)}") from error
    return dict(model.state_dict())


def _classes(cfg: PretrainedCfg, state: Mapping[str, Tensor]) -> int:
    """How many classes the head in `state` has; 0 where it has none."""
    names = cfg.classifier if isinstance(cfg.classifier, str | None) else next(iter(cfg.classifier), None)
    if cfg.label_offset:
        return int(cfg.num_classes)  # timm drops the extra background class itself
    for suffix in (".weight", ".bias"):
        head = state.get(f"{names}{suffix}")
        if head is not None and head.ndim:
            return int(head.shape[0])
    old_head = state.get("classifier.6.weight")  # torchvision's name in a VGG, which timm converts
    return int(old_head.shape[0]) if old_head is not None and old_head.ndim else 0


def _state_by_order(encoder: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensor by tensor; each pair must agree in shape and in the last part of its names."""
    with torch.device("meta"):
        ours: dict[str, Tensor] = timm.create_model(encoder).state_dict()
    if len(ours) != len(state):
        raise WeightsError(f"the weights hold {len(state)} tensors, encoder '{encoder}' has {len(ours)}")
    renamed = {}
    for (name, want), (their_name, have) in zip(ours.items(), state.items(), strict=True):
        if have.shape != want.shape or their_name.rpartition(".")[2] != name.rpartition(".")[2]:
            raise WeightsError(
                f"the weights do not fit encoder '{encoder}': {their_name} {tuple(have.shape)} stands where "
                f"{name} {tuple(want.shape)} is expected"
            )
        renamed[name] = have
    return renamed


def _first_line(error: BaseException) -> str:
    """The telling part of a many-line error of load_state_dict, on one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines or [type(error).__name__])[0]
    return text if len(text) <= 200 else text[:200] + " …"


@contextmanager
def quiet_timm() -> Iterator[None]:
    """Without timm's notes on renamed models and on tensors that features do not use: all is checked here."""
    logger = logging.getLogger("timm.models._builder")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def forget_state(model: nn.Module) -> None:
    """Drop the state dict that timm keeps inside the configuration of a model it has filled from one."""
    for module in model.modules():
        for attribute in ("pretrained_cfg", "default_cfg"):
            cfg: Any = getattr(module, attribute, None)
            if isinstance(cfg, dict):
                cfg.pop("state_dict", None)
