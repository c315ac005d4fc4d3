"""A contest's own parts: `parts.py` in its folder, with networks, losses, decides and transforms by name.

The file is imported only when a config names one of its parts, and then only by commands that train or decide.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from medalist.competition import Competition, load_competition, package_of
from medalist.config import OwnConfig, own_parts_in
from medalist.config.faults import first_line, nearest, shortened
from medalist.errors import ConfigError, MedalistError

Section = Literal["NETWORKS", "LOSSES", "DECIDES", "TRANSFORMS"]
"""A dictionary of `parts.py`."""

OWN_FAILS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MedalistError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Errors of the code in `parts.py`, which are told in one line."""


@dataclass(frozen=True)
class OwnParts:
    """The parts of one contest's folder; nothing is imported before a part is asked for.

    folder: the contest's folder, None where the competition is a value that no folder defines. package: the name of its
    module.
    """

    folder: Path | None = None
    package: str = ""

    @property
    def file(self) -> Path | None:
        """The contest's `parts.py`, whether it is there or not."""
        return None if self.folder is None else self.folder / "parts.py"

    @property
    def hash(self) -> str:
        """The sha256 of `parts.py` and of the modules of the folder that it imports; empty where there is no file."""
        if self.file is None or not self.file.is_file():
            return ""
        return sha256("".join(f"{path.name} {_sha256(path)}\n" for path in _imported(self.file)).encode()).hexdigest()

    def find(self, section: Section, config: OwnConfig, key: str, given: int) -> Callable[..., Any]:
        """Return the part that a config names, with the config's arguments.

        key: the config's key of the part, such as `model`, for messages. given: how many further arguments the caller
        gives by position. Raises ConfigError where there is no such
        part, where an argument is unknown, missing or of another type, and where `parts.py` cannot be imported.
        """
        module = self._module(key)
        known = getattr(module, section, None)
        if not isinstance(known, Mapping) or not all(callable(value) for value in known.values()):
            raise ConfigError(
                f"{key}: {self.file} has no {section}; write {section} = {{'{config.name}': ...}}, a dictionary of "
                "functions by name"
            )
        if config.name not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise ConfigError(
                f"{key}.name = {config.name!r}: {section} of {self.file} has {listed}"
                f"{nearest(config.name, [str(name) for name in known])}"
            )
        part = known[config.name]
        return partial(part, **self._checked(part, given, config, key))

    def _module(self, key: str) -> ModuleType:
        if self.file is None or not self.file.is_file():
            where = "the competition comes from no folder" if self.file is None else f"there is no {self.file}"
            raise ConfigError(f"{key}.kind = own, but {where}; write its parts.py (see docs/own_parts.md)")
        assert self.folder is not None
        if self.package not in sys.modules:  # in another process
            load_competition(self.folder.name, self.folder.parent)
        name, now = f"{self.package}.parts", self.hash
        if getattr(sys.modules.get(name), HASHED, now) != now:  # the file was changed since this process imported it
            for path in _imported(self.file):
                sys.modules.pop(f"{self.package}.{path.stem}", None)
            importlib.invalidate_caches()
        with running(self.file, "it cannot be imported"):
            module = importlib.import_module(name)
        setattr(module, HASHED, now)
        return module

    def _checked(self, part: Callable[..., Any], given: int, config: OwnConfig, key: str) -> dict[str, Any]:
        """Return the config's arguments as the part's type hints want them."""
        named = f"{key} = {config.name}"
        assert self.file is not None
        with running(self.file, f"{named}: its signature cannot be read"):
            parameters = list(inspect.signature(part, eval_str=True).parameters.values())
        positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        if len(positional) < given and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
            raise ConfigError(
                f"{self.file}: {config.name} takes {len(positional)} arguments by position, and medalist "
                f"gives {given}; see docs/own_parts.md"
            )
        taken = {one.name for one in positional[:given]}
        allowed = {
            one.name: one
            for one in parameters
            if one.name not in taken and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        }
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
        for name in config.args:
            if name in taken:
                raise ConfigError(f"{key}.args.{name}: medalist itself gives {name} to {config.name}; leave it out")
            if name not in allowed and not open_ended:
                listed = ", ".join(allowed) or "none"
                raise ConfigError(
                    f"{key}.args: {config.name} has no argument '{name}'; it has: {listed}"
                    f"{nearest(name, list(allowed))}"
                )
        for name, one in allowed.items():
            if one.default is one.empty and name not in config.args:
                raise ConfigError(f"{key}.args: {config.name} needs the argument '{name}'; type {key}.args.{name}=...")
        return {
            name: _typed(allowed[name].annotation, value, f"{key}.args.{name}") if name in allowed else value
            for name, value in config.args.items()
        }


