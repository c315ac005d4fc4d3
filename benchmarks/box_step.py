"""A training step of our detectors against torchvision's reference: the same network, batch and optimiser.

python benchmarks/box_step.py [--kind fcos retinanet] [--batch 4] [--size 256 320] [--rounds 20] [--threads 2]

The reference is torchvision's own class (`FCOS`, `RetinaNet`) over our encoder, pyramid and head, so that both sides
have the same layers with the same weights, and its loop is that of its training reference: the losses of
`model(images, targets)`, their sum, backward, step. Ours is the step of the loop: forward, `DetectTask.loss`, backward,
step. Both take turns in one process; the ratio of the medians is printed, above 1 where ours is faster. `step.py`
measures the loop around it.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import OrderedDict
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead

from medalist.data.targets import BoxTargets
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import FcosConfig, RetinaConfig
from medalist.tasks.detect.network import DenseDetector, build_model

CLASSES = 3
ENCODER = "tf_efficientnet_lite0"
CONFIGS = {
    "fcos": FcosConfig(kind="fcos", encoder=ENCODER, weights="none", width=128, depth=4),
    "retinanet": RetinaConfig(kind="retinanet", encoder=ENCODER, weights="none", width=128),
}


class Levels(nn.Module):
    """Our encoder and pyramid, as torchvision wants a backbone."""

    def __init__(self, network: DenseDetector, width: int):
        """`width`: of the levels."""
        super().__init__()
        self.encoder, self.neck, self.out_channels = network.encoder, network.neck, width

    def forward(self, image: Tensor) -> OrderedDict[str, Tensor]:
        """Return the levels by name."""
        return OrderedDict((str(number), one) for number, one in enumerate(self.neck(self.encoder(image))))


def reference(kind: str, network: DenseDetector, size: tuple[int, int]) -> nn.Module:
    """Return torchvision's detector with the layers of ours."""
    config = CONFIGS[kind]
    backbone, strides = Levels(network, config.width), config.strides
    plain: dict[str, Any] = {
        "min_size": min(size),
        "max_size": max(size),
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
    }
    head: Any = network.head
    if isinstance(config, FcosConfig):
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        made = FCOSHead(config.width, 1, CLASSES, config.depth)
        made.load_state_dict(head.state_dict())
        return FCOS(backbone, CLASSES, anchor_generator=anchors, head=made, **plain)
    sizes = tuple(tuple(stride * scale for scale in config.scales) for stride in strides)
    anchors = AnchorGenerator(sizes, (config.ratios,) * len(strides))
    made = RetinaNetHead(
        config.width, len(config.scales) * len(config.ratios), CLASSES, lambda width: nn.GroupNorm(32, width)
    )
    made.load_state_dict({name: value for name, value in head.state_dict().items() if name != "shapes"})
    return RetinaNet(backbone, CLASSES, anchor_generator=anchors, head=made, **plain)


def steps(kind: str, batch: int, size: tuple[int, int]) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return our step and the reference's; each returns its loss."""
    torch.manual_seed(0)
    config = CONFIGS[kind]
    ours = build_model(config, CLASSES)
    theirs = reference(kind, copy.deepcopy(ours), size)
    images = torch.randn(batch, 3, *size)
    corner = torch.rand(batch, 13, 2) * (torch.tensor(size[::-1]) - 60)
    boxes = torch.cat([corner, corner + 20 + 40 * torch.rand(batch, 13, 2)], dim=-1)
    labels = torch.randint(0, CLASSES, (batch, 13))
    target = BoxTargets(tuple(boxes), tuple(labels))
    listed = [{"boxes": one, "labels": of} for one, of in zip(boxes, labels, strict=True)]
    criterion = build_criterion(config, LossConfig())
    optimisers = [torch.optim.AdamW(model.parameters(), 1e-4) for model in (ours, theirs)]
    for model in (ours, theirs):
        model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = images.to(memory_format=torch.channels_last)

    def our_step() -> float:
        losses = criterion.losses(ours(last).float(), target, size, lambda value: value)
        return _update(losses["loss"], optimisers[0])

    def their_step() -> float:
        losses: dict[str, Tensor] = theirs(list(images), listed)
        return _update(torch.stack(list(losses.values())).sum(), optimisers[1])

    return our_step, their_step


def _update(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def main() -> None:
    """Print the times and the ratio of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", choices=sorted(CONFIGS), default=sorted(CONFIGS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for kind in given.kind:
        both = steps(kind, given.batch, tuple(given.size))
        times: list[list[float]] = [[], []]
        for number in range(given.rounds + 2):
            for side, step in enumerate(both):
                started = time.perf_counter()
                loss = step()
                if number >= 2:
                    times[side].append(time.perf_counter() - started)
                elif number == 0:
                    print(f"{kind}, {('ours', 'torchvision')[side]}: first loss {loss:.4f}")
        our, their = (median(one) for one in times)
        print(f"{kind}: ours {our:.3f} s, torchvision {their:.3f} s, {their / our:.2f} times as fast")


if __name__ == "__main__":
    main()
