from __future__ import annotations

import numpy as np
import pytest
import torch

from medalist.processors import release_buffers
from medalist.system import peak_memory
from medalist.tasks import peak_memory as measuring
from medalist.tasks.peak_memory import in_gb, peak_while

GB = 10**9


def test_the_peak_of_a_piece_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        torch.ones(50_000_000).sum()  # 200 MB

    for can_forget in (True, False):
        if not can_forget:
            monkeypatch.setattr(measuring, "forget_peak_memory", lambda: False)
        release_buffers()  # what other tests have freed would hold the work, and the process would not grow
        before = peak_while(lambda: None)
        during, after = peak_while(work), peak_while(lambda: None)
        assert during > before + 0.1 * GB
        if can_forget:
            assert after <= during and after <= peak_memory() + 0.01 * GB
    assert np.isfinite(before)


def test_bytes_are_rounded_up_to_a_tenth_of_a_gigabyte() -> None:
    assert [in_gb(size) for size in (1, 1e8, 1.0000001e9, 2e9)] == ["0.1 GB", "0.1 GB", "1.1 GB", "2.0 GB"]
