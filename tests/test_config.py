from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, model_validator

from medalist.config import (
    ConfigModel,
    differences,
    dump_config,
    load_config,
    parse_config,
    read_layers,
    saved_layers,
)
from medalist.errors import ConfigError
from medalist.tasks.embed.settings import EmbedSettings


class Cat(ConfigModel):
    renamed: ClassVar[Mapping[str, str]] = {"called": "names"}

    kind: Literal["cat", "lion"]
    lives: int = Field(default=9, ge=1)
    names: tuple[str, ...] = ()


class Dog(BaseModel):
    model_config = {"frozen": True, "extra": "forbid"}
    renamed: ClassVar[Mapping[str, str]] = {"stunts": "tricks"}

    kind: Literal["dog"]
    lives: int = 1
    tricks: float = 0.5


class Feeding(ConfigModel):
    renamed: ClassVar[Mapping[str, str]] = {"amount": "grams"}

    grams: float = Field(default=50.0, gt=0)
    times: tuple[int, ...] | None = None
    dry: bool = True
    bowl: Path | None = None

    @model_validator(mode="after")
    def _not_both(self) -> Feeding:
        if self.dry and self.grams > 500:
            raise ValueError("home.grams above 500 needs home.dry = false")
        return self


class Home(ConfigModel):
    name: str
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    feeding: Feeding = Feeding()
    rules: tuple[dict[str, dict[str, Any]], ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    mode: Literal["none", "loud"] = "none"


GOOD = "name: here\npet: {kind: cat, lives: 7}\n"


@pytest.fixture(autouse=True)
def nothing_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.config.finding.shipped_folder", lambda name: None)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Home]:
    def loaded(text: str, *overrides: str, base: str | None = None) -> Home:
        if base is not None:
            (tmp_path / "base").mkdir(exist_ok=True)
            (tmp_path / "base" / "pets.yaml").write_text(base)
        path = tmp_path / "home.yaml"
        path.write_text(text)
        return load_config(path, overrides, Home)

    return loaded


def refused(load: Callable[..., Home], *arguments: str, **named: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    return message


# ------------------------------------------------------------------------------------------------- layers


def test_defaults_then_base_then_file_then_command_line(load: Callable[..., Home]) -> None:
    base = "name: base\nmode: loud\nfeeding: {grams: 1.0, times: [1]}\n"
    home = load("base: pets\nname: file\npet: {kind: cat}\nfeeding: {grams: 2}\n", "feeding.grams=3e-1", base=base)
    assert (home.name, home.mode) == ("file", "loud")
    assert home.pet == Cat(kind="cat", lives=9)
    assert home.feeding == Feeding(grams=0.3, times=(1,))


def test_lists_are_replaced_and_blocks_are_merged(load: Callable[..., Home]) -> None:
    base = "rules: [{A: {x: 1}}, {B: {}}]\nweights: {a: 1, b: 2}\n"
    home = load("base: pets\n" + GOOD + "rules: [{C: {}}]\nweights: {b: 3}\n", base=base)
    assert home.rules == ({"C": {}},)
    assert home.weights == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("feeding.grams=1e-3", 0.001),
        ("feeding.grams=5", 5),
        ("feeding.times=[1, 2]", (1, 2)),
        ("feeding.times=null", None),
        ("feeding.dry=false", False),
        ("feeding.dry=no", False),
        ("feeding.bowl=a/b", Path("a/b")),
        ("name='7'", "7"),
        ("name=a=b", "a=b"),
        ("name=none", "none"),
        ("mode=loud", "loud"),
        ("weights.a=2", 2),
    ],
)
def test_overrides_are_yaml_values(load: Callable[..., Home], override: str, value: Any) -> None:
    found: Any = load(GOOD, override)
    for key in override.partition("=")[0].split("."):
        found = found[key] if isinstance(found, dict) else getattr(found, key)
    assert found == value and type(found) in (type(value), float)


def test_of_two_overrides_of_one_key_the_later_counts(load: Callable[..., Home]) -> None:
    assert load(GOOD, "name=a", "name=b").name == "b"


def test_another_models_kind_drops_the_keys_of_the_old_one(load: Callable[..., Home]) -> None:
    text = "name: here\npet: {kind: cat, lives: 7, names: [x]}\n"
    assert load(text, "pet.kind=dog").pet == Dog(kind="dog", lives=1)  # 7 was set for a cat
    assert load("base: pets\nname: x\npet: {kind: dog}\n", base="pet: {kind: cat, names: [x]}\n").pet == Dog(kind="dog")


