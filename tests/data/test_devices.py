"""What Apple's GPU (MPS) cannot do, on a stand-in for its tensors: they lie on the CPU, and refuse what MPS refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from medalist.data.devices import copies_beside, empty_cache, takes_channels_last, with_float64
from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import LabelTargets, MapTargets
from medalist.tasks.classify.loss_settings import CrossEntropyConfig
from medalist.tasks.classify.losses import LabelLoss
from medalist.tasks.classify.task import ClassifyTask
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.task import SegmentTask

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


class OnMps(Tensor):
    """A tensor that says that it is on MPS, and whose float64 is refused with the words of torch."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return MPS

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.as_subclass(Tensor)  # type: ignore[arg-type]

    def to(self, *words: Any, **others: Any) -> Tensor:
        return self if words == (MPS,) else super().to(*words, **others)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(made, OnMps) and torch.Tensor.dtype.__get__(made) == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return made


def on_mps(values: Tensor) -> Tensor:
    return values.as_subclass(OnMps)


def test_the_stand_in_refuses_float64() -> None:
    values = on_mps(torch.ones(3))
    assert values.device.type == "mps" and (values + 1).device.type == "mps"
    with pytest.raises(TypeError, match="float64"):
        values.double()
    with pytest.raises(TypeError, match="float64"):
        values.sum(dtype=torch.float64)
    assert with_float64(values).double().dtype == torch.float64
    here = torch.ones(3)
    assert with_float64(here) is here


def test_layout_and_copies() -> None:
    assert [takes_channels_last(device, True) for device in (CPU, CUDA, MPS)] == [True, True, False]
    assert not any(takes_channels_last(device, False) for device in (CPU, CUDA, MPS))
    assert [copies_beside(device) for device in (CPU, CUDA, MPS)] == [False, True, False]


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: asked.append("mps"))
    for device in (CPU, CUDA, MPS):
        empty_cache(device)
    assert asked == ["cuda", "mps"]


def batch_of(target: MapTargets | LabelTargets, count: int) -> Batch:
    return Batch(torch.zeros((count, 3, 8, 8)), target, tuple(range(count)), (Padding(8, 8),) * count)


def test_masks_are_validated_without_float64_on_the_device() -> None:
    torch.manual_seed(0)
    logits, maps = torch.randn(4, 2, 8, 8), (torch.rand(4, 2, 8, 8) < 0.3).float()
    task, fabric = SegmentTask(LossConfig(bce=1.0, dice=0.5), ("body", "border")), Fabric(accelerator="cpu")
    expected = task.validate(iter([(logits, batch_of(MapTargets(maps), 4))]), fabric)
    assert task.validate(iter([(on_mps(logits), batch_of(MapTargets(on_mps(maps)), 4))]), fabric) == expected


def test_labels_are_validated_without_float64_on_the_device() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    loss, fabric = LabelLoss(CrossEntropyConfig(kind="cross_entropy"), "abc", [2, 2, 2]), Fabric(accelerator="cpu")
    task = ClassifyTask(loss, "single", 3)
    expected = task.validate(iter([(logits, batch_of(LabelTargets(labels), 6))]), fabric)
    loss.weights = on_mps(loss.weights)
    assert task.validate(iter([(on_mps(logits), batch_of(LabelTargets(on_mps(labels)), 6))]), fabric) == expected
    assert np.isfinite(expected["val_loss"])
