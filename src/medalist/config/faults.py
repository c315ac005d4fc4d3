"""Describe an error in a config on one line: its source, the key, the value, and what is allowed."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

Tree = dict[str, Any]

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Layer:
    """One source of settings: its name in messages (a file or the command line), and its tree of values."""

    source: str
    tree: Tree


def one_line(error: ErrorDetails, layers: Sequence[Layer], model: type[BaseModel]) -> str:
    """Return one line with the source, the key, the value, what is allowed, and the nearest known key or value."""
    keys, holder = _walk(model, error["loc"])
    value, context = error["input"], error.get("ctx", {})
    if error["type"].startswith("union_tag"):
        keys.append("kind")
        value = context.get("tag")
    dotted = ".".join(map(str, keys))
    source = said_by(layers, keys)
    match error["type"]:
        case "extra_forbidden":
            known = sorted(holder.model_fields) if holder else []
            allowed = f"{', '.join(known)}{nearest(str(keys[-1]), known)}"
            what = f"unknown key '{dotted}' (value {shortened(repr(value))}); allowed here: {allowed}"
        case "missing" | "union_tag_not_found":
            source = next((layer.source for layer in reversed(layers) if layer.source != COMMAND_LINE), source)
            what = f"key '{dotted}' is missing; type for instance {dotted}=..., or write it into the file"
        case "literal_error" | "union_tag_invalid" | "enum":
            listed = str(context.get("expected", context.get("expected_tags", "")))
            known = [word.strip(" '") for word in listed.replace(" or ", ",").split(",")]
            what = f"{dotted} = {shortened(repr(value))}; allowed: {', '.join(known)}{nearest(str(value), known)}"
            if isinstance(value, bool):
                what += "; YAML takes yes, no, on and off for true and false"
        case _:
            message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            message = message.replace("a valid array", "a list").replace("an object", "a block of 'key: value'")
            if not dotted or (isinstance(value, dict) and error["type"] == "value_error"):
                what = f"{dotted}: {message}" if dotted else message  # the rule of a whole block names its keys itself
            else:
                what = f"{dotted} = {shortened(repr(value))}: {message[:1].lower()}{message[1:]}"
    return f"{source}: {what}"


def _walk(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[int | str], type[BaseModel] | None]:
    """Follow pydantic's location. Return the keys that the user wrote, without union tags, and the innermost model."""
    keys: list[int | str] = []
    here: Any = model
    holder: type[BaseModel] | None = model
    for step in loc:
        plain = _plain_member(here, step)
        here, tag = member_of(here, step) if plain is None else (plain, True)
        if tag:
            continue
        keys.append(step)
        if isinstance(here, type) and issubclass(here, BaseModel):
            holder = here
            here = here.model_fields[str(step)].annotation if str(step) in here.model_fields else None
        else:
            here = next((arg for arg in reversed(get_args(here)) if arg is not Ellipsis), None)
    return keys, holder


def _plain_member(annotation: Any, step: int | str) -> Any:
    """Return the member of a union without kinds that a step of a location names by its type; None for other types."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, types.UnionType):
        return None
    members = [arg for arg in get_args(annotation) if arg is not type(None)]
    bare = [get_args(one)[0] if get_origin(one) is Annotated else one for one in members]
    if len(members) < 2 or any(isinstance(one, type) and issubclass(one, BaseModel) for one in bare):
        return None
    named = (one for one in bare if str(step).startswith(getattr(get_origin(one) or one, "__name__", "?")))
    return next(named, bare[0])


def member_of(annotation: Any, step: int | str) -> tuple[Any, bool]:
    """Unwrap Annotated and unions, and return (type, False); or (member, True) where `step` is the tag of a member."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        for arg in get_args(annotation):
            if get_origin(arg) is Annotated and any(isinstance(m, Tag) and m.tag == step for m in get_args(arg)[1:]):
                return member_of(arg, "")[0], True
        members = [member_of(arg, "")[0] for arg in get_args(annotation) if arg is not type(None)]
        for member in members:
            if isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields:
                kind = member.model_fields["kind"].annotation
                if get_origin(kind) is Literal and step in get_args(kind):
                    return member, True
        return (members[0], False) if members else (None, False)
    return annotation, False


def clearest(faults: Sequence[ErrorDetails], model: type[BaseModel]) -> ErrorDetails:
    """Return the first fault; where it is of one member of a union without kinds, that of the member that got farthest.

    A block where a number or a block may stand is no number, and what is wrong with it stands inside of it.
    """
    first, depth = faults[0], len(faults[0]["loc"])
    if not depth or _walk(model, first["loc"])[0][-1:] == [first["loc"][-1]]:
        return first
    others = (one for one in faults[1:] if one["loc"][: depth - 1] == first["loc"][:-1] and len(one["loc"]) > depth)
    return next(others, first)


def default_member(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a union that may leave out its `kind`: its first tagged member; None where there is none."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    for arg in get_args(annotation):
        if get_origin(arg) is Annotated and any(isinstance(one, Tag) for one in get_args(arg)[1:]):
            model = member_of(arg, "")[0]
            return model if isinstance(model, type) and issubclass(model, BaseModel) else None
    return None


def said_by(layers: Sequence[Layer], keys: Sequence[int | str]) -> str:
    """Return the source of the highest layer that has a key, or of the highest of all where no layer has it."""
    return next((layer.source for layer in reversed(layers) if _holds(layer.tree, keys)), layers[-1].source)


def _holds(tree: Any, keys: Sequence[int | str]) -> bool:
    for key in keys:
        known = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, Mapping) else ()
        if key not in known:
            return False
        tree = tree[key]
    return True


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a question with the nearest known word, or an empty text where no word is near."""
    near = get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def shortened(text: str, longest: int = 120) -> str:
    """Return the text, cut after `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def first_line(error: BaseException) -> str:
    """Return the text of an error on one line of at most 200 characters; the error's class where it has no text."""
    return shortened(" ".join(str(error).split()), 200) or type(error).__name__