def test_a_kind_of_the_same_model_keeps_its_keys(load: Callable[..., Home]) -> None:
    text = "name: here\npet: {kind: cat, lives: 7, names: [x]}\n"
    assert load(text, "pet.kind=lion").pet == Cat(kind="lion", lives=7, names=("x",))


def test_overrides_are_one_layer_so_that_a_kind_cannot_swallow_one_before_it(load: Callable[..., Home]) -> None:
    dog = Dog(kind="dog", lives=1, tricks=0.25)
    assert load(GOOD, "pet.tricks=0.25", "pet.kind=dog").pet == dog
    assert load(GOOD, "pet.kind=dog", "pet.tricks=0.25").pet == dog
    assert "unknown key 'pet.names'" in refused(load, GOOD, "pet.names=[x]", "pet.kind=dog")


def test_settings_are_frozen(load: Callable[..., Home]) -> None:
    home = load(GOOD)
    with pytest.raises(ValidationError):
        home.name = "other"
    with pytest.raises(ValidationError):
        home.feeding.grams = 2


# ------------------------------------------------------------------------------------------------- refusals

FAULTS = [  # text, overrides, parts of the message
    ("name: x\npet: {kind: cat}\nnmae: y\n", (), ("home.yaml: unknown key 'nmae' (value 'y')", "did you mean 'name'?")),
    ("name: x\npet: {kind: cat}\nzzz: 1\n", (), ("unknown key 'zzz'", "allowed here: feeding, mode, name, pet, rules")),
    (GOOD, ("feeding.gram=3",), ("command line: unknown key 'feeding.gram' (value 3)", "did you mean 'grams'?")),
    (GOOD, ("feeding.grams.x=3",), ("command line: feeding.grams = {'x': 3}: must be a valid number",)),
    (GOOD, ("pet.live=3",), ("unknown key 'pet.live'", "allowed here: kind, lives, names; did you mean 'lives'?")),
    (GOOD, ("pet.kind=dgo",), ("command line: pet.kind = 'dgo'; allowed: cat, lion, dog; did you mean 'dog'?",)),
    (GOOD, ("pet.kind=[cat]",), ("pet.kind = ", "allowed: cat, lion, dog")),
    (GOOD, ("pet=cat",), ("command line: pet = 'cat': must be a block of 'key: value'",)),
    (GOOD, ("pet=null",), ("command line: pet = None: ",)),
    ("name: x\npet: {lives: 3}\n", (), ("home.yaml: key 'pet.kind' is missing",)),
    ("pet: {kind: cat}\n", (), ("home.yaml: key 'name' is missing",)),
    ("pet: {kind: cat}\n", ("mode=loud",), ("home.yaml: key 'name' is missing",)),
    ("nam: x\npet: {kind: cat}\n", (), ("unknown key 'nam'", "did you mean 'name'?")),
    (GOOD, ("pet.lives=0",), ("command line: pet.lives = 0: must be greater than or equal to 1",)),
    (GOOD, ("pet.lives=many",), ("command line: pet.lives = 'many': must be a valid integer",)),
    (GOOD, ("pet.lives='3'",), ("pet.lives = '3': must be a valid integer",)),
    (GOOD, ("pet.lives=3.5",), ("pet.lives = 3.5: must be a valid integer",)),
    (GOOD, ("pet.lives=yes",), ("pet.lives = True: must be a valid integer",)),
    (GOOD, ("feeding.grams=on",), ("feeding.grams = True: must be a valid number",)),
    (GOOD, ("feeding.grams=",), ("feeding.grams = None: must be a valid number",)),
    (GOOD, ("feeding.dry=1",), ("feeding.dry = 1: must be a valid boolean",)),
    (GOOD, ("feeding.times=3",), ("feeding.times = 3: must be a list",)),
    (GOOD, ("feeding.times=[1, x]",), ("feeding.times.1 = 'x': must be a valid integer",)),
    (GOOD, ("feeding.grams=900",), ("command line: feeding: home.grams above 500 needs home.dry = false",)),
    (GOOD, ("name=3",), ("name = 3: must be a valid string",)),
    (GOOD, ("mode=lod",), ("mode = 'lod'; allowed: none, loud; did you mean 'loud'?",)),
    (GOOD, ("mode=no",), ("mode = False; allowed: none, loud", "YAML takes yes, no, on and off for true and false")),
    (GOOD, ("weights.a=x",), ("weights.a = 'x': must be a valid number",)),
    (GOOD, ("rules=[{A: 1}]",), ("rules.0.A = 1: must be a block",)),
    (GOOD + "rules: [{A: {}}, 3]\n", (), ("home.yaml: rules.1 = 3: must be a block",)),
    (GOOD, ("rules.1.A=3",), ("rules = {'1': {'A': 3}}: must be a list",)),
    (GOOD, ("base=pets",), ("command line: unknown key 'base'",)),
    (GOOD, ("verbose",), ("override 'verbose' is not key=value; type for instance",)),
    (GOOD, ("=3",), ("override '=3' is not key=value",)),
    (GOOD, (" =3",), ("override ' =3' is not key=value",)),
    (GOOD, ("feeding.=3",), ("unknown key 'feeding.'",)),
    (GOOD, (".name=3",), ("unknown key ''",)),
    (GOOD, ("names[0]=3",), ("unknown key 'names'", "did you mean 'name'?")),
    (GOOD, ("feeding.times=[1,",), ("override 'feeding.times=[1,': ",)),
    (GOOD, ("feeding.grams=.nan",), ("override 'feeding.grams=.nan': nan is not a finite number",)),
    (GOOD, ("rules=[{A: {x: -.inf}}]",), ("-inf is not a finite number",)),
    (GOOD, ("name=" + "x" * 5000 + "\x00",), ("override 'name=xxx",)),
    (GOOD, ("mode=" + "x" * 5000,), ("mode = 'xxx", "…; allowed: none, loud")),
]


