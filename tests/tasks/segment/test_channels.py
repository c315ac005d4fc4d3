"""What output channels stand for."""

from __future__ import annotations

import pytest

from medalist.errors import ConfigError
from medalist.tasks.segment.channels import Activation, class_numbers, energy_level

STREET = ("road", "car", "sky")


@pytest.mark.parametrize(
    ("channels", "classes", "activation", "numbers"),
    [
        (("salt",), (), "sigmoid", (1,)),
        (("a", "b", "c"), (), "sigmoid", (1, 2, 3)),
        (("a", "b", "c"), (), "softmax", (0, 1, 2)),
        (("sky", "road"), STREET, "sigmoid", (2, 0)),
        (("car",), STREET, "sigmoid", (1,)),
        (STREET, STREET, "softmax", (0, 1, 2)),
    ],
)
def test_each_channel_has_the_number_of_its_class(
    channels: tuple[str, ...], classes: tuple[str, ...], activation: Activation, numbers: tuple[int, ...]
) -> None:
    assert class_numbers(channels, classes, activation) == numbers


def test_an_unknown_class_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^model.channels: the contest has no class 'cars', .*mean 'car'\?$"):
        class_numbers(("road", "cars"), STREET, "sigmoid")


@pytest.mark.parametrize("channels", [("road", "car"), ("car", "road", "sky")])
def test_softmax_needs_all_classes_in_order(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"all classes in the contest's order: .* \[road, car, sky\]$"):
        class_numbers(channels, STREET, "softmax")


def test_softmax_of_one_channel_would_be_certain_of_everything() -> None:
    with pytest.raises(ConfigError, match=r"^task.activation = softmax needs two channels or more"):
        class_numbers(("salt",), (), "softmax")


def test_energy_levels_are_numbered_from_1() -> None:
    names = ("energy1", "energy12", "energy0", "energy", "energy01", "energyx", "body", "1energy1")
    assert [energy_level(name) for name in names] == [1, 12, None, None, None, None, None, None]
