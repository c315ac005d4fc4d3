"""Config files: YAML layers merged by OmegaConf, then checked by frozen pydantic models.

The layers are, from lowest to highest: the model's defaults, one `base`, the file, and `key=value` on the command line.
A value in a higher layer replaces the value in a lower one. All overrides on the command line are one layer, so the
order of different keys does not matter. A base cannot have a base.
Where a layer changes the `kind` of a block to a kind with another model, the keys of the lower layers in that block are
dropped, because they belong to the other kind. Kinds with the same model (unet, fpn) share their keys.
Values are literal and strictly typed: no interpolation `${...}`, no aliases, no "3" for 3, no `yes` for 1.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from medalist.config.faults import (
    COMMAND_LINE,
    Layer,
    Tree,
    clearest,
    default_member,
    first_line,
    member_of,
    one_line,
    said_by,
    shortened,
)
from medalist.config.finding import base_file, config_file
from medalist.errors import ConfigError
from medalist.reading import CONFIG_BYTES, read_text

Model = TypeVar("Model", bound=BaseModel)

DEEPEST = 20  # levels of nesting that are allowed; no setting needs as many


@dataclass(frozen=True)
class ConfigLayers:
    """The layers of a config before a model has checked them.

    saved: whether this is the resolved config of a run. In such a config, old names of keys give no note.
    """

    layers: tuple[Layer, ...]
    saved: bool = False

    def value(self, *keys: str) -> Any:
        """Return the unchecked value of a key, given as one argument for each level; None where it has no value."""
        found: Any = self._unchecked()
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def source(self, *keys: str) -> str:
        """Return the source of a key's value, which is the highest layer that has the key."""
        return said_by(self.layers, keys)

    def check(self, model: type[Model]) -> Model:
        """Check the layers, and return the frozen settings.

        Raises ConfigError with one line that names the file, the key, the value and what is allowed.
        """
        layers: list[Layer] = []
        tree: Tree = {}
        whole = self._unchecked()
        for layer in self.layers:
            notes: list[str] = []
            layers.append(Layer(layer.source, _with_new_names(layer.tree, whole, model, "", notes)))
            for note in () if self.saved else notes:
                warnings.warn(f"{layer.source}: {note}", FutureWarning, stacklevel=3)
        for layer in layers:
            tree = _merge(tree, layer.tree, model)
        return _checked(tree, layers, model)

    def _unchecked(self) -> Tree:
        tree: Tree = {}
        for layer in self.layers:
            tree = _merge(tree, layer.tree, None)
        return tree


def read_layers(path: Path, overrides: Sequence[str]) -> ConfigLayers:
    """Read `path`, its base and the `key=value` overrides.

    Raises ConfigError where a file cannot be read or is not valid YAML, or where an override is not `key=value`.
    """
    return ConfigLayers(tuple(_layers(path, overrides)))


def saved_layers(text: str, source: str) -> ConfigLayers:
    """Read the text of a resolved config that was saved with a run; errors call it `source`."""
    return ConfigLayers((Layer(source, _tree(text, source)),), saved=True)


def load_config(path: Path, overrides: Sequence[str], model: type[Model]) -> Model:
    """Read `path` with its base, apply `key=value` overrides, check all, and return the frozen settings.

    Raises ConfigError with one line that names the file (or the command line), the key, the value and what is allowed.
    """
    return read_layers(path, overrides).check(model)


def parse_config(text: str, source: str, model: type[Model]) -> Model:
    """Check the text of a resolved config that was saved with a run; errors call it `source`."""
    return saved_layers(text, source).check(model)


def dump_config(settings: BaseModel) -> str:
    """Return the resolved config as YAML text; `parse_config` reads it back to an equal value."""
    return dump_tree(settings.model_dump(mode="json"))


def dump_tree(tree: Tree) -> str:
    """Return JSON values as YAML text."""
    # PyYAML's own writer leaves strings such as 1e5 unquoted, and OmegaConf would read them as numbers.
    return OmegaConf.to_yaml(OmegaConf.create(tree))


def with_present_names(tree: Mapping[str, Any], model: type[BaseModel]) -> Tree:
    """Return a saved block of this model in which renamed keys have their new names."""
    return _with_new_names(dict(tree), dict(tree), model, "", [])


def differences(first: BaseModel, second: BaseModel) -> list[tuple[str, Any, Any]]:
    """Return the dotted keys at which two resolved configs differ, with both values.

    A value is None where a config has no such key.
    """
    left, right = dict(_leaves(first.model_dump(mode="json"))), dict(_leaves(second.model_dump(mode="json")))
    keys = [*left, *(key for key in right if key not in left)]
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _layers(path: Path, overrides: Sequence[str]) -> list[Layer]:
    path = config_file(path)
    layers = [Layer(str(path), _tree(_text(path), str(path)))]
    base = layers[0].tree.pop("base", None)
    if base is not None:
        below = base_file(path, base)
        layer = Layer(str(below), _tree(_text(below), str(below)))
        if "base" in layer.tree:
            raise ConfigError(f"{below}: a base may not have a base itself; remove its key 'base'")
        layers.insert(0, layer)
    if overrides:
        layers.append(Layer(COMMAND_LINE, _override_tree(overrides)))
    return layers


