from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from medalist.data.targets import IGNORED
from medalist.tasks.detect.assigned import BACKGROUND
from medalist.tasks.detect.sampling import drawn


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.sampled_from([BACKGROUND, IGNORED, 0, 1, 7]), max_size=60), st.integers(2, 20), st.integers(0, 9))
def test_as_many_are_drawn_as_torchvision_draws(numbers: list[int], most: int, seed: int) -> None:
    number = torch.tensor(numbers, dtype=torch.int64)
    chosen = drawn(number, most, 0.25, seeded(seed))
    labels = torch.where(number == BACKGROUND, 0, torch.where(number == IGNORED, -1, 1))
    objects, background = BalancedPositiveNegativeSampler(most, 0.25)([labels])
    assert int((labels[chosen] == 1).sum()) == int(objects[0].sum())
    assert int((labels[chosen] == 0).sum()) == int(background[0].sum())
    assert chosen.tolist() == sorted(set(chosen.tolist())) and not (labels[chosen] == -1).any()


def test_the_seed_alone_decides() -> None:
    number = torch.tensor([BACKGROUND] * 500 + [3] * 500)
    torch.manual_seed(1)
    first = drawn(number, 100, 0.5, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(first, drawn(number, 100, 0.5, seeded(5)))
    assert not torch.equal(first, drawn(number, 100, 0.5, seeded(6)))
    counts = torch.zeros(1000)
    for seed in range(400):
        counts[drawn(number, 100, 0.5, seeded(seed))] += 1
    assert counts.min() > 15 and counts.max() < 75  # each is drawn 40 times on average
