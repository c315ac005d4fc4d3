"""Facts about an encoder from timm: its full name, its input statistics, and whether a state dict fits it."""

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
_BY_ORDER = "_conv_stem.weight"  # the first tensor name in state dicts of the EfficientNet-PyTorch family


def check_encoder(encoder: str) -> PretrainedCfg:
    """Return timm's pretrained configuration of an encoder, "name" or "name.tag".

    Raises ConfigError, which names the most similar timm names, or the most similar tag of this encoder.
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
    """Return the encoder's name with the tag of its weights: "resnet34" -> "resnet34.a1_in1k".

    Raises ConfigError where timm does not know the encoder.
    """
    tag = check_encoder(encoder).tag
    base = encoder.partition(".")[0]
    return f"{base}.{tag}" if tag else base


def statistics(encoder: str, in_channels: int = 3) -> Statistics:
    """Return the mean and std that an encoder's weights were trained with, for `in_channels` channels in 0..1.

    For other numbers of channels than 3 the statistics follow the change of the first convolution. One channel gets the
    average of the three, because the convolution's weights are summed. More channels repeat the three in turn.
    """
    cfg = check_encoder(encoder)
    return adapted((tuple(cfg.mean), tuple(cfg.std)), in_channels)


def adapted(values: Statistics, in_channels: int) -> Statistics:
    """Return statistics of 3 channels adapted to `in_channels` channels; see `statistics`."""

    def fit(three: tuple[float, ...]) -> tuple[float, ...]:
        if in_channels == 1:
            return (sum(three) / len(three),)
        return tuple(three[i % len(three)] for i in range(in_channels))

    return fit(values[0]), fit(values[1])


def fitted_state(encoder: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of timm's whole classifier `encoder`, under timm's names; every tensor is checked.

    `state` may be one of timm's own state dicts (older forms too, because timm converts them), or one of the
    EfficientNet-PyTorch family, whose tensors come in timm's order under other names. It may have any number of
    classes, or no classifier. Raises WeightsError, which names the first tensor that is missing, unknown or of another
    shape.
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
    """Return the number of classes of the classifier in `state`; 0 where `state` has no classifier."""
    names = cfg.classifier if isinstance(cfg.classifier, str | None) else next(iter(cfg.classifier), None)
    if cfg.label_offset:
        return int(cfg.num_classes)  # timm itself removes the extra background class
    for suffix in (".weight", ".bias"):
        head = state.get(f"{names}{suffix}")
        if head is not None and head.ndim:
            return int(head.shape[0])
    old_head = state.get("classifier.6.weight")  # torchvision's name in a VGG; timm converts it
    return int(old_head.shape[0]) if old_head is not None and old_head.ndim else 0


def _state_by_order(encoder: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of `state` to timm's names, one by one in order.

    Raises WeightsError where two tensors differ in shape or in the last part of their names.
    """
    with torch.device("meta"):
        ours: dict[str, Tensor] = timm.create_model(encoder).state_dict()
    if len(ours) != len(state):
        raise WeightsError(f"the weights hold {len(state)} tensors, encoder '{encoder}' has {len(ours)}")
    renamed = {}
    for (name, want), (their_name, have) in zip(ours.items(), state.items(), strict=True):
        if have.shape != want.shape or their_name.rpartition(".")[2] != name.rpartition(".")[2]:
            raise WeightsError(
                f"the weights do not fit encoder '{encoder}': found {their_name} {tuple(have.shape)}, "
                f"expected {name} {tuple(want.shape)}"
            )
        renamed[name] = have
    return renamed


def _first_line(error: BaseException) -> str:
    """Return the informative line of a load_state_dict error of several lines, cut to 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines or [type(error).__name__])[0]
    return text if len(text) <= 200 else text[:200] + " …"


@contextmanager
def quiet_timm() -> Iterator[None]:
    """Hide timm's notes on renamed models and on unused tensors, because this module does its own checks."""
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
    """Delete the state dict that timm keeps in a model's configuration after it has loaded weights from it."""
    for module in model.modules():
        for attribute in ("pretrained_cfg", "default_cfg"):
            cfg: Any = getattr(module, attribute, None)
            if isinstance(cfg, dict):
                cfg.pop("state_dict", None)
