from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from medalist.codecs.disk import bands
from medalist.errors import ConfigError
from medalist.postprocess import classes
from medalist.postprocess.classes import ClassRoles, class_mask, highest_below
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ClassesConfig
from medalist.records import MapPrediction, Mask

SOFTMAX = ClassRoles({"background": 0, "crack": 1, "dent": 2})
SIGMOID = ClassRoles({"crack": 1, "dent": 2})
STREET = ClassRoles({"road": 0, "car": 1, "sky": 2}, background=False)


def prediction(roles: ClassRoles, *maps: object, **presence: int) -> MapPrediction:
    """Maps of bytes; presence: constant planes by class."""
    planes = [np.array(one, np.uint8) for one in maps]
    names = [*roles.numbers, *(f"presence:{name}" for name in presence)]
    return MapPrediction(
        np.stack(planes + [np.full_like(planes[0], value) for value in presence.values()]), tuple(names)
    )


def decided(found: MapPrediction, roles: ClassRoles, **options: Any) -> list[list[int]]:
    result: list[list[int]] = class_mask(found, ClassesConfig(**options), roles).classes.tolist()
    return result


# ---------------------------------------------------------------------------------------------------------- slow twin


def slow(found: MapPrediction, config: ClassesConfig, roles: ClassRoles) -> NDArray[np.uint8]:
    """The rules in floats, pixel by pixel."""

    def of(setting: Any, name: str, default: Any) -> Any:
        return setting.get(name, default) if isinstance(setting, dict) else setting

    chances = {name: found.channel(name) for name in roles.numbers}
    number = roles.numbers
    allowed = list(number)
    if config.rule == "thresholds" and config.otherwise == "background":
        allowed = [name for name in allowed if number[name] != 0]
    kept = []
    for name in allowed:
        gate = of(config.present, name, None)
        plane = f"presence:{name}"
        seen = found.channel(plane) if plane in found.channels else chances[name]
        if gate is None or (roles.background and number[name] == 0) or seen.max() > np.float32(gate):
            kept.append(name)
    if not kept and not roles.background:
        kept = allowed

    def at(y: int, x: int, names: list[str]) -> int:
        def first_best(some: list[str]) -> int:
            return number[max(some, key=lambda name: (chances[name][y, x], -some.index(name)))]

        if config.rule == "argmax":
            return first_best(names) if names else 0
        passing = [name for name in names if chances[name][y, x] > np.float32(of(config.threshold, name, 0.5))]
        if passing:
            return first_best(passing)
        return first_best(names) if config.otherwise == "best" and names else 0

    shape = found.maps.shape[1:]
    found_classes = np.array([[at(y, x, kept) for x in range(shape[1])] for y in range(shape[0])], np.uint8)
    judged = [name for name in kept if not (roles.background and number[name] == 0)]
    changed = found_classes.copy()
    for name in judged:
        pieces, count = ndimage.label(found_classes == number[name])
        for piece in range(1, count + 1):
            if (pieces == piece).sum() < of(config.min_size, name, 0):
                for y, x in zip(*np.nonzero(pieces == piece), strict=True):
                    changed[y, x] = at(y, x, [one for one in kept if one != name])
    for name in judged:
        if (changed == number[name]).sum() < of(config.empty_below, name, 0):
            kept = [one for one in kept if one != name] if (changed == number[name]).any() else kept
            for y, x in zip(*np.nonzero(changed == number[name]), strict=True):
                changed[y, x] = at(y, x, kept)
    return changed