@pytest.mark.parametrize(("text", "overrides", "words"), FAULTS, ids=[f"{f[1] or f[0]!r}"[:60] for f in FAULTS])
def test_a_fault_is_one_line_with_place_key_value_and_remedy(
    load: Callable[..., Home], text: str, overrides: tuple[str, ...], words: tuple[str, ...]
) -> None:
    message = refused(load, text, *overrides)
    for word in words:
        assert word in message


def test_the_layer_that_said_it_is_named(load: Callable[..., Home], tmp_path: Path) -> None:
    text = "base: pets\nname: x\nfeeding: {dry: false}\n"
    for base, words in (
        ("pet: {kind: cat, lives: 0}\n", "pets.yaml: pet.lives = 0"),
        ("pet: {kind: cta}\n", "pets.yaml: pet.kind = 'cta'"),
        ("pet: {kind: cat}\nfeeding: {gram: 2}\n", "pets.yaml: unknown key 'feeding.gram'"),
        ("pet: {kind: cat}\nrules: [3]\n", "pets.yaml: rules.0 = 3"),
    ):
        message = refused(load, text, base=base)
        assert message.startswith(str(tmp_path / "base")) and words in message
        # An override of another key is not named as the cause.
        assert words in refused(load, text, "mode=loud", base=base)


def test_a_value_that_is_null_is_found_where_it_stands(load: Callable[..., Home]) -> None:
    assert "home.yaml: feeding = None" in refused(load, GOOD + "feeding: ~\n", "mode=loud")


# ------------------------------------------------------------------------------------------------- hostile YAML

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)
HOSTILE = {
    "a bomb of aliases": BOMB,
    "an alias": "name: &n x\nrules: [{A: {x: *n}}]\n",
    "a list that holds itself": "rules: &r [*r]\n",
    "python objects": "name: !!python/object/apply:os.getcwd []\n",
    "another tag": "name: !thing 3\n",
    "a key twice": "name: x\nname: y\n",
    "a nested key twice": "pet: {kind: cat, kind: dog}\n",
    "tabs": "name:\n\t- x\n",
    "a list": "- name\n- pet\n",
    "a word": "name\n",
    "two documents": "name: x\n---\nname: y\n",
    "an open bracket": "name: [x\n",
    "an environment variable": "name: ${oc.env:HOME}\n",
    "half an interpolation": "name: ${\n",
    "an interpolation in a key": "${name}: x\n",
    "bytes": "name: !!binary aGVsbG8=\n",
    "a set": "name: !!set {x}\n",
    "not a number": "feeding: {grams: .nan}\n",
    "infinity": "rules: [{A: {x: .inf}}]\n",
    "a bottomless nest": "rules: " + "[" * 500 + "]" * 500 + "\n",
    "a very bottomless nest": "rules: " + "[" * 50_000 + "\n",
    "numbers for keys": "1: 2\n",
    "null for a key": "~: 2\n",
    "yes for a key": "yes: 2\n",
    "a NUL": "name: x\x00\n",
    "nothing": "",
    "only a comment": "# medalist train\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_one_line(load: Callable[..., Home], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "a-secret")
    message = refused(load, text)
    assert "home.yaml" in message and "a-secret" not in message


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00\x00", b"name: \xe4\n", b"\xef\xbb"])
def test_what_is_not_text_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "home.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"config file .*home\.yaml cannot be read") as caught:
        load_config(path, (), Home)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_given_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "unet_lite0.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no config file .*unet_lite\.yaml; did you mean .*unet_lite0\.yaml\?$"):
        load_config(tmp_path / "unet_lite.yaml", (), Home)
    with pytest.raises(ConfigError, match=r"no config file .*zebra\.yaml$"):
        load_config(tmp_path / "zebra.yaml", (), Home)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, (), Home)
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "unet_lite0.yaml" / "x.yaml", (), Home)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / f"{'x' * 300}.yaml", (), Home)


