"""Write docs/config.md: every config key with its type, default and meaning, read from the settings of all kinds.

The meaning of a key is the docstring under its field. It is read from the source here, because pydantic would read it
at every import. `--check` writes nothing, and exits with 1 where the page is out of date.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from medalist.config import ConfigModel
from medalist.kinds import KINDS

NAMES = {bool: "boolean", int: "int", float: "float", str: "string", Path: "path", Any: "anything", NoneType: "null"}
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "of length >=", "max_length": "of length <="}
Model = type[ConfigModel]
Item = TypeVar("Item", bound=Hashable)
Blocks = Mapping[tuple[str, Model], "Block"]


class Block(NamedTuple):
    """A settings model at a dotted path; `users` are the kinds of contests that have it, empty where all have it."""

    path: str
    model: Model
    users: str

    @property
    def variants(self) -> str:
        """The values of `kind` that select the model; empty where it has no such key."""
        fields = self.model.model_fields
        return ", ".join(get_args(fields["kind"].annotation)) if "kind" in fields else ""

    @property
    def title(self) -> str:
        """The heading."""
        return f"{self.users}: `{self.path}`, kind {self.variants}".removeprefix(": ").removesuffix(", kind ")

    @property
    def link(self) -> str:
        """A link to the heading, by the name that GitHub gives to it."""
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")
        return f"[{f'block {self.variants}'.strip()}](#{anchor})"


def page(settings: Mapping[str, Model], introduction: str) -> str:
    """Return the page for the settings of each kind of contest; ValueError where a key has no docstring."""
    each = list(settings.items())
    users = users_of([(at, kind) for kind, model in each for at in walk(model, "")], len(each))
    blocks = {at: Block(*at, kinds) for at, kinds in users.items()}
    keys: dict[str, list[str]] = {kinds: [] for kinds in users.values()}
    fields = [((name, repr(field)), kind) for kind, model in each for name, field in model.model_fields.items()]
    for (name, _), kinds in users_of(fields, len(each)).items():
        keys.setdefault(kinds, []).append(name)
    parts = [introduction.strip()]
    for kinds in sorted(keys, key=lambda kinds: (kinds != "", -kinds.count(" and "))):
        holder = settings[kinds.partition(" and ")[0] or each[0][0]]
        parts.append(f"## Keys of {kinds or 'every kind'}")
        parts += [table(holder, "", keys[kinds], blocks)] if keys[kinds] else []
        parts += [part for block in blocks.values() if block.users == kinds for part in section(block, blocks)]
    return "\n\n".join(parts) + "\n"


def users_of(items: Iterable[tuple[Item, str]], kinds: int) -> dict[Item, str]:
    """Return the kinds of contests that have an item, in words; empty where all `kinds` of them have it."""
    having: dict[Item, dict[str, None]] = {}  # a block may stand in several models of one kind
    for item, kind in items:
        having.setdefault(item, {})[kind] = None
    return {item: "" if len(found) == kinds else " and ".join(found) for item, found in having.items()}


def walk(model: Model, path: str) -> Iterator[tuple[str, Model]]:
    """Yield the settings models below a model, each with its dotted path."""
    for name, field in model.model_fields.items():
        for one in models_in(field.annotation):
            below = f"{path}.{name}".removeprefix(".")
            yield from [(below, one), *walk(one, below)]


def models_in(annotation: Any) -> list[Model]:
    """Return the settings models that a type names, in unions and lists too."""
    if isinstance(annotation, type) and issubclass(annotation, ConfigModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in models_in(arg)]


def section(block: Block, blocks: Blocks) -> list[str]:
    """Return heading, text and table of a block."""
    paragraphs = [plain(text) for text in inspect.cleandoc(block.model.__doc__ or "").split("\n\n")]
    return [f"### {block.title}", *paragraphs, table(block.model, block.path, list(block.model.model_fields), blocks)]


def table(model: Model, path: str, names: Sequence[str], blocks: Blocks) -> str:
    """Return the table of some fields of a model that stands at a path."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name in sorted(names, key=lambda name: name != "kind"):
        field, key = model.model_fields[name], f"{path}.{name}".removeprefix(".")
        links = {one: blocks[key, one].link for one in models_in(field.annotation)}
        words = type_words(field.annotation, field.metadata, NAMES | links)
        rows.append(f"| `{key}` | {words} | {default_words(field)} | {plain(meaning(model, name))} |")
    return "\n".join(rows)


