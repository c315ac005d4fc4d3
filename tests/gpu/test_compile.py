"""`train.compile` by inductor: the same training, and weights under their plain names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from medalist.engine.checkpoint import load_weights
from medalist.engine.job import TrainJob

Make = Callable[..., TrainJob]
Trained = Callable[[TrainJob], tuple[list[float], dict[str, torch.Tensor]]]

pytestmark = [
    # Inductor and what it imports warn of things that are theirs, differently in each version.
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(
        not any(map(shutil.which, ("cc", "gcc", "clang", "c++", "g++"))), reason="inductor needs a C compiler"
    ),
]
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.005, "epochs": 2}


@pytest.fixture(
    params=[
        "cpu aot_eager",  # all but the generated code, which takes a processor a minute
        pytest.param("cpu inductor", marks=pytest.mark.slow),
        pytest.param("cuda inductor", marks=pytest.mark.gpu),
    ]
)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device, for which torch.compile takes the backend that stands beside it."""
    device, backend = str(request.param).split()
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if device == "cuda" and find_spec("triton") is None:
        pytest.skip("inductor needs triton on a GPU")
    if backend != "inductor":
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    counters.clear()
    return device


def test_compiled_training_is_the_plain_one(make: Make, trained: Trained, place: str, exact: None) -> None:
    def job(name: str, **settings: Any) -> TrainJob:
        return make(place, name, network="plain", **SGD, **settings)

    expected, weights = trained(job("plain"))
    assert not counters["stats"], "nothing was compiled"
    found, compiled = trained(job("compiled", compile=True))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], counters
    assert found == pytest.approx(expected, rel=1e-3)
    assert compiled.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(compiled[name], value, rtol=0.01, atol=5e-3)
    load_weights(job("other").model, job("compiled").folder / "last.safetensors")


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("cpu aot_eager", marks=pytest.mark.slow),
        pytest.param("cuda inductor", marks=pytest.mark.gpu),
    ],
    indirect=True,
)
def test_a_real_network_compiles(make: Make, trained: Trained, place: str) -> None:
    """In bfloat16 with averaged weights; on processors also what would take a GPU another minute of compiling."""
    settings: dict[str, Any] = {"precision": "bf16-mixed", "ema": 0.9, **SGD}
    if place == "cpu":
        settings |= {"grad_checkpointing": True, "sizes": [{"epochs": 1, "size": [32, 32]}]}
    expected, weights = trained(make(place, "plain", **settings))
    found, compiled = trained(make(place, "compiled", compile=True, **settings))
    assert counters["stats"]["unique_graphs"] >= 1 and not counters["graph_break"], counters
    assert found == pytest.approx(expected, rel=0.05)
    assert compiled.keys() == weights.keys()
