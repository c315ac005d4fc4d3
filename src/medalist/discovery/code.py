"""Pieces of the code that is written for a contest: expressions for its images, constants, and the whole file."""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medalist.discovery.finding import Asked, Finding, Part
from medalist.discovery.pictures import ImageSet

WIDTH = 120
"""The longest line."""

CHOOSE = "CHOOSE"
"""The word that marks lines that the files of a contest cannot decide."""


@dataclass
class Code:
    """The code of a contest, piece by piece.

    imports: names by module. constants, functions: blocks of lines before and after `read`. read: the lines of its
    body. docs: the docstring of `read`, without quotes. fields: of the Competition, in order, each with the
    comment above it, or "".
    """

    imports: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    constants: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    docs: str = "Read the samples; DataError names every bad file at once."
    functions: list[str] = field(default_factory=list)
    fields: list[tuple[str, str, str]] = field(default_factory=list)

    def use(self, module: str, *names: str) -> None:
        """Import names of a module."""
        self.imports[module].update(names)

    def set(self, name: str, value: str, comment: str = "") -> None:
        """Give a field of the Competition a value; the comment stands above it."""
        self.fields.append((name, value, comment))


def text(value: str) -> str:
    """A Python literal of a text in double quotes; letters that cannot be printed are escaped."""
    return json.dumps(value, ensure_ascii=False) if value.isprintable() else repr(value)


def texts(values: Sequence[str]) -> str:
    """A Python literal of a tuple of texts, on one line."""
    inside = ", ".join(map(text, values))
    return f"({inside},)" if len(values) == 1 else f"({inside})"


def constant(name: str, values: Sequence[str]) -> str:
    """The lines of a constant that is a tuple of literals, filled to the width of a line where it is long."""
    inside = ", ".join(values)
    line = f"{name} = ({inside}{',' * (len(values) == 1)})"
    if len(line) <= WIDTH:
        return line
    lines: list[str] = ["    "]
    for value in values:
        if len(lines[-1]) + len(value) + 2 > WIDTH and lines[-1].strip():
            lines.append("    ")
        lines[-1] += f"{value}, "
    return "\n".join([f"{name} = (", *(one.rstrip() for one in lines), ")  # fmt: skip"])


def comment(line: str, indent: str = "") -> list[str]:
    """The lines of a comment."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in " ".join(line.split()))
    return textwrap.wrap(plain, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def path(file: str) -> str:
    """An expression for a path inside the contest's folder."""
    return "data" if file == "." else " / ".join(["data", *map(text, file.split("/"))])


def listing(part: Part) -> str:
    """An expression that lists the images of a part: (id, path) of each."""
    images = _listed(part.images)
    match part.key:
        case "name":
            return f"[(path.name, path) for _, path in {images}]"
        case "path":
            base = path(part.prefix.rstrip("/") or ".")
            return f"[(path.relative_to({base}).as_posix(), path) for _, path in {images}]"
        case "stem":
            return images


def _listed(images: ImageSet) -> str:
    folder = text(images.folder)
    if images.ending:
        return f"layouts.images_in_tree(data, {folder}, {text(images.ending)})"
    match images.form:
        case "flat":
            found = f"layouts.images_in_folder(data, {folder})"
        case "per_image":
            found = f"layouts.folder_per_image(data, {folder})"
        case "tree":
            found = f"layouts.images_in_tree(data, {folder})"
    if images.apart:
        return f"[one for one in {found} if not one[0].endswith({text(images.apart)})]"
    return found


def finder(part: Part, name: str, code: Code) -> str:
    """An expression for a function from an id to the path of its image; may add a line to `read`."""
    images = part.images
    if part.key == "path" and not images.apart:
        return f"lambda name: {path(part.prefix.rstrip('/') or '.')} / name"
    if images.form == "flat" and part.key == "name":
        return f"lambda name: {path(images.folder)} / name"
    if images.form == "flat" and len(images.suffixes) == 1:
        suffix = images.suffixes[0]
        if suffix.replace(".", "").isalnum():
            return f'lambda name: {path(images.folder)} / f"{{name}}{suffix}"'
    code.read.append(f"    {name} = dict({listing(part)})")
    return f"lambda name: {name}.get(name, {path(images.folder)} / name)"