SIZES = st.integers(0, 5)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_against_floats_pixel_by_pixel(data: st.DataObject) -> None:
    roles = data.draw(st.sampled_from([SOFTMAX, SIGMOID, STREET]))
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=5))
    values = st.sampled_from([0, 1, 50, 51, 52, 127, 128, 153, 200, 255])
    maps = data.draw(arrays(np.uint8, (len(roles.numbers), *shape), elements=values))
    presence = {name: data.draw(values) for name in roles.numbers if data.draw(st.booleans())}
    found = prediction(roles, *maps, **presence)
    shares = st.sampled_from([0.2, 0.5, 0.6])
    rule = "argmax" if roles is SOFTMAX and data.draw(st.booleans()) else "thresholds"
    config = ClassesConfig(
        rule="argmax" if roles is STREET and data.draw(st.booleans()) else rule,  # type: ignore[arg-type]
        threshold=data.draw(
            shares | st.fixed_dictionaries({}, optional=dict.fromkeys(list(roles.numbers)[1:], shares))
        ),
        otherwise="best" if roles is STREET or data.draw(st.booleans()) else "background",
        present=data.draw(st.none() | shares),
        min_size=data.draw(SIZES | st.fixed_dictionaries({}, optional=dict.fromkeys(list(roles.numbers)[1:], SIZES))),
        empty_below=data.draw(SIZES),
    )
    assert np.array_equal(class_mask(found, config, roles).classes, slow(found, config, roles))


# -------------------------------------------------------------------------------------------------------------- rules


def test_argmax_takes_the_first_of_equals() -> None:
    found = prediction(SOFTMAX, [[0, 90, 90, 10]], [[0, 90, 91, 80]], [[0, 90, 91, 165]])
    assert decided(found, SOFTMAX) == [[0, 0, 1, 2]]


def test_thresholds_compare_the_bytes_as_floats_do() -> None:
    """51/255 is 0.2, which is not above 0.2."""
    found = prediction(SIGMOID, [[51, 52, 0, 255]], [[0, 0, 0, 0]])
    assert decided(found, SIGMOID, rule="thresholds", threshold=0.2) == [[0, 1, 0, 1]]
    for byte in range(256):
        chance = np.float32(byte) / np.float32(255)
        for threshold in (0.001, 0.2, 0.5, 0.6, 0.999):
            assert (byte > highest_below(threshold)) == (chance > np.float32(threshold))


def test_a_class_may_have_a_threshold_of_its_own() -> None:
    found = prediction(SIGMOID, [[100, 100, 200]], [[110, 140, 140]])
    assert decided(found, SIGMOID, rule="thresholds") == [[0, 2, 1]]
    assert decided(found, SIGMOID, rule="thresholds", threshold={"crack": 0.3}) == [[1, 2, 1]]
    assert decided(found, SIGMOID, rule="thresholds", otherwise="best") == [[2, 2, 1]]


def test_the_map_of_the_background_has_no_threshold() -> None:
    """The background is 0.55 sure, and a crack above 0.3 is a crack all the same."""
    found = prediction(SOFTMAX, [[140, 200]], [[100, 50]], [[15, 5]])
    assert decided(found, SOFTMAX, rule="thresholds", threshold=0.3) == [[1, 0]]
    assert decided(found, SOFTMAX) == [[0, 0]]


def test_small_pieces_become_what_they_would_be_otherwise() -> None:
    background, crack = [[9, 9, 200, 9]], [[100, 100, 9, 100]]
    dent = [[50, 8, 9, 60]]
    found = prediction(SOFTMAX, background, crack, dent)
    assert decided(found, SOFTMAX) == [[1, 1, 0, 1]]
    assert decided(found, SOFTMAX, min_size={"crack": 2}) == [[1, 1, 0, 2]]
    assert decided(found, SOFTMAX, min_size={"crack": 3}) == [[2, 0, 0, 2]]
    assert decided(found, SOFTMAX, min_size={"dent": 9}) == [[1, 1, 0, 1]]


def test_small_classes_are_dropped_one_after_the_other() -> None:
    found = prediction(SIGMOID, [[200, 200, 0, 0, 0]], [[130, 0, 0, 255, 255]])
    assert decided(found, SIGMOID, rule="thresholds") == [[1, 1, 0, 2, 2]]
    assert decided(found, SIGMOID, rule="thresholds", empty_below={"crack": 3}) == [[2, 0, 0, 2, 2]]
    assert decided(found, SIGMOID, rule="thresholds", empty_below=3) == [[2, 0, 0, 2, 2]]
    assert decided(found, SIGMOID, rule="thresholds", empty_below=9) == [[0, 0, 0, 0, 0]]


