"""The page of config keys: docs/config.md is what docs/generate.py makes of the settings, and leaves no key out."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from medalist.config import ConfigModel
from medalist.data.transforms import compose_augment
from medalist.kinds import KINDS, load_settings

PROJECT = Path(__file__).parent.parent
PAGE = PROJECT / "docs" / "config.md"
CONFIGS = sorted(path for path in (PROJECT / "configs").rglob("*.yaml") if path.parent.name != "base")


class Cat(ConfigModel):
    """A cat.

    It is awake
    at night.
    """

    renamed: ClassVar[Mapping[str, str]] = {"souls": "lives"}

    lives: int = Field(default=9, ge=1, le=9)
    """The number
    of lives."""

    kind: Literal["cat", "lion"]
    """The family."""


class Dog(ConfigModel):
    """A dog."""

    kind: Literal["dog"] = "dog"
    """`dog` is the only kind."""

    names: tuple[str, ...] = Field(min_length=1)
    """`a * b`, then a * b | c."""


class Home(ConfigModel):
    """A home."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Dog(names=("x",))
    """The pet."""

    guests: tuple[Cat, ...] = ()
    """The guests."""

    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = None
    """The height and the width."""

    heat: Annotated[float, Field(gt=0, lt=1)] | Literal["off", "on"] = 1e-5
    """The heat."""

    rules: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The rules."""

    cold: bool
    """Whether the home is cold."""


class Garage(Home):
    """A home whose field has the docstring of its base."""

    cold: bool = True


class Silent(ConfigModel):
    """Its second field has no docstring."""

    said: int = 1
    """The first field."""
    unsaid: int = 2

    @property
    def later(self) -> int:
        """This is not the docstring of a field."""
        return self.unsaid


class Around(ConfigModel):
    """It holds a model with a field without docstring."""

    inside: Silent | None = None
    """The inner block."""


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{__name__}_generate", PAGE.with_name("generate.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def subclasses(model: type[ConfigModel]) -> Iterator[type[ConfigModel]]:
    for below in model.__subclasses__():
        yield below
        yield from subclasses(below)


def keys_of(settings: ConfigModel, path: str = "") -> Iterator[str]:
    """The dotted keys of a config that was read, down to what is no settings model."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        yield f"{path}{name}"
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, ConfigModel):
                yield from keys_of(one, f"{path}{name}.")


def test_the_page_is_what_the_settings_say(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, type .venv/bin/python docs/generate.py."""
    generate.main(["--check"])
    shutil.copy(PAGE.with_name("config_introduction.txt"), tmp_path)
    monkeypatch.setattr(generate, "__file__", str(tmp_path / "generate.py"))
    generate.main([])
    assert (tmp_path / "config.md").read_bytes() == PAGE.read_bytes()


def test_a_page_that_is_missing_or_old_is_told_in_one_line(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PAGE.with_name("config_introduction.txt"), tmp_path)
    monkeypatch.setattr(generate, "__file__", str(tmp_path / "generate.py"))
    for old in (None, PAGE.read_text().replace("`0.001`", "`0.1`", 1)):
        if old is not None:
            (tmp_path / "config.md").write_text(old)
        with pytest.raises(SystemExit) as caught:
            generate.main(["--check"])
        line = str(caught.value.code)  # a text as code is written to the standard error, and the process exits with 1
        assert line.endswith("config.md is out of date; run: .venv/bin/python docs/generate.py") and "\n" not in line
    assert (tmp_path / "config.md").read_text() == old


def test_every_field_of_every_settings_model_has_a_meaning(generate: ModuleType) -> None:
    for kind in KINDS.values():
        kind.settings()
    models = [model for model in subclasses(ConfigModel) if model.__module__.startswith("medalist.")]
    assert len(models) > 40
    for model in models:
        assert model.__doc__, model
        for name in model.model_fields:
            assert generate.meaning(model, name).endswith("."), (model, name)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(PROJECT / "configs")))
def test_every_key_of_the_configs_stands_on_the_page(path: Path) -> None:
    text = PAGE.read_text()
    assert [key for key in keys_of(load_settings(path)) if f"\n| `{key}` | " not in text] == []


def test_links_lead_to_one_heading_each() -> None:
    text = PAGE.read_text()
    headings = Counter(
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    )
    targets = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert len(targets) > 40
    assert {target: headings[target] for target in targets} == dict.fromkeys(targets, 1)


def test_what_the_introduction_tells_to_type_is_a_config() -> None:
    text = PAGE.with_name("config_introduction.txt").read_text()
    command = re.search(r"medalist train CONFIG (.*)", text)
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert command and block
    settings = load_settings(PROJECT / "configs" / "toy_nuclei" / "demo.yaml", tuple(shlex.split(command[1])))
    assert (settings.train.lr, [mix.kind for mix in settings.train.mix]) == (3e-4, ["mixup"])
    assert len(compose_augment(tuple(yaml.safe_load(block[1])["augment"])).transforms) == 2


def test_types_and_defaults_are_in_the_words_of_yaml(generate: ModuleType) -> None:
    assert generate.page({"home": Home, "garage": Garage}, "Hello.\n") == WRITTEN


def test_a_field_without_docstring_is_refused(generate: ModuleType) -> None:
    for model in (Silent, Around):
        with pytest.raises(
            ValueError, match=r"test_config_page\.Silent\.unsaid has no docstring; write one under the field"
        ):
            generate.page({"one": model}, "")


WRITTEN = r"""Hello.

## Keys of every kind

| key | type | default | meaning |
|---|---|---|---|
| `pet` | [block cat, lion](#pet-kind-cat-lion) or [block dog](#pet-kind-dog) | `{kind: dog, names: [x]}` | The pet. |
| `guests` | list of [block cat, lion](#guests-kind-cat-lion) | `[]` | The guests. |
| `size` | list of length 2 of int >= 8 or null | `null` | The height and the width. |
| `heat` | float > 0, < 1 or one of `'off'`, `'on'` | `1.0e-05` | The heat. |
| `rules` | block of name: block of name: anything | `{}` | The rules. |

### `pet`, kind cat, lion

A cat.

It is awake at night.

| key | type | default | meaning |
|---|---|---|---|
| `pet.kind` | one of `cat`, `lion` |  | The family. |
| `pet.lives` | int 1..9 | `9` | The number of lives. The former name `souls` still works. |

### `pet`, kind dog

A dog.

| key | type | default | meaning |
|---|---|---|---|
| `pet.kind` | `dog` | `dog` | `dog` is the only kind. |
| `pet.names` | list of length >= 1 of string |  | `a * b`, then a \* b \| c. |

### `guests`, kind cat, lion

A cat.

It is awake at night.

| key | type | default | meaning |
|---|---|---|---|
| `guests.kind` | one of `cat`, `lion` |  | The family. |
| `guests.lives` | int 1..9 | `9` | The number of lives. The former name `souls` still works. |

## Keys of home

| key | type | default | meaning |
|---|---|---|---|
| `cold` | boolean |  | Whether the home is cold. |

## Keys of garage

| key | type | default | meaning |
|---|---|---|---|
| `cold` | boolean | `true` | Whether the home is cold. |
"""
