"""Trainings of each kind of network: interrupted, averaged, and on several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from ranks import together
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from medalist.data.loader import Batch
from medalist.data.targets import BoxTargets
from medalist.engine.devices import mean_over_processes, open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.syncnorm import synchronised
from medalist.engine.train import fit
from medalist.folds.folds import make_folds
from medalist.reporter import TimedProgress
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.jobs import build_job
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import ModelConfig
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.targets import all_boxes, object_target
from medalist.tasks.detect.task import DetectTask
from medalist.tasks.jobs import FoldPlace
from medalist.tasks.pixels import pixel_cache

from .conftest import Cells
from .test_dense import targets
from .test_detr import SMALL as SET
from .test_two_stage import SMALL, WHOLE

Read = Callable[..., DetectSettings]
STEPS = ("train={epochs: 2, batch: 4, ema: 0.7, lr: 0.003, schedule: constant, warmup: 0.0}", "checkpoint.steps=1")
FASTER = (
    "model={kind: faster_rcnn, encoder: test_resnet, weights: none, finest: 8, width: 16, hidden: 24, pooled: 3, "
    "proposals: 40, anchors_learned: 32, boxes_learned: 16}"
)
DETR = "model={kind: detr, encoder: test_resnet, weights: none, width: 32, hidden: 32, depth: 2, queries: 30}"
MISSING = pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra detr (transformers)")
KINDS = pytest.mark.parametrize(
    "model", [pytest.param(FASTER, id="faster_rcnn"), pytest.param(DETR, id="detr", marks=MISSING)]
)


class Interrupted(DetectTask):
    """Ctrl-C at one training loss."""

    left = 0

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:  # type: ignore[override]
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().loss(outputs, batch)


def job_of(cells: Cells, settings: DetectSettings, folder: Path) -> TrainJob:
    contest = cells.contest()
    samples = contest.split.train
    folds = make_folds(samples, settings.folds)
    cache = pixel_cache(contest, settings, partial(object_target, contest), folder)
    own = all_boxes(contest, samples)
    classes = ("RBC", "WBC", "Platelets")
    return build_job(settings, open_fabric("32-true"), cache, own, classes, FoldPlace(folds, 0, folder), None)


def progress() -> TimedProgress:
    return TimedProgress(lambda _: None, "test", 1000, None)


@KINDS
@pytest.mark.slow
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    drawn_cells: Cells, settings_of: Read, tmp_path: Path, model: str
) -> None:
    settings = settings_of(model, *STEPS)
    whole = job_of(drawn_cells, settings, tmp_path / "whole")
    fit(whole, lambda row: None, progress())
    assert whole.steps == 4
    for at in (1, 3):  # in the middle of the first and of the second epoch
        job = job_of(drawn_cells, settings, tmp_path / str(at))
        task = Interrupted(job.task.criterion, job.task.limits, 3, settings.seed)  # type: ignore[attr-defined]
        task.left = at
        object.__setattr__(job, "task", task)
        with pytest.raises(KeyboardInterrupt):
            fit(job, lambda row: None, progress())
        again = job_of(drawn_cells, settings, tmp_path / str(at))
        fit(again, lambda row: None, progress())
        for name in ("last", "raw", "best"):
            one, other = (
                safetensors.torch.load_file(folder / f"{name}.safetensors") for folder in (whole.folder, again.folder)
            )
            assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    last, raw = (safetensors.torch.load_file(whole.folder / f"{name}.safetensors") for name in ("last", "raw"))
    assert any(not torch.equal(last[key], raw[key]) for key in last)


WHOLES: dict[str, ModelConfig] = {"faster_rcnn": WHOLE, "detr": SET}
BOXES = [[(4, 8, 24, 30, 0), (34, 30, 58, 50, 1)], [(10, 36, 30, 60, 1), (36, 4, 62, 26, 0)], [(3, 3, 50, 50, 1)], []]


def learned(kind: str, rank: int, world: int) -> dict[str, Tensor]:
    """The gradients and the loss of four images, shared out to the processes."""
    torch.manual_seed(0)
    model = WHOLES[kind]
    network, criterion = build_model(model, 2), build_criterion(model, LossConfig())
    image = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    own = slice(0, 4) if world == 1 else slice(2 * rank, 2 * rank + 2)
    whole = targets(*BOXES)
    target = BoxTargets(whole.xyxy[own], whole.labels[own])
    wrapped = network if world == 1 else DistributedDataParallel(synchronised(network, "cpu", world))
    found = criterion.losses(wrapped(image[own]).float(), target, (64, 64), mean_over_processes, range(4)[own])
    found["loss"].backward()
    loss = found["loss"].detach().clone()
    if world > 1:
        dist.all_reduce(loss)
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    assert len(gradients) == len(list(network.parameters()))
    return {"loss": loss / world, **gradients}


def work(kind: str, folder: Path, rank: int) -> None:
    torch.save(learned(kind, rank, 2), folder / f"{rank}.pt")


@pytest.mark.parametrize("kind", ["faster_rcnn", pytest.param("detr", marks=MISSING)])
def test_two_processes_are_as_one_with_the_joined_batch(kind: str, tmp_path: Path) -> None:
    together(2, tmp_path, partial(work, kind, tmp_path))
    one, both = learned(kind, 0, 1), [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert one.keys() == both[0].keys()
    for name, value in one.items():
        assert torch.equal(both[0][name], both[1][name]), name
        torch.testing.assert_close(both[0][name], value, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: name + text)
    assert SMALL.anchors_learned < WHOLE.anchors_learned  # all are drawn, so that no tie is decided by a rounding


@KINDS
@pytest.mark.slow
def test_a_plan_and_a_debugging(
    drawn_cells: Cells, medalist: Callable[..., object], tmp_path: Path, at_home: Path, model: str
) -> None:
    there, data = ("--runs", tmp_path / "runs"), ("--data", drawn_cells.data)
    planned = medalist(*there, "plan", drawn_cells.config, *data, "--seconds", "2", model)
    assert planned.code == 0, planned  # type: ignore[attr-defined]
    debugged = medalist(*there, "debug", drawn_cells.config, *data, "--steps", "3", model)
    assert debugged.code == 0, debugged  # type: ignore[attr-defined]