def type_words(annotation: Any, limits: Sequence[Any], names: Mapping[Any, str]) -> str:
    """Return a type in the words of YAML; `limits` are pydantic's constraints on it, `names` are words for types."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [one for extra in args[1:] for one in getattr(extra, "metadata", [extra])]
        return type_words(args[0], [*limits, *inner], names)
    if origin in (Union, UnionType):
        return " or ".join(type_words(arg, limits, names) for arg in args)
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(f"`{yaml_words(arg)}`" for arg in args)
    if origin is tuple:
        length = limit_words(limits) if args[-1] is Ellipsis else f" of length {len(args)}"
        return f"list{length} of {type_words(args[0], (), names)}"
    if origin is dict:
        return f"block of name: {type_words(args[1], (), names)}"
    return names[annotation] + limit_words(limits if annotation in (int, float, str) else ())


def limit_words(limits: Sequence[Any]) -> str:
    """Return constraints in words, with a space before them."""
    found = {name: getattr(one, name) for one in limits for name in LIMITS if hasattr(one, name)}
    if {"ge", "le"} <= found.keys():
        return f" {found['ge']:.12g}..{found['le']:.12g}"
    return ",".join(f" {LIMITS[name]} {value:.12g}" for name, value in found.items())


def default_words(field: FieldInfo) -> str:
    """Return the default of a field as YAML; empty where it has to be given."""
    value = field.get_default(call_default_factory=True)
    return "" if field.is_required() else f"`{yaml_words(said(value))}`"


def said(value: Any) -> Any:
    """Return a default with only the keys that its models say."""
    if isinstance(value, tuple):
        return [said(one) for one in value]
    return value.model_dump(include={"kind", *value.model_fields_set}) if isinstance(value, ConfigModel) else value


def yaml_words(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(json.loads(json.dumps(value)), default_flow_style=True, width=sys.maxsize)
    return str(text).removesuffix("...\n").strip()


def meaning(model: Model, name: str) -> str:
    """Return the docstring under a field, of the nearest class that has one; ValueError where none has."""
    former = [f" The former name `{old}` still works." for old, new in model.renamed.items() if new == name]
    for holder in model.__mro__:
        if issubclass(holder, ConfigModel) and name in (docs := field_docs(holder.__module__, holder.__qualname__)):
            return "".join([docs[name], *former])
    raise ValueError(f"{model.__module__}.{model.__qualname__}.{name} has no docstring; write one under the field")


@cache
def field_docs(module: str, name: str) -> Mapping[str, str]:
    """Return the docstrings under the fields of a class of a module, by field."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    docs: dict[str, str] = {}
    for pair in pairwise(found.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(ast.Constant(str(text))) if text.strip():
                docs[key] = text
    return docs


def plain(text: str) -> str:
    """Return text on one line, without what Markdown would take for emphasis or for the end of a cell."""
    return re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or r"\*", " ".join(text.split()).replace("|", r"\|"))


def main(arguments: Sequence[str]) -> None:
    """Write the page, or check it: exits with one line where it is out of date."""
    path = Path(__file__).with_name("config.md")
    text = page(
        {name: kind.settings() for name, kind in KINDS.items()}, path.with_name("config_introduction.txt").read_text()
    )
    if "--check" not in arguments:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.exit(f"{path} is out of date; run: .venv/bin/python docs/generate.py")


if __name__ == "__main__":
    main(sys.argv[1:])
