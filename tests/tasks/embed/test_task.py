from __future__ import annotations

import json
import multiprocessing as mp
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import LabelTargets
from medalist.tasks.embed.losses.metric import build_metric_loss
from medalist.tasks.embed.losses.settings import MarginTerm, MetricLossConfig, SupConTerm
from medalist.tasks.embed.task import EmbedTask


def task(memory: int = 0) -> EmbedTask:
    terms = (MarginTerm(kind="arcface"), SupConTerm(kind="supcon", memory=memory))
    torch.manual_seed(0)
    return EmbedTask(build_metric_loss(MetricLossConfig(terms=terms), 4, [3, 3, 3]))


def batch_of(indices: list[int], labels: list[int]) -> Batch:
    paddings = tuple(Padding(1, 1) for _ in indices)
    return Batch(torch.zeros(len(indices), 1), LabelTargets(torch.tensor(labels)), tuple(indices), paddings)


def unit(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 4, generator=generator), dim=-1)


def validated(*seen: tuple[Tensor, Batch]) -> dict[str, float]:
    batches: Iterator[tuple[Tensor, Batch]] = iter(seen)
    return task().validate(batches, Fabric(accelerator="cpu", devices=1))


def test_the_loss_is_the_criterions() -> None:
    one, vectors = task(), unit(4)
    losses = one.loss(vectors, batch_of([0, 1, 2, 3], [0, 0, 1, 2]))
    expected = one.criterion(vectors, torch.tensor([0, 0, 1, 2]))
    assert losses.keys() == {"loss", "arcface", "supcon"}
    assert all(torch.equal(losses[name], expected[name]) for name in losses)


def test_an_epoch_begins_without_memory() -> None:
    one, batch = task(memory=100), batch_of([0, 1, 2, 3], [0, 0, 1, 2])
    first = one.loss(unit(4), batch)["loss"]
    second = one.loss(unit(4), batch)["loss"]
    assert not torch.equal(first, second), "the memory counts"
    one.begin_epoch(1)
    assert torch.equal(one.loss(unit(4), batch)["loss"], first)


def test_a_validation_is_leave_one_out_over_all_batches() -> None:
    """0 and 1 are alike, 2 and 3 are not, 4 has nobody."""
    vectors = torch.eye(4)[[0, 0, 1, 2, 3]]
    vectors[3] = torch.tensor([0.0, 0.1, 0.99499, 0.0])
    labels = [7, 7, 8, 8, 9]
    whole = validated((vectors, batch_of([0, 1, 2, 3, 4], labels)))
    # 2 is asked: 3 has 0.1, others 0: right. 3 is asked: 2 has 0.1, others 0: right.
    assert whole["recall@1"] == 1.0 and whole["map@5"] == 1.0 and whole["val_loss"] == 0.0
    vectors[4] = vectors[3]
    swapped = validated((vectors[3:], batch_of([3, 4], [8, 9])), (vectors[:3], batch_of([0, 1, 2], [7, 7, 8])))
    # Now 4 stands before the right answer of 2 (by a tie, the earlier sample wins: 3) and of 3.
    assert swapped["recall@1"] == pytest.approx(3 / 4)
    assert swapped["recall@5"] == 1.0
    assert swapped["map@5"] == pytest.approx((1 + 1 + 1 + 1 / 2) / 4)
    assert swapped["val_loss"] == pytest.approx(1 - swapped["map@5"])


def test_a_validation_does_not_depend_on_batches() -> None:
    vectors, labels = unit(40), (np.arange(40) % 7).tolist()
    whole = validated((vectors, batch_of(list(range(40)), labels)))
    order = np.random.default_rng(0).permutation(40).tolist()
    parts = [order[start : start + 9] for start in range(0, 40, 9)]
    assert validated(*((vectors[part], batch_of(part, [labels[n] for n in part])) for part in parts)) == whole


def shared_validation(rank: int, meeting: str, out: str) -> None:
    """One of two processes: it sees every other batch of seven samples."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    vectors, labels = unit(40), (np.arange(40) % 7).tolist()
    parts = [list(range(start, min(start + 7, 40))) for start in range(0, 40, 7)][rank::2]
    seen = iter([(vectors[part], batch_of(part, [labels[n] for n in part])) for part in parts])
    found = task().validate(seen, SimpleNamespace(world_size=2))  # type: ignore[arg-type]
    Path(f"{out}{rank}").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_processes_see_what_one_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    context = mp.get_context("fork")
    meeting, out = str(tmp_path / "meeting"), str(tmp_path / "found")
    pair = [context.Process(target=shared_validation, args=(rank, meeting, out)) for rank in (0, 1)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
    vectors, labels = unit(40), (np.arange(40) % 7).tolist()
    alone = validated((vectors, batch_of(list(range(40)), labels)))
    assert [json.loads(Path(f"{out}{rank}").read_text()) for rank in (0, 1)] == [alone, alone]


def test_held_out_samples_that_are_all_alone_have_nothing_to_find() -> None:
    assert validated((unit(3), batch_of([0, 1, 2], [0, 1, 2]))) == {"val_loss": 1.0}
    assert validated() == {"val_loss": 1.0}
