"""A clock for tests of code that measures time."""

from __future__ import annotations

import pytest


class Hand:
    """A clock that replaces time.perf_counter. A test sets its time `now`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)