# ------------------------------------------------------------------------------------------------- bases


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("pet", "base = 'pet' is not known; allowed: pets; did you mean 'pets'?"),
        ("[pets, pets]", "base = ['pets', 'pets'] is not known; allowed: pets"),
        ("../home", "base = '../home' is not known; allowed: pets"),
        ("3", "base = 3 is not known"),
        ("{pets: 1}", "base = {'pets': 1} is not known"),
    ],
)
def test_an_unknown_base_is_refused(load: Callable[..., Home], base: str, words: str) -> None:
    assert words in refused(load, f"base: {base}\n{GOOD}", base="mode: loud\n")


def test_there_is_one_base_and_it_has_none(load: Callable[..., Home]) -> None:
    message = refused(load, f"base: pets\n{GOOD}", base="base: pets\nmode: loud\n")
    assert "pets.yaml: a base may not have a base itself" in message


def test_a_base_needs_its_folder(load: Callable[..., Home]) -> None:
    assert "there is no folder 'base' beside or above it" in refused(load, f"base: pets\n{GOOD}")


def test_a_base_is_found_above_and_the_nearest_counts(load: Callable[..., Home], tmp_path: Path) -> None:
    load(GOOD, base="mode: none\n")
    below = tmp_path / "contest" / "old" / "x.yaml"
    below.parent.mkdir(parents=True)
    below.write_text(f"base: pets\n{GOOD}")
    (tmp_path / "contest" / "base").mkdir()
    (tmp_path / "contest" / "base" / "pets.yaml").write_text("mode: loud\n")
    assert load_config(below, (), Home).mode == "loud"


# ------------------------------------------------------------------------------------------------- renamed keys


