"""The file is also the program of one of the processes that its tests start: `test_devices.py FOLDER [DEVICE]`.

All trainings are done by one start of two processes, as their imports take longer than all of them.
"""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import safetensors.torch
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medalist.codecs.images import read_image
from medalist.data.cache import PixelCache
from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.dataset import InferenceDataset, TrainDataset
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import Batch, batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.settings import ClassSampler
from medalist.engine.devices import first_alone, open_fabric, together
from medalist.engine.job import TrainJob
from medalist.engine.settings import TrainConfig
from medalist.engine.train import fit, validate_held_out
from medalist.errors import MedalistError, RunError, TrainingError
from medalist.records import Sample
from medalist.reporter import TimedProgress
from medalist.tasks.embed.datasets import IdentityTrainDataset, label_target
from medalist.tasks.embed.losses.metric import MetricLoss, build_metric_loss
from medalist.tasks.embed.losses.settings import MetricLossConfig
from medalist.tasks.embed.task import EmbedTask
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.task import SegmentTask

pytestmark = pytest.mark.slow

TINY = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
"""The tiny training's network and samples; fixtures are not at hand in the other processes."""

SIZES, STRIDE = TINY["SIZES"] * 2 + TINY["SIZES"][:8], TINY["STRIDE"]
HELD_OUT = (1, 4, 8, 9, 10)
TRAINING = [number for number in range(len(SIZES)) if number not in HELD_OUT]
LABELS = [number % 5 for number in range(len(TRAINING))]
WORLD = 2
SEED = 5
SGD = {"optimizer": "sgd", "lr": 0.05, "schedule": "constant", "warmup": 0.0, "clip": 0.0, "evaluate_every": 0}
"""Adam divides by the size of a gradient, and so makes much of the last bits of those that are nearly zero."""

PAIRED = ("triplet", "contrastive", "prototype")


class Spy(SegmentTask):
    """Keeps the loss of each batch; `spoil` may change it."""

    def __init__(self, spoil: Callable[[int, Tensor], Tensor] = lambda step, loss: loss):
        super().__init__(LossConfig(bce=1.0), ("body", "border"))
        self.losses: list[Tensor] = []
        self.spoil = spoil

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        made = dict(super().loss(outputs, batch))
        if not torch.is_inference_mode_enabled():
            made["loss"] = self.spoil(len(self.losses), made["loss"])
            self.losses.append(made["loss"].detach())
        return made


class EmbedSpy(EmbedTask):
    """Keeps the loss of each batch."""

    def __init__(self, criterion: MetricLoss):
        super().__init__(criterion)
        self.losses: list[Tensor] = []

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        made = dict(super().loss(outputs, batch))
        self.losses.append(made["loss"].detach())
        return made


class Embedding(nn.Module):
    """float32[B, 3, h, w] -> unit vectors float32[B, 4]."""

    def __init__(self, criterion: MetricLoss):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(6 * 2 * 2, 4))
        self.criterion = criterion

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.normalize(self.head(self.encoder(image)), dim=-1)


def filled() -> PixelCache:
    samples = [Sample(f"s{number}", (Path("none"),), size) for number, size in enumerate(SIZES)]
    cache = PixelCache(TINY["blobs"], samples)
    cache.fill(10_000_000)
    return cache


