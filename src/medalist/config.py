"""Config files: YAML layers merged by OmegaConf, then checked by frozen pydantic models.

Order of layers, later wins: the model's defaults < one `base` < the file < `key=value` on the command line, which
together are one layer: their order does not matter. A base may not have a base.
Where a layer changes a block's `kind` to one of another model, the lower layers' keys of that block are dropped, since
they belong to the other kind; kinds of one model (unet, fpn) share their keys.
Settings are literal and strictly typed: no interpolation `${...}`, no aliases, no "3" for 3, no `yes` for 1.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from medalist.errors import ConfigError

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

COMMAND_LINE = "command line"
DEEPEST = 20  # levels of nesting; no setting needs as many


class ConfigModel(BaseModel):
    """What every config model is: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


@dataclass(frozen=True)
class Layer:
    """One source of settings: where it came from, and what it says."""

    source: str
    tree: Tree


def load_config(path: Path, overrides: Sequence[str], model: type[Model]) -> Model:
    """Read `path` (with its base), apply `key=value` overrides, check, and return the frozen settings.

    Raises ConfigError, one line that names the file (or the command line), the key, the value and what is allowed.
    """
    layers = _layers(path, overrides)
    tree: Tree = {}
    for layer in layers:
        tree = _merge(tree, layer.tree, model)
    return _checked(tree, layers, model)


def parse_config(text: str, source: str, model: type[Model]) -> Model:
    """Check a resolved config that was saved with a run; `source` names it in errors."""
    layer = Layer(source, _tree(text, source))
    return _checked(layer.tree, [layer], model)


def explicit_value(path: Path, overrides: Sequence[str], keys: Sequence[str]) -> Any:
    """What a file, its base and the overrides say at a key, unchecked; None where they do not say it."""
    tree: Tree = {}
    for layer in _layers(path, overrides):
        tree = _merge(tree, layer.tree, None)
    return _at(tree, keys)


def explicit_value_in(text: str, source: str, keys: Sequence[str]) -> Any:
    """What a resolved config says at a key, unchecked."""
    return _at(_tree(text, source), keys)


def _at(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def dump_config(settings: BaseModel) -> str:
    """The resolved config as YAML text; `parse_config` reads it back to an equal value."""
    # Not yaml's own writer: it leaves strings such as 1e5 unquoted, which OmegaConf reads as numbers.
    return OmegaConf.to_yaml(OmegaConf.create(settings.model_dump(mode="json")))


def differences(first: BaseModel, second: BaseModel) -> list[tuple[str, Any, Any]]:
    """Dotted keys at which two resolved configs differ, with both values; None where one has no such key."""
    left, right = dict(_leaves(first.model_dump(mode="json"))), dict(_leaves(second.model_dump(mode="json")))
    keys = [*left, *(key for key in right if key not in left)]
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _layers(path: Path, overrides: Sequence[str]) -> list[Layer]:
    layers = [Layer(str(path), _tree(_text(path), str(path)))]
    base = layers[0].tree.pop("base", None)
    if base is not None:
        below = _base_file(path, base)
        layer = Layer(str(below), _tree(_text(below), str(below)))
        if "base" in layer.tree:
            raise ConfigError(f"{below}: a base may not have a base itself; remove its key 'base'")
        layers.insert(0, layer)
    if overrides:
        layers.append(Layer(COMMAND_LINE, _override_tree(overrides)))
    return layers


def _override_tree(overrides: Sequence[str]) -> Tree:
    """What all overrides say together; of two values for one key the later counts."""
    tree: Tree = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override '{override}' is not key=value; type for instance train.lr=3e-4")
        try:
            _refuse_tangles(value)
            said = OmegaConf.to_container(OmegaConf.from_dotlist([override]))
            _refuse_odd(said)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"override '{_short(override)}': {_first_line(error)}") from None
        assert isinstance(said, dict)
        tree = _merge(tree, {str(name): value for name, value in said.items()}, None)
    return tree