def test_the_gate_looks_at_the_plane_of_presence_or_at_the_map() -> None:
    crack, dent = [[160, 0]], [[0, 160]]
    plain = prediction(SIGMOID, crack, dent)
    rule = {"rule": "thresholds"}
    assert decided(plain, SIGMOID, **rule, present=0.6) == [[1, 2]]
    assert decided(plain, SIGMOID, **rule, present=0.7) == [[0, 0]]
    assert decided(plain, SIGMOID, **rule, present={"dent": 0.7}) == [[1, 0]]
    gated = prediction(SIGMOID, crack, dent, crack=100, dent=255)
    assert decided(gated, SIGMOID, **rule, present=0.7) == [[0, 2]]
    assert decided(gated, SIGMOID, **rule) == [[1, 2]], "without a gate the plane says nothing"


def test_a_contest_without_background_always_has_a_class() -> None:
    found = prediction(STREET, [[100, 0, 0]], [[90, 200, 0]], [[80, 0, 0]])
    assert decided(found, STREET) == [[0, 1, 0]]
    assert decided(found, STREET, present=0.99) == [[0, 1, 0]], "all classes count where none is left"
    assert decided(found, STREET, present=0.5) == [[1, 1, 1]], "the road may be absent too"
    assert decided(found, STREET, rule="thresholds", otherwise="best") == [[0, 1, 0]]


def test_rules_that_cannot_serve_the_channels_are_refused() -> None:
    for roles, options, told in (
        (SIGMOID, {}, "no channel is the background"),
        (STREET, {"rule": "thresholds"}, "the contest has no class 'background'"),
        (SIGMOID, {"rule": "thresholds", "min_size": {"crak": 3}}, "no channel 'crak', only crack, dent; did you mean"),
        (SOFTMAX, {"present": {"background": 0.5}}, "'background' is the background, which is what remains"),
    ):
        found = prediction(roles, *[[[0]]] * len(roles.numbers))
        with pytest.raises(ConfigError, match=told):
            decided(found, roles, **options)
    with pytest.raises(ConfigError, match="the prediction has no map 'dent', only: background, crack"):
        decided(MapPrediction(np.zeros((2, 1, 1), np.uint8), ("background", "crack")), SOFTMAX)


def test_without_roles_channels_are_classes_beside_a_background() -> None:
    found = prediction(SIGMOID, [[200, 0]], [[0, 0]], crack=255)
    answer = decide(found, ClassesConfig(rule="thresholds"))
    assert isinstance(answer, Mask) and answer.classes.tolist() == [[1, 0]]


def test_large_images_are_decided_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    found = prediction(SIGMOID, *rng.integers(0, 256, (2, 40, 30)))
    config = ClassesConfig(rule="thresholds", min_size={"crack": 4, "dent": 7}, empty_below=9)
    whole = class_mask(found, config, SIGMOID)
    monkeypatch.setattr(classes, "LARGE_PIXELS", 100)
    monkeypatch.setattr(classes, "bands", lambda size: bands(size, 90))
    assert np.array_equal(class_mask(found, config, SIGMOID).classes, whole.classes)
    assert len(np.unique(whole.classes)) == 3


def test_twenty_classes_need_no_floats_of_all_maps() -> None:
    maps = np.random.default_rng(1).integers(0, 256, (20, 256, 512), np.uint8)
    roles = ClassRoles({f"c{number}": number for number in range(20)}, background=False)
    found = MapPrediction(maps, tuple(roles.numbers))
    tracemalloc.start()
    try:
        class_mask(found, ClassesConfig(), roles)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < maps.nbytes / 2