def segmenting(fabric: Fabric, folder: Path, task: Spy | None = None, **settings: Any) -> TrainJob:
    """A training of pixels: no dropout; the same crops on any number of processes."""
    config = TrainConfig(**{"epochs": 2, "batch": 4 // fabric.world_size, **SGD, **settings})
    cache, rank, world = filled(), fabric.global_rank, fabric.world_size
    # No crop is padded: padding is void, and each process takes means over the judged pixels of its own samples.
    inside = ({"RandomCrop": {"height": 8, "width": 8}}, {"D4": {}})
    train_set = TrainDataset(cache, TRAINING, inside, TINY["NORM"], SEED)
    held_set = InferenceDataset(cache, HELD_OUT, STRIDE, TINY["NORM"], read_image)
    held_order = SizeBucketSampler([SIZES[number] for number in HELD_OUT], STRIDE, 2, rank, world)
    torch.manual_seed(11)
    return TrainJob(
        fabric=fabric,
        task=task or Spy(),
        model=TINY["Tiny"](dropout=0.0),
        train=batches(train_set, ShuffleBatchSampler(len(train_set), config.batch, SEED, rank, world), 0),
        held_out=batches(held_set, held_order, 0),
        config=config,
        seed=SEED,
        fold=0,
        folder=folder,
        names=[sample.id for sample in cache.samples],
    )


def embedding(fabric: Fabric, folder: Path, kind: str) -> TrainJob:
    """A training of vectors, of 4 identities with 2 samples each in a step."""
    job = segmenting(fabric, folder, lr=0.01)
    term = {"kind": kind} | ({"miner": "hard", "memory": 16} if kind == "triplet" else {})
    cache, rank, world = filled(), fabric.global_rank, fabric.world_size
    train_set = IdentityTrainDataset(cache, TRAINING, LABELS, TINY["AUGMENT"], TINY["NORM"], SEED)
    order = ClassBatchSampler(
        LABELS, ClassSampler(kind="pxk", classes=4 // world, per_class=2), SEED, None, rank, world
    )
    torch.manual_seed(12)
    criterion = build_metric_loss(MetricLossConfig(terms=[term]), 4, [LABELS.count(label) for label in range(5)])
    targets = [label_target(label) for label in (0, 1, 0, 1, 1)]
    held_set = FittedInferenceDataset(cache, HELD_OUT, (9, 13), TINY["NORM"], read_image, targets=targets)
    held_order = SizeBucketSampler([(9, 13)] * len(HELD_OUT), 1, 2, rank, world)
    return replace(
        job,
        task=EmbedSpy(criterion),
        model=Embedding(criterion),
        train=batches(train_set, order, 0),
        held_out=batches(held_set, held_order, 0),
    )


def trained(job: TrainJob) -> dict[str, Tensor]:
    """Train; the loss of each step as the mean over processes, and this process's weights in the end."""
    assert isinstance(job.task, Spy | EmbedSpy)
    fit(job, lambda row: None, TimedProgress(lambda _: None, "test", job.steps, None))
    losses = job.fabric.all_reduce(torch.stack(job.task.losses), reduce_op="mean")
    assert isinstance(losses, Tensor)
    return {"losses": losses, **{name: value.clone() for name, value in job.model.state_dict().items()}}


def without_dice(fabric: Fabric, folder: Path) -> dict[str, Tensor]:
    return trained(segmenting(fabric, folder / "plain"))


def unsynced(fabric: Fabric, folder: Path) -> dict[str, Tensor]:
    with patch("medalist.engine.train.synchronised", lambda model, device, world: model):
        return trained(segmenting(fabric, folder / "unsynced"))


def accumulated(fabric: Fabric, folder: Path) -> dict[str, Tensor]:
    """Twelve batches an epoch, the last of them a group of two; gradients clipped, after the processes joined them."""
    settings = {"batch": 2 // fabric.world_size, "accumulate": 5, "clip": 0.05, "epochs": 1}
    return trained(segmenting(fabric, folder / "accumulated", **settings))


def thawed(fabric: Fabric, folder: Path) -> dict[str, Tensor]:
    return trained(segmenting(fabric, folder / "thawed", freeze=1, epochs=3))


def looked(fabric: Fabric, folder: Path) -> dict[str, Tensor]:
    """Figures of looks: of several batches, and of one, which leaves the second process none; and of vectors."""
    job, figures = segmenting(fabric, folder / "looked"), {}
    cache, rank, world = filled(), fabric.global_rank, fabric.world_size
    for number, indices in enumerate((HELD_OUT, HELD_OUT[-1:])):
        held_set = InferenceDataset(cache, indices, STRIDE, TINY["NORM"], read_image)
        order = SizeBucketSampler([SIZES[index] for index in indices], STRIDE, 2, rank, world)
        job = replace(job, held_out=batches(held_set, order, 0))
        for name, value in validate_held_out(job, job.model).items():
            figures[f"{name} {number}"] = torch.tensor(value, dtype=torch.float64)
    vectors = embedding(fabric, folder / "looked", "triplet")
    return figures | {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in validate_held_out(vectors, vectors.model).items()
    }


def paired(fabric: Fabric, folder: Path, kind: str) -> dict[str, Tensor]:
    return trained(embedding(fabric, folder / kind, kind))


PARTS: dict[str, Callable[[Fabric, Path], dict[str, Tensor]]] = {
    "plain": without_dice,
    "unsynced": unsynced,
    "accumulated": accumulated,
    "thawed": thawed,
    **{kind: lambda fabric, folder, kind=kind: paired(fabric, folder, kind) for kind in PAIRED},  # type: ignore[misc]
}


def work(folder: Path) -> None:
    """All that one of the processes does; what goes wrong in the last part ends it."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    fabric = open_fabric("32-true")
    rank = fabric.global_rank
    for name, part in PARTS.items():
        torch.save({key: value.cpu() for key, value in part(fabric, folder).items()}, folder / f"{name}-{rank}.pt")
    torch.save(looked(fabric, folder), folder / f"looked-{rank}.pt")
    torch.save(in_turn(fabric, folder), folder / f"turn-{rank}.pt")
    one_goes_wrong(fabric, folder)


def in_turn(fabric: Fabric, folder: Path) -> dict[str, str]:
    """What `first_alone` does with a value, and with a mistake, of the first process."""
    file = folder / "first.txt"

    def write() -> str:
        if not file.exists():
            file.write_text(f"of {fabric.global_rank}")
        return file.read_text()

    def fail() -> str:
        if fabric.global_rank == 0:
            raise RunError("the first has failed")
        return "the others went on"

    found = {"value": first_alone(fabric, write)}
    try:
        found["mistake"] = first_alone(fabric, fail)
    except RunError as error:
        found["mistake"] = str(error)
    except SystemExit as end:
        found["mistake"] = f"exit {end.code}"
    return found


def one_goes_wrong(fabric: Fabric, folder: Path) -> None:
    """The loss of the second process alone is no number, in its third step."""

    def spoil(step: int, loss: Tensor) -> Tensor:
        return loss * (float("nan") if fabric.global_rank == 1 and step == 2 else 1)

    job = segmenting(fabric, folder / "wrong", Spy(spoil), epochs=8)
    try:
        with together(fabric):
            trained(job)
        line = "nothing"
    except MedalistError as error:
        line = f"{type(error).__name__}: {error}"
    (folder / f"wrong-{fabric.global_rank}.txt").write_text(line)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Here as in the other processes: kernels share sums out to threads, so their number is in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kind(request: pytest.FixtureRequest) -> str:
    """The devices on which all is done."""
    found: str = request.param
    if found == "cuda" and torch.cuda.device_count() < WORLD:
        pytest.skip(f"needs {WORLD} GPUs, here are {torch.cuda.device_count()}")
    return found


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what they computed."""
    found = tmp_path_factory.mktemp(kind)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(WORLD),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        **({"CUDA_VISIBLE_DEVICES": ""} if kind == "cpu" else {}),
    }
    run_all([sys.executable, __file__, str(found)], shared)
    return found


def run_all(command: Sequence[str], shared: dict[str, str]) -> None:
    started = [
        subprocess.Popen(
            command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(WORLD)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def alone(kind: str) -> Fabric:
    return Fabric(accelerator=kind, devices=1)


def results(folder: Path, name: str) -> list[dict[str, Tensor]]:
    return [torch.load(folder / f"{name}-{rank}.pt") for rank in range(WORLD)]


def digest(found: dict[str, Tensor]) -> str:
    return sha256(safetensors.torch.save({name: value.contiguous() for name, value in found.items()})).hexdigest()


@pytest.mark.parametrize("name", sorted(PARTS.keys() - {"unsynced"}))
def test_all_processes_end_with_the_same_weights(folder: Path, name: str) -> None:
    assert len({digest(found) for found in results(folder, name)}) == 1


@pytest.mark.parametrize("name", ["plain", "accumulated", "thawed", *PAIRED])
def test_two_processes_train_as_one_on_the_joined_batches(
    folder: Path, name: str, alone: Fabric, tmp_path: Path
) -> None:
    one, many = PARTS[name](alone, tmp_path), results(folder, name)[0]
    assert many.keys() == one.keys()
    assert len(one["losses"]) > 5 and one["losses"].std() > 0
    for key, expected in one.items():
        torch.testing.assert_close(
            many[key], expected.cpu(), rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_norms_that_look_at_their_own_batch_alone_train_otherwise(folder: Path) -> None:
    """So the comparison above can fail."""
    plain, unsynced = results(folder, "plain")[0], results(folder, "unsynced")[0]
    assert (plain["losses"] - unsynced["losses"]).abs().max() > 1e-3
    assert (plain["decoder.2.weight"] - unsynced["decoder.2.weight"]).abs().max() > 1e-3


def test_an_encoder_that_rested_moves_in_all_processes(folder: Path, alone: Fabric, tmp_path: Path) -> None:
    before = segmenting(alone, tmp_path).model.state_dict()
    for found in results(folder, "thawed"):
        assert all(
            not torch.equal(found[name], before[name]) for name in ("encoder.0.weight", "encoder.1.running_mean")
        )


def test_a_look_has_the_same_figures_to_the_last_bit(folder: Path, alone: Fabric, tmp_path: Path) -> None:
    """Also in a process that had nothing to look at."""
    one = looked(alone, tmp_path)
    for found in results(folder, "looked"):
        assert {name: float(value) for name, value in found.items()} == {
            name: float(value) for name, value in one.items()
        }
    assert {"dice_body 0", "dice_body 1", "val_loss 1", "recall@1", "map@5"} <= set(one)


def test_one_works_and_the_others_find_it(folder: Path) -> None:
    first, second = results(folder, "turn")
    assert first["value"] == second["value"] == "of 0"
    assert first["mistake"] == "the first has failed" and second["mistake"] == "exit 2"


def test_a_loss_that_is_no_number_is_told_by_the_process_that_has_it(folder: Path) -> None:
    first, second = ((folder / f"wrong-{rank}.txt").read_text() for rank in range(WORLD))
    order = ShuffleBatchSampler(len(TRAINING), 2, SEED, 1, WORLD)
    ids = ",".join(f"s{TRAINING[key[1]]}" for key in list(order)[2])
    assert second.startswith(f"{TrainingError.__name__}: fold 0: the loss is nan in epoch 1; ") and ids in second
    assert first.startswith(f"{RunError.__name__}: process 0 of 2 lost contact with another process; ")


def test_alone_there_is_nobody_to_wait_for(alone: Fabric) -> None:
    assert first_alone(alone, lambda: 5) == 5
    with pytest.raises(RuntimeError, match="gloo"), together(alone):
        raise RuntimeError("gloo")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