def _base_file(path: Path, base: object) -> Path:
    """`configs/base/<base>.yaml`, beside or above the file that names it."""
    for folder in path.resolve().parents:
        if (folder / "base").is_dir():
            known = sorted(file.stem for file in (folder / "base").glob("*.yaml"))
            if base in known:
                return folder / "base" / f"{base}.yaml"
            raise ConfigError(
                f"{path}: base = {base!r} is not known; allowed: {', '.join(known)}{_near(str(base), known)}"
            )
    raise ConfigError(f"{path}: base = {base!r}, but there is no folder 'base' beside or above it")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = get_close_matches(path.stem, [file.stem for file in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / near[0]}.yaml?" if near else ""
        raise ConfigError(f"no config file {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {_first_line(error)}") from None


def _tree(text: str, source: str) -> Tree:
    try:
        _refuse_tangles(text)
        tree = OmegaConf.to_container(OmegaConf.create(text))
        _refuse_odd(tree)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not valid YAML: {_first_line(error)}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(f"{source} must hold 'key: value' lines")
    return {str(key): value for key, value in tree.items()}


def _refuse_tangles(text: str) -> None:
    """ValueError for YAML aliases (a few lines of them can unfold into gigabytes) and bottomless nests."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not supported; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")


def _refuse_odd(value: Any) -> None:
    """ValueError for what no setting can be: interpolations, numbers that are not finite, bytes."""
    match value:
        case dict():
            for inside in (*value, *value.values()):
                _refuse_odd(inside)
        case list():
            for inside in value:
                _refuse_odd(inside)
        case str() if "${" in value:
            raise ValueError(f"'{_short(value)}': interpolation is not supported; write the value out")
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        case bytes():
            raise ValueError("binary values are not supported")


def _merge(below: Tree, above: Tree, annotation: Any) -> Tree:
    """Lay one tree over another; `annotation` is the model they are of, None where that is not known."""
    fields = _member(annotation, "")[0]
    known = fields.model_fields if isinstance(fields, type) and issubclass(fields, BaseModel) else {}
    merged = dict(below)
    for key, value in above.items():
        old, inside = merged.get(key), known[key].annotation if key in known else None
        if isinstance(old, dict) and isinstance(value, dict) and not _other_model(old, value, inside):
            merged[key] = _merge(old, value, inside)
        else:
            merged[key] = value
    return merged


def _other_model(old: Tree, new: Tree, annotation: Any) -> bool:
    """Whether the kinds of two blocks are known to be of different models."""
    if "kind" not in old or "kind" not in new or old["kind"] == new["kind"]:
        return False
    (old_model, _), (new_model, is_known) = _member(annotation, old["kind"]), _member(annotation, new["kind"])
    return is_known and old_model is not new_model


def _checked(tree: Tree, layers: Sequence[Layer], model: type[Model]) -> Model:
    try:
        # By way of JSON: there pydantic is strict about numbers and words, and still takes a list for a tuple.
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        # A mistyped key tells more than the key that is missing for it.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise ConfigError(_one_line(faults[0], layers, model)) from None


def _one_line(error: ErrorDetails, layers: Sequence[Layer], model: type[BaseModel]) -> str:
    """Say where, which key, which value, and what is allowed, with the nearest known key or value."""
    keys, holder = _walk(model, error["loc"])
    value, context = error["input"], error.get("ctx", {})
    if error["type"].startswith("union_tag"):
        keys.append("kind")
        value = context.get("tag")
    dotted = ".".join(map(str, keys))
    source = next((layer.source for layer in reversed(layers) if _holds(layer.tree, keys)), layers[-1].source)
    match error["type"]:
        case "extra_forbidden":
            known = sorted(holder.model_fields) if holder else []
            allowed = f"{', '.join(known)}{_near(str(keys[-1]), known)}"
            what = f"unknown key '{dotted}' (value {_short(repr(value))}); allowed here: {allowed}"
        case "missing" | "union_tag_not_found":
            source = next((layer.source for layer in reversed(layers) if layer.source != COMMAND_LINE), source)
            what = f"key '{dotted}' is missing; type for instance {dotted}=..., or write it into the file"
        case "literal_error" | "union_tag_invalid" | "enum":
            listed = str(context.get("expected", context.get("expected_tags", "")))
            known = [word.strip(" '") for word in listed.replace(" or ", ",").split(",")]
            what = f"{dotted} = {_short(repr(value))}; allowed: {', '.join(known)}{_near(str(value), known)}"
            if isinstance(value, bool):
                what += "; YAML takes yes, no, on and off for true and false"
        case _:
            message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            message = message.replace("a valid array", "a list").replace("an object", "a block of 'key: value'")
            if not dotted or (isinstance(value, dict) and error["type"] == "value_error"):
                what = f"{dotted}: {message}" if dotted else message  # a whole block's rule names its keys itself
            else:
                what = f"{dotted} = {_short(repr(value))}: {message[:1].lower()}{message[1:]}"
    return f"{source}: {what}"


def _walk(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[int | str], type[BaseModel] | None]:
    """Follow pydantic's location: the keys as the user wrote them (no union tags), and the last model on the way."""
    keys: list[int | str] = []
    here: Any = model
    holder: type[BaseModel] | None = model
    for step in loc:
        here, tag = _member(here, step)
        if tag:
            continue
        keys.append(step)
        if isinstance(here, type) and issubclass(here, BaseModel):
            holder = here
            here = here.model_fields[str(step)].annotation if str(step) in here.model_fields else None
        else:
            here = next((arg for arg in reversed(get_args(here)) if arg is not Ellipsis), None)
    return keys, holder


def _member(annotation: Any, step: int | str) -> tuple[Any, bool]:
    """Unwrap Annotated and unions; where `step` is a union's tag, return that member and True."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_member(arg, "")[0] for arg in get_args(annotation) if arg is not type(None)]
        for member in members:
            if isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields:
                kind = member.model_fields["kind"].annotation
                if get_origin(kind) is Literal and step in get_args(kind):
                    return member, True
        return (members[0], False) if members else (None, False)
    return annotation, False


def _holds(tree: Any, keys: Sequence[int | str]) -> bool:
    for key in keys:
        known = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, Mapping) else ()
        if key not in known:
            return False
        tree = tree[key]
    return True


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _near(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _short(text: str, longest: int = 120) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _first_line(error: BaseException) -> str:
    return _short(" ".join(str(error).split()), 200) or type(error).__name__