def noted(call: Callable[[], Home]) -> tuple[Home, list[str]]:
    """Return what `call` loads, and the warnings that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        home = call()
    assert all(one.category is FutureWarning for one in caught)
    return home, [str(one.message) for one in caught]


def test_a_former_name_is_taken_with_one_line_for_each_layer(load: Callable[..., Home], tmp_path: Path) -> None:
    base = "feeding: {amount: 1.0}\n"
    text = "base: pets\nname: x\npet: {kind: cat, called: [a]}\n"
    home, notes = noted(lambda: load(text, "feeding.amount=3", base=base))
    assert home.feeding.grams == 3 and home.pet == Cat(kind="cat", names=("a",))
    assert notes == [
        f"{tmp_path / 'base' / 'pets.yaml'}: feeding.amount is called feeding.grams now; the former name still works",
        f"{tmp_path / 'home.yaml'}: pet.called is called pet.names now; the former name still works",
        "command line: feeding.amount is called feeding.grams now; the former name still works",
    ]


def test_the_note_stands_where_the_config_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "home.yaml").write_text(GOOD)
    with pytest.warns(FutureWarning, match="^command line: feeding.amount is called ") as caught:
        load_config(tmp_path / "home.yaml", ("feeding.amount=3",), Home)
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


def test_layers_that_say_the_former_and_the_present_name_are_one_key(load: Callable[..., Home]) -> None:
    """The later layer wins, with either name."""
    home, notes = noted(lambda: load(GOOD + "feeding: {amount: 1}\n", "feeding.grams=2"))
    assert home.feeding.grams == 2 and len(notes) == 1
    home, notes = noted(lambda: load(GOOD + "feeding: {grams: 1}\n", "feeding.amount=2"))
    assert home.feeding.grams == 2 and len(notes) == 1


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (GOOD + "feeding: {amount: 1, grams: 2}\n", (), "home.yaml: unknown key 'feeding.amount' (value 1)"),
        (GOOD, ("feeding.amount=1", "feeding.grams=2"), "command line: unknown key 'feeding.amount' (value 1)"),
        (GOOD, ("feeding.grams=2", "feeding.amount=1"), "command line: unknown key 'feeding.amount' (value 1)"),
    ],
)
def test_both_names_at_once_are_refused(
    load: Callable[..., Home], text: str, overrides: tuple[str, ...], words: str
) -> None:
    message = refused(load, text, *overrides)
    assert words in message
    assert "allowed here: bowl, dry, grams, times" in message


def test_a_former_name_belongs_to_the_kind_that_another_layer_says(load: Callable[..., Home]) -> None:
    dog = "name: x\npet: {kind: dog}\n"
    home, notes = noted(lambda: load(dog, "pet.stunts=0.25"))
    assert home.pet == Dog(kind="dog", tricks=0.25) and len(notes) == 1
    home, notes = noted(lambda: load(GOOD, "pet.stunts=0.25", "pet.kind=dog"))
    assert home.pet == Dog(kind="dog", tricks=0.25) and len(notes) == 1
    assert "unknown key 'pet.stunts'" in refused(load, GOOD, "pet.stunts=0.25")
    assert "unknown key 'pet.called'" in refused(load, dog, "pet.called=[x]")
    home, notes = noted(lambda: load(GOOD.replace("lives: 7", "called: [x]"), "pet.kind=dog"))
    assert home.pet == Dog(kind="dog") and len(notes) == 1  # it was set for a cat


def test_a_bad_value_is_told_under_the_name_now(load: Callable[..., Home]) -> None:
    with pytest.warns(FutureWarning), pytest.raises(ConfigError) as caught:
        load(GOOD, "feeding.amount=0")
    assert str(caught.value).startswith("command line: feeding.grams = 0: must be greater than 0")


def test_a_saved_config_may_say_a_former_name_without_a_note() -> None:
    text = GOOD + "feeding: {amount: 3}\n"
    assert parse_config(text, "x", Home) == parse_config(text.replace("amount", "grams"), "x", Home)
    assert "amount" not in dump_config(parse_config(text, "x", Home))
    with pytest.raises(ConfigError, match=r"^x: unknown key 'feeding\.amount'"):
        parse_config(GOOD + "feeding: {amount: 3, grams: 3}\n", "x", Home)


WHALES = """\
competition: humpback_whale
task: {kind: embed}
image: {size: [32, 48]}
model: {encoder: test_resnet, dim: 8}
loss: {terms: [{kind: triplet}, {kind: arcface, prototypes: 2}]}
"""
TERM = "loss.terms.1.centres is called loss.terms.1.prototypes now; the former name still works"
CENTRES = "decide.centres is called decide.prototypes now; the former name still works"


def test_the_centres_of_a_decision_are_prototypes(tmp_path: Path) -> None:
    path = tmp_path / "whales.yaml"
    path.write_text(f"{WHALES}decide: {{centres: 0.25}}\n")
    with pytest.warns(FutureWarning) as caught:
        settings = load_config(path, (), EmbedSettings)
    assert [str(one.message) for one in caught] == [f"{path}: {CENTRES}"]
    assert settings.decide.prototypes == 0.25
    path.write_text(WHALES)
    with pytest.warns(FutureWarning) as caught:
        assert load_config(path, ("decide.centres=0.5",), EmbedSettings).decide.prototypes == 0.5
    assert [str(one.message) for one in caught] == [f"command line: {CENTRES}"]
    saved = dump_config(settings)
    former = saved.replace("prototypes:", "centres:")
    assert former.count("  centres: 0.25\n") == former.count("    centres: 2\n") == 1
    assert parse_config(former, "config.yaml", EmbedSettings) == settings
    for overrides in (("decide.centres=0.5", "decide.prototypes=0.1"), ("decide={centres: 0.1, prototypes: 0.1}",)):
        with pytest.raises(ConfigError, match=r"^command line: unknown key 'decide\.centres' "):
            load_config(path, overrides, EmbedSettings)


def test_the_centres_of_a_term_in_a_list_are_prototypes(tmp_path: Path) -> None:
    path = tmp_path / "whales.yaml"
    path.write_text(WHALES)
    now = load_config(path, (), EmbedSettings)
    path.write_text(WHALES.replace("prototypes", "centres"))
    with pytest.warns(FutureWarning) as caught:
        assert load_config(path, (), EmbedSettings) == now
    assert [str(one.message) for one in caught] == [f"{path}: {TERM}"]
    path.write_text(WHALES.replace("prototypes: 2", "prototypes: 2, centres: 2"))
    with pytest.raises(ConfigError, match=r"whales\.yaml: unknown key 'loss\.terms\.1\.centres' "):
        load_config(path, (), EmbedSettings)


# ------------------------------------------------------------------------------------------------- unchecked values


def test_what_layers_say_is_found_before_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "pets.yaml").write_text("pet: {kind: cat, lives: 3}\nmode: 7\n")
    path = tmp_path / "home.yaml"
    path.write_text("base: pets\nname: [x]\npet: {kind: dog}\n")
    layers = read_layers(path, ("pet.tricks=a", "odd.key=1"))
    assert layers.value("pet", "kind") == "dog" and layers.value("pet", "lives") == 3  # values are not checked
    assert (layers.value("name"), layers.value("mode"), layers.value("pet", "tricks")) == (["x"], 7, "a")
    assert layers.value("odd") == {"key": 1} == layers.value("odd") and layers.value("odd", "key") == 1
    for keys in (("nothing",), ("name", "x"), ("mode", "x"), ("pet", "kind", "dog")):
        assert layers.value(*keys) is None
    saved = saved_layers(GOOD, "config.yaml")
    assert saved.value("pet", "lives") == 7 and saved.check(Home) == parse_config(GOOD, "x", Home)
    with pytest.raises(ConfigError, match=r"^config\.yaml is not valid YAML"):
        saved_layers("name: [x", "config.yaml")


# ------------------------------------------------------------------------------------------------- round trips

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: "${" not in text)
TRICKY = st.sampled_from(
    ["1e5", "1e-3", "no", "off", "~", "null", ".nan", "0x1F", "017", "1:30", "2018-01-01", "=", "&a"]
)
HOMES = st.builds(
    Home,
    name=WORDS | TRICKY,
    pet=st.builds(Cat, kind=st.sampled_from(["cat", "lion"]), lives=st.integers(1), names=st.tuples(TRICKY | WORDS))
    | st.builds(Dog, kind=st.just("dog"), tricks=st.floats(allow_nan=False, allow_infinity=False)),
    feeding=st.builds(
        Feeding, grams=st.floats(1e-300, 500), times=st.none() | st.tuples(st.integers()), dry=st.booleans()
    ),
    rules=st.tuples(st.dictionaries(TRICKY, st.dictionaries(WORDS, st.none() | st.booleans() | WORDS | TRICKY))),
    weights=st.dictionaries(TRICKY | WORDS, st.floats(-1e9, 1e9)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOMES)
def test_what_is_dumped_is_parsed_back(home: Home) -> None:
    assert parse_config(dump_config(home), "x", Home) == home


def test_a_dump_is_plain_yaml_in_the_models_order(load: Callable[..., Home]) -> None:
    lines = dump_config(load(GOOD, "feeding.grams=1e-5", "feeding.bowl=a")).splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == list(Home.model_fields)
    assert {"  grams: 1.0e-05", "  bowl: a", "  times: null"} <= set(lines)


def test_a_damaged_dump_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^runs/x/config\.yaml: unknown key 'old'"):
        parse_config(GOOD + "old: 1\n", "runs/x/config.yaml", Home)


def test_differences_name_the_leaves(load: Callable[..., Home]) -> None:
    first = load(GOOD, "weights={a: 1, b: 2}", "feeding.times=[1, 2]")
    assert differences(first, first) == []
    second = load(GOOD, "pet.kind=dog", "weights={b: 3, c: 4}", "feeding.times=[1]", "mode=loud")
    assert sorted(differences(first, second), key=lambda change: change[0]) == [
        ("feeding.times", [1, 2], [1]),
        ("mode", "none", "loud"),
        ("pet.kind", "cat", "dog"),
        ("pet.lives", 7, 1),
        ("pet.names", [], None),
        ("pet.tricks", None, 0.5),
        ("weights.a", 1.0, None),
        ("weights.b", 2.0, 3.0),
        ("weights.c", None, 4.0),
    ]


def test_a_config_of_megabytes_is_refused_before_it_is_parsed(load: Callable[..., Home], tmp_path: Path) -> None:
    """50 MB of YAML took minutes."""
    path = tmp_path / "large.yaml"
    path.write_text("# nothing\n" * 30_000)
    with pytest.raises(ConfigError, match=r"large.yaml cannot be read: 293 kB is more than the 256 kB"):
        load_config(path, [], Home)