def _override_tree(overrides: Sequence[str]) -> Tree:
    """Return the tree of all overrides; of two values for one key, the later counts."""
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
            raise ConfigError(f"override '{shortened(override)}': {first_line(error)}") from None
        assert isinstance(said, dict)
        tree = _merge(tree, {str(name): value for name, value in said.items()}, None)
    return tree


def _text(path: Path) -> str:
    try:
        return read_text(path, CONFIG_BYTES)
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror or first_line(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {path} cannot be read: {first_line(error)}") from None


def _tree(text: str, source: str) -> Tree:
    try:
        tree = deepcopy(_read(text))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not valid YAML: {first_line(error)}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(f"{source} must hold 'key: value' lines")
    return {str(key): value for key, value in tree.items()}


@lru_cache(maxsize=32)
def _read(text: str) -> Any:
    """Return what a YAML text says, which the caller must copy.

    The last ones are kept, because a command reads the config of a run several times, and reading takes longer than
    checking.
    """
    _refuse_tangles(text)
    tree = OmegaConf.to_container(OmegaConf.create(text))
    _refuse_odd(tree)
    return tree


def _refuse_tangles(text: str) -> None:
    """Raise ValueError for YAML aliases, which can expand a few lines to gigabytes, and for nesting above DEEPEST."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not supported; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")


def _refuse_odd(value: Any) -> None:
    """Raise ValueError for values that no setting can have: interpolations, numbers that are not finite, bytes."""
    match value:
        case dict():
            for inside in (*value, *value.values()):
                _refuse_odd(inside)
        case list():
            for inside in value:
                _refuse_odd(inside)
        case str() if "${" in value:
            raise ValueError(f"'{shortened(value)}': interpolation is not supported; write the value out")
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        case bytes():
            raise ValueError("binary values are not supported")


def _merge(below: Tree, above: Tree, annotation: Any) -> Tree:
    """Return tree `below` with the values of tree `above` over it. `annotation` is their model, None if not known."""
    fields = member_of(annotation, "")[0]
    known = fields.model_fields if isinstance(fields, type) and issubclass(fields, BaseModel) else {}
    merged = dict(below)
    for key, value in above.items():
        old, inside = merged.get(key), known[key].annotation if key in known else None
        if isinstance(old, dict) and isinstance(value, dict) and not _other_model(old, value, inside):
            merged[key] = _merge(old, value, inside)
        else:
            merged[key] = value
    return merged


def _with_new_names(tree: Tree, whole: Tree, annotation: Any, prefix: str, notes: list[str]) -> Tree:
    """Return the tree with new names for renamed keys, and append a note for each to `notes`.

    A key keeps its old name where the tree has the new name too; the model then refuses it. whole: the merged tree of
    all layers, because the `kind` of a block may be in another layer.
    """
    kind: Any = tree.get("kind", whole.get("kind", ""))
    model = member_of(annotation, kind)[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return tree
    renamed: Mapping[str, str] = getattr(model, "renamed", {})
    found: Tree = {}
    for said, value in tree.items():
        name = renamed.get(said, said)
        key = said if name in tree else name
        if key != said:
            notes.append(f"{prefix}{said} is called {prefix}{key} now; the former name still works")
        inside = model.model_fields[key].annotation if key in model.model_fields else None
        around = whole.get(said)
        if isinstance(value, dict):
            around = around if isinstance(around, dict) else {}
            found[key] = _with_new_names(value, around, inside, f"{prefix}{key}.", notes)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            item = next((arg for arg in get_args(inside) if arg is not Ellipsis), None)
            found[key] = [_with_new_names(one, {}, item, f"{prefix}{key}.{at}.", notes) for at, one in enumerate(value)]
        else:
            found[key] = value
    return found


def _other_model(old: Tree, new: Tree, annotation: Any) -> bool:
    """Whether the kinds of two blocks are known to have different models.

    Where the union has a model that may leave out its `kind`, a block without `kind` has this model. A higher block
    without `kind` may also mean the keys of the lower block's kind, and does where it has one of them.
    """
    default = default_member(annotation)
    if old.get("kind") == new.get("kind") or (default is None and not ("kind" in old and "kind" in new)):
        return False
    old_model, _ = member_of(annotation, old["kind"]) if "kind" in old else (default, True)
    new_model, is_known = member_of(annotation, new["kind"]) if "kind" in new else (default, True)
    if "kind" not in new:
        known = old_model.model_fields if isinstance(old_model, type) and issubclass(old_model, BaseModel) else new
        is_known = not known.keys() & new.keys()
    return is_known and old_model is not new_model


def _checked(tree: Tree, layers: Sequence[Layer], model: type[Model]) -> Model:
    try:
        # Checked as JSON, because pydantic is then strict about numbers and strings, and still accepts lists as tuples.
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        # A mistyped key comes first, because it explains why another key is missing.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise ConfigError(one_line(clearest(faults, model), layers, model)) from None


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
