from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.models.pooling import AttentionPool, GeM


@given(st.floats(1, 10), st.lists(st.floats(0.01, 10), min_size=2, max_size=6))
def test_gem_is_the_generalised_mean(power: float, values: list[float]) -> None:
    maps = torch.tensor(values).view(1, 1, 1, -1)
    mean = sum(value**power for value in values) / len(values)
    assert GeM(power)(maps).item() == pytest.approx(mean ** (1 / power), rel=1e-3)


def test_the_power_of_gem_is_learned_and_zeros_do_not_break_it() -> None:
    pool = GeM(3.0)
    pool(torch.zeros(1, 2, 3, 3)).sum().backward()
    assert pool.power.grad is not None and torch.isfinite(pool.power.grad)


def test_attention_begins_as_the_average_and_then_chooses() -> None:
    pool, maps = AttentionPool(2), torch.randn(3, 2, 4, 5)
    assert torch.allclose(pool(maps), maps.mean(dim=(2, 3)), atol=1e-6)
    with torch.no_grad():
        pool.query.weight[0, 0] = 1000.0
    place = maps[0, 0].argmax()
    assert torch.allclose(pool(maps)[0], maps[0].flatten(1)[:, place], atol=1e-4)
