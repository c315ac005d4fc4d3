"""Settings in the words of the file that said them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest
from pydantic import create_model

from medalist.config import ConfigModel, as_said, dump_changed, dump_config, means_same, parse_config


class Act(ConfigModel):
    name: str
    lions: int = 0


class Clown(ConfigModel):
    kind: Literal["clown"] = "clown"
    nose: tuple[int, int] = (1, 2)


class Tent(ConfigModel):
    renamed: ClassVar[Mapping[str, str]] = {"seats": "chairs"}
    chairs: int = 100
    heated: bool = False


class Circus(ConfigModel):
    acts: tuple[Act, ...] = ()
    tent: Tent = Tent()
    clown: Clown | None = None
    town: str = "Riga"


LaterAct = create_model("Act", __base__=Act, tigers=(int, 0))
LaterTent = create_model("Tent", __base__=Tent, flag=(str | None, None))
LaterCircus = create_model(
    "Circus",
    __base__=Circus,
    acts=(tuple[LaterAct, ...], ()),
    tent=(LaterTent, LaterTent()),
    band=(LaterAct, LaterAct(name="brass")),
)
CIRCUS = Circus(acts=(Act(name="lions", lions=3), Act(name="silence")), clown=Clown())


def later(text: str) -> Any:
    return parse_config(text, "config.yaml", LaterCircus)


def test_all_keys_are_said_under_their_old_names() -> None:
    assert as_said(CIRCUS) == {
        "acts": [{"name": "lions", "lions": 3}, {"name": "silence", "lions": 0}],
        "tent": {"seats": 100, "heated": False},
        "clown": {"kind": "clown", "nose": [1, 2]},
        "town": "Riga",
    }


def test_later_keys_are_not_said() -> None:
    before = later(dump_config(CIRCUS))
    assert as_said(before) != as_said(CIRCUS)
    assert as_said(before, before) == as_said(CIRCUS)
    full = LaterCircus.model_validate(before.model_dump())  # says all keys itself
    assert full == before and as_said(full, before) == as_said(CIRCUS)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"tent": {"chairs": 100, "flag": "red"}}, {"tent": {"seats": 100, "heated": False, "flag": "red"}}),
        ({"band": {"name": "brass", "tigers": 2}}, {"band": {"name": "brass", "lions": 0, "tigers": 2}}),
        ({"town": "Tartu"}, {"town": "Tartu"}),
        ({"acts": [{"name": "x", "tigers": 1}, {"name": "y"}]},
         {"acts": [{"name": "x", "lions": 0, "tigers": 1}, {"name": "y", "lions": 0}]}),
        # Of another number of acts none is the one that was there.
        ({"acts": [{"name": "x"}]}, {"acts": [{"name": "x", "lions": 0, "tigers": 0}]}),
        ({"clown": None}, {"clown": None}),
    ],
)  # fmt: skip
def test_later_keys_are_said_where_they_change_something(change: dict[str, Any], found: dict[str, Any]) -> None:
    before = later(dump_config(CIRCUS))
    changed = LaterCircus.model_validate({**before.model_dump(), **change})
    assert as_said(changed, before) == {**as_said(CIRCUS), **found}


def test_a_file_that_says_little_is_hashed_by_the_little() -> None:
    before = parse_config("tent: {seats: 7}\n", "config.yaml", Circus)
    assert as_said(before, before) == {"tent": {"seats": 7}}
    assert as_said(Circus(tent=Tent(chairs=8)), before) == {"tent": {"seats": 8}}


def test_saved_values_mean_settings_with_later_keys() -> None:
    saved = json.loads(json.dumps(as_said(Tent(chairs=7))))
    assert saved == {"seats": 7, "heated": False}
    assert means_same(saved, Tent(chairs=7)) and means_same(saved, LaterTent(chairs=7))
    flagged = LaterTent.model_validate({"chairs": 7, "flag": "red"})
    for other in (flagged, Tent(chairs=8), Act(name="x"), Clown()):
        assert not means_same(saved, other)
    assert not means_same({**saved, "flag": "red"}, Tent(chairs=7))
    assert means_same({"nose": [1, 2]}, Clown())  # a list stands for a tuple


def test_changed_sections_leave_the_others_as_they_were_said() -> None:
    before = later(dump_config(CIRCUS))
    changed = LaterCircus.model_validate({**before.model_dump(), "tent": {"flag": "red"}})
    text = dump_changed(before, changed, ("tent",))
    assert later(text) == changed and text.count("tigers") == 0 and "flag: red" in text
    assert [line.partition(":")[0] for line in text.splitlines() if line[0] not in " -"] == list(as_said(CIRCUS))
    again = later(text)
    assert {**as_said(again, again), "tent": 0} == {**as_said(CIRCUS), "tent": 0}


def test_a_list_of_words_and_blocks_says_the_blocks_as_they_were_said() -> None:
    class Show(ConfigModel):
        numbers: tuple[str | Act, ...] = ()

    class LaterShow(ConfigModel):
        numbers: tuple[str | LaterAct, ...] = ()  # type: ignore[valid-type]

    text = "numbers: [drums, {name: lions, lions: 3}, silence]\n"
    said = {"numbers": ["drums", {"name": "lions", "lions": 3}, "silence"]}
    for model in (Show, LaterShow):
        before = parse_config(text, "config.yaml", model)
        assert as_said(before, before) == said
