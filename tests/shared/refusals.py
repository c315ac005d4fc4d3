"""What tests of refusals share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medalist.errors import MedalistError


def one_line(error: type[MedalistError], call: Callable[[], object]) -> str:
    """Return the message of the error that a call raises, which must be one line."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