def order_of(finding: Finding, code: Code) -> str | None:
    """An expression for the ids of the sample submission in their order; None where there is none.

    It may add a line to `read`.
    """
    asked = finding.asked
    if asked is None or asked.match is None or finding.test is None:
        return None
    ids = f"layouts.ids_in({path(asked.table.file)}, {text(asked.id_column)})"
    if asked.match.joiner:
        code.read.append(f"    asked = {ids}")
        return f"list(dict.fromkeys(name.rpartition({text(asked.match.joiner)})[0] for name in asked))"
    return ids


def sample_field(code: Code, asked: Asked | None) -> None:
    """Write the field `sample_submission`: None where there is none, or its test images are not there."""
    if asked is None or asked.match is None:
        code.set("sample_submission", "None")
    elif asked.table.file != "sample_submission.csv":
        code.set("sample_submission", text(asked.table.file))


def split_call(code: Code, finding: Finding, arguments: Iterable[str]) -> None:
    """Write the call of `layouts.read_split` into `read`. arguments: those that say where the truths are."""
    order = order_of(finding, code)
    code.read += ["    return layouts.read_split(", f"        train={listing(finding.train)},"]
    code.read.append(f"        test={listing(finding.test) if finding.test else '[]'},")
    code.read += [f"        {one}," for one in arguments]
    if order is not None:
        code.read.append(f"        order={order},")
    if finding.group is not None:
        group = finding.group
        code.read += [f"        table={path(group.file)},", f"        id_column={text(group.id_column)},"]
        code.read.append(f"        group={text(group.column)},")
    code.read.append("    )")


def whole(name: str, what: str, code: Code) -> str:
    """The text of the contest's `__init__.py`."""
    code.use("medalist.competition", "Competition")
    code.use("medalist.records", "Split")
    body = "\n".join([*code.constants, *code.read, *code.functions, *(value for _, value, _ in code.fields)])
    if "layouts." in body:
        code.use("medalist", "layouts")
    lines = [f'"""{name}: {what}."""', ""]
    if code.imports["dataclasses"]:
        lines.append(f"from dataclasses import {', '.join(sorted(code.imports['dataclasses']))}")
    lines += ["from pathlib import Path", ""]
    for module in sorted(code.imports):
        if module != "dataclasses" and code.imports[module]:
            lines += _import(module, sorted(code.imports[module], key=_import_order))
    lines += [*([""] if code.constants else []), *_constants(code.constants)]
    lines += ["", *([] if code.constants else [""])]
    lines += [_function("read", "data: Path", "Split", code.docs, code.read), ""]
    for one in code.functions:
        lines += ["", one, ""]
    lines += ["", "COMPETITION = Competition(", f"    name={text(name)},"]
    for key, value, note in code.fields:
        lines += comment(note, "    ") if note else []
        lines.append(f"    {key}={value},")
    return "\n".join(part for line in "\n".join([*lines, ")", ""]).split("\n") for part in _fitted(line))


def _fitted(line: str) -> list[str]:
    """A line of code, parted at the arguments of its call where it is too long."""
    start, end = line.find("("), line.rfind(")")
    if len(line) <= WIDTH or line.lstrip().startswith(("#", '"')) or not 0 < start < end:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return [line[: start + 1], f"{indent}    {line[start + 1 : end]}", indent + line[end:]]


def _constants(blocks: Sequence[str]) -> list[str]:
    return [*(line for block in blocks for line in block.split("\n")), ""] if blocks else []


def _import_order(name: str) -> tuple[int, str]:
    """Constants come first, then classes, then functions, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _import(module: str, names: Sequence[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]


def _function(name: str, arguments: str, result: str, docs: str, lines: Sequence[str]) -> str:
    return "\n".join([f"def {name}({arguments}) -> {result}:", f'    """{docs}"""', *lines])
