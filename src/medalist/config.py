"""Config files: YAML layers merged by OmegaConf, then checked by frozen pydantic models.

Order of layers, later wins: the model's defaults < one `base` < the file < `key=value` on the command line.
A base may not have a base. Where a layer changes a block's `kind`, the lower layers' keys of that block are dropped,
since they belong to the other kind.
"""

from __future__ import annotations

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


class Part(BaseModel):
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
        tree = _merge(tree, layer.tree)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_one_line(error.errors()[0], layers, model)) from None


def parse_config(text: str, source: str, model: type[Model]) -> Model:
    """Check a resolved config that was saved with a run; `source` names it in errors."""
    layer = Layer(source, _tree(text, source))
    try:
        return model.model_validate(layer.tree)
    except ValidationError as error:
        raise ConfigError(_one_line(error.errors()[0], [layer], model)) from None


def dump_config(settings: BaseModel) -> str:
    """The resolved config as YAML text; `parse_config` reads it back to an equal value."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, width=100)


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
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override '{override}' is not key=value; type for instance train.lr=3e-4")
        try:
            tree = OmegaConf.to_container(OmegaConf.from_dotlist([override]), resolve=True)
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(f"override '{override}': {_first_line(error)}") from None
        assert isinstance(tree, dict)
        layers.append(Layer("command line", {str(name): value for name, value in tree.items()}))
    return layers


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
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not valid YAML: {_first_line(error)}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(f"{source} must hold 'key: value' lines")
    return {str(key): value for key, value in tree.items()}


def _merge(below: Tree, above: Tree) -> Tree:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            other_kind = "kind" in value and "kind" in old and value["kind"] != old["kind"]
            merged[key] = value if other_kind else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _one_line(error: ErrorDetails, layers: Sequence[Layer], model: type[BaseModel]) -> str:
    """Say where, which key, which value, and what is allowed, with the nearest known key or value."""
    keys, holder = _walk(model, error["loc"])
    dotted = ".".join(map(str, keys))
    value = error["input"]
    source = next((layer.source for layer in reversed(layers) if _holds(layer.tree, keys)), layers[-1].source)
    match error["type"]:
        case "extra_forbidden":
            known = sorted(holder.model_fields) if holder else []
            allowed = f"{', '.join(known)}{_near(str(keys[-1]), known)}"
            what = f"unknown key '{dotted}' (value {value!r}); allowed here: {allowed}"
        case "missing":
            source = next((layer.source for layer in reversed(layers) if layer.source != "command line"), source)
            what = f"key '{dotted}' is missing"
        case "literal_error" | "union_tag_invalid" | "enum":
            context = error.get("ctx", {})
            listed = str(context.get("expected", context.get("expected_tags", "")))
            known = [word.strip(" '") for word in listed.replace(" or ", ",").split(",")]
            if error["type"] == "union_tag_invalid":
                dotted, value = f"{dotted}.kind", context.get("tag")
            what = f"{dotted} = {value!r}; allowed: {', '.join(known)}{_near(str(value), known)}"
        case "union_tag_not_found":
            what = f"key '{dotted}.kind' is missing"
        case _:
            message = error["msg"].removeprefix("Value error, ")
            what = f"{dotted} = {value!r}: {message[:1].lower()}{message[1:]}" if dotted else message
    return f"{source}: {what}"


def _walk(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[int | str], type[BaseModel] | None]:
    """Follow pydantic's location: the keys as the user wrote them (without union tags), and the last model on the way."""
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
        if (isinstance(tree, Mapping) and key in tree) or (
            isinstance(tree, list) and isinstance(key, int) and key < len(tree)
        ):
            tree = tree[int(key)]
        else:
            return False
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


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