def _typed(hint: Any, value: Any, key: str) -> Any:
    """Return a value from YAML as a type hint wants it; Any where there is no hint."""
    if hint is inspect.Parameter.empty:
        return value
    try:
        try:
            kind = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
        except PydanticUserError:  # a type with settings of its own
            kind = TypeAdapter(hint)
        # Checked as JSON, as all of a config is: strict about numbers and strings, and lists are accepted as tuples.
        return kind.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        inside = "".join(f"[{step!r}]" for step in fault["loc"])
        reason = fault["msg"].replace("Input should be", "must be")
        raise ConfigError(f"{key}{inside} = {shortened(repr(value))}: {reason[:1].lower()}{reason[1:]}") from None
    except PydanticSchemaGenerationError as error:
        raise ConfigError(f"{key}: its type {hint} cannot be given in a config ({first_line(error)})") from None


SECTION_OF: Mapping[str, Section] = {
    "model": "NETWORKS",
    "loss": "LOSSES",
    "decide": "DECIDES",
    "augment": "TRANSFORMS",
}
"""The dictionary of `parts.py` by the section of the config that names its part."""

HASHED = "__medalist_hash__"
"""The attribute of an imported `parts.py` that holds the hash of what was imported."""

NO_PARTS = OwnParts()
"""The parts of a competition that no folder defines."""


def parts_of(competition: Competition) -> OwnParts:
    """Return the parts of a competition's folder. Nothing is imported."""
    package = package_of(competition)
    if package is None or package.__file__ is None:
        return NO_PARTS
    return OwnParts(Path(package.__file__).parent, package.__name__)


def check_parts(settings: Any, own: OwnParts) -> None:
    """Raise ConfigError, as `OwnParts.find` does, for a part of the contest's folder that settings name wrongly.

    settings: those of an experiment (`Experiment.own_given`). `parts.py` is imported where they name a part.
    """
    for key, config in own_parts_in(settings):
        place = key.partition(".")[0].partition("[")[0]
        own.find(SECTION_OF[place], config, key, settings.own_given[place])


def used_hash(settings: Any, competition: Competition) -> str:
    """Return `OwnParts.hash` where settings name a part of the contest's folder; else an empty text."""
    return parts_of(competition).hash if any(True for _ in own_parts_in(settings)) else ""


def parts_conflict(settings: Any, before: str, now: str, free: Collection[str]) -> str:
    """Return why a training cannot continue with the parts as they are now; empty where it can.

    before, now: hashes of `parts.py`; an empty one is not known. free: sections of the config that may change after
    the training, such as `decide`.
    """
    trained = [key for key, _ in own_parts_in(settings) if key.partition(".")[0].partition("[")[0] not in free]
    if not trained or not before or before == now:
        return ""
    return f"the contest's parts.py was changed since the run was made, and {', '.join(trained)} comes from it"


@contextmanager
def running(file: Path, what: str) -> Iterator[None]:
    """Turn an error of the code in `file` into a ConfigError of one line, with the line of the file that raised it.

    Errors for lack of memory are raised unchanged, because it is not the code that is wrong.
    """
    try:
        yield
    except OWN_FAILS as error:
        if "memory" in str(error) or isinstance(error, MemoryError):
            raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        at = f"{file}, line {line}" if line else str(file)
        raise ConfigError(f"{at}: {what} ({type(error).__name__}: {first_line(error)})") from error


def _imported(file: Path) -> list[Path]:
    """Return `file` and the modules of its folder that it imports by relative imports, also through each other."""
    found, waiting = [], [file]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.append(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # whoever imports it says why it cannot be imported
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                waiting += [file.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names]
    return sorted(found)


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
