"""A contest's own parts: the examples of docs/own_parts.md run, and mistakes are one line each."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medalist.competition import load_competition
from medalist.config import OwnConfig
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError
from medalist.parts import NO_PARTS, OwnParts, parts_conflict, parts_of
from medalist.predictor import open_run
from medalist.records import Instances, MapPrediction
from medalist.tasks.own import OwnLoss, own_network, refuse_without_encoder
from medalist.tasks.segment.deciding import decide_by
from medalist.tasks.segment.loss_settings import LossConfig

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "own_parts.md").read_text()
SEGMENT, CLASSIFY = PAGE.split("## An example: ")[1:]
WRONG = """\
import torch
from torch import nn

def pair(inputs: int, outputs: int, width: int, sides: tuple[int, int] = (3, 3), name: str = "a"):
    return nn.Conv2d(inputs, outputs, 1)

def broken(inputs, outputs):
    raise KeyError("no such layer")

NETWORKS = {"pair": pair, "broken": broken, "flat": lambda inputs, outputs: nn.Flatten(), "none": lambda a, b: None}
LOSSES = {"vector": lambda outputs, target: outputs, "still": lambda outputs, target: torch.zeros(())}
DECIDES = {"short": lambda prediction: None}
"""


def block(section: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", section, re.S)
    assert found
    return found[1]


@pytest.fixture
def home(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the toy contest, and the parts and the config of the page; it is the working folder."""
    folder = tmp_path / "competitions" / "toy_nuclei"
    shutil.copytree(PROJECT / "competitions" / "toy_nuclei", folder, ignore=shutil.ignore_patterns("tests", "__py*"))
    (folder / "parts.py").write_text(block(SEGMENT, "python"))
    (tmp_path / "own.yaml").write_text(block(SEGMENT, "yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts_file(home: Path) -> Path:
    return home / "competitions" / "toy_nuclei" / "parts.py"


def test_own_parts_of_the_page_train_and_answer(home: Path, drawn: Path, medalist: Callable[..., Any]) -> None:
    runs, data = home / "runs", ("--data", drawn)
    for words in (
        ("train", "own.yaml", *data),
        ("score", "toy_nuclei/own", *data),
        ("submit", "toy_nuclei/own", *data, "-o", home / "submission.csv"),
        ("score", "toy_nuclei/own", *data, "decide.args.threshold=0.6"),
    ):
        ended = medalist("--runs", runs, *words)
        assert ended.code == 0, ended.err
    lock = json.loads((runs / "toy_nuclei" / "own" / "lock.json").read_text())
    assert lock["parts"] == parts_of(load_competition("toy_nuclei")).hash != ""
    opened = open_run("toy_nuclei/own", runs=runs)
    answer = opened.answer(np.full((70, 90, 3), 40, np.uint8))
    assert isinstance(answer, Instances) and answer.size == (70, 90)

    # Another file of parts: what trains is refused, in the same process too; a decision alone is not.
    parts_file(home).write_text(parts_file(home).read_text().replace("1 - (overlap", "2 - (overlap"))
    ended = medalist("--runs", runs, "train", "own.yaml", *data)
    assert ended.code == 2
    assert "parts.py was changed since the run was made" in ended.line and "loss" in ended.line
    assert medalist("--runs", runs, "score", "toy_nuclei/own", *data).code == 0
    with pytest.warns(UserWarning, match=r"parts\.py was changed since toy_nuclei/own was trained"):
        open_run("toy_nuclei/own", runs=runs)


@pytest.mark.slow
def test_own_parts_are_planned_and_debugged(home: Path, drawn: Path, medalist: Callable[..., Any]) -> None:
    for words in (("plan", "own.yaml", "--seconds", 2), ("debug", "own.yaml", "--steps", 4)):
        ended = medalist("--runs", home / "runs", *words, "--data", drawn)
        assert ended.code == 0, ended.err


def test_a_wrong_argument_is_one_line_before_anything_is_trained(
    home: Path, drawn: Path, medalist: Callable[..., Any]
) -> None:
    ended = medalist("--runs", home / "runs", "train", "own.yaml", "--data", drawn, "model.args.widht=3")
    assert ended.code == 2 and ended.line == (
        "model.args: tiny_net has no argument 'widht'; it has: width; did you mean 'width'?"
    )
    assert not (home / "runs" / "toy_nuclei" / "own").exists()


@pytest.mark.parametrize(
    ("section", "name", "args", "told"),
    [
        ("NETWORKS", "tiny_nett", {}, "has tiny_net; did you mean 'tiny_net'?"),
        ("NETWORKS", "tiny_net", {"width": "wide"}, "model.args.width = 'wide': must be a valid integer"),
        ("NETWORKS", "tiny_net", {"inputs": 3}, "medalist itself gives inputs"),
        ("LOSSES", "soft_jaccard", {"smooth": [1]}, "model.args.smooth = [1]: must be a valid number"),
        ("DECIDES", "blobs", {}, "blobs needs the argument 'threshold'"),
        ("TRANSFORMS", "speks", {}, "did you mean 'specks'?"),
        ("TRANSFORMS", "specks", {"shar": 0.1}, "did you mean 'share'?"),
    ],
)
def test_a_wrong_name_or_argument_is_one_line(
    home: Path, section: Any, name: str, args: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        found(home, section, name, args, {"DECIDES": 1, "TRANSFORMS": 0}.get(section, 2))
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.args.widht=3", "model.args: tiny_net has no argument 'widht'"),
        ("model.name=tiny_nett", "did you mean 'tiny_net'?"),
        ("decide.args.threshold=high", "decide.args.threshold = 'high'"),
        ("loss.args.nothing=1", "has no argument 'nothing'"),
    ],
)
def test_show_checks_own_parts_too(home: Path, medalist: Callable[..., Any], change: str, words: str) -> None:
    assert medalist("show", "own.yaml").code == 0
    ended = medalist("show", "own.yaml", change)
    assert (ended.code, ended.out) == (2, "") and words in ended.line


def test_a_decision_that_fails_or_answers_something_else_is_one_line(home: Path) -> None:
    own, empty = parts_of(load_competition("toy_nuclei")), MapPrediction(np.zeros((1, 8, 8), np.uint8), ("a",))
    how = OwnConfig(name="blobs", args={"threshold": 0.5})
    with pytest.raises(ConfigError, match=r"parts\.py, line \d+: decide = blobs fails \(DataError: no channel 'body'"):
        decide_by(how, own)(empty)
    parts_file(home).write_text("DECIDES = {'none': lambda prediction: None}\n")
    with pytest.raises(ConfigError, match="decide = none gives NoneType, and must give a Mask or Instances"):
        decide_by(OwnConfig(name="none"), own)(empty)


def found(home: Path, section: Any, name: str, args: Mapping[str, Any], given: int = 2) -> Any:
    own = parts_of(load_competition("toy_nuclei"))
    return own.find(section, OwnConfig(name=name, args=dict(args)), "model", given)


def test_arguments_become_what_the_hints_say(home: Path) -> None:
    parts_file(home).write_text(WRONG)
    made = found(home, "NETWORKS", "pair", {"width": 4, "sides": [1, 2]})
    assert made.keywords == {"width": 4, "sides": (1, 2)}
    for args, told in (
        ({}, "needs the argument 'width'"),
        ({"width": 4.5}, r"args.width = 4.5: must be a valid integer"),
        ({"width": True}, "args.width = True"),
        ({"width": 4, "sides": [1]}, r"args.sides\[1\]"),
        ({"width": 4, "name": 3}, "args.name = 3: must be a valid string"),
    ):
        with pytest.raises(ConfigError, match=told):
            found(home, "NETWORKS", "pair", args)


def test_a_file_that_fails_is_told_with_its_line(home: Path) -> None:
    own = parts_of(load_competition("toy_nuclei"))
    parts_file(home).write_text(WRONG)
    for name, told in (
        ("broken", r"parts\.py, line 8: model = broken cannot be built \(KeyError"),
        ("flat", r"gives \[1, 192\] for an image of 8x8, and must give \[1, 1, 8, 8\]"),
        ("none", "makes NoneType, not a torch.nn.Module"),
    ):
        with pytest.raises(ConfigError, match=told):
            own_network(OwnConfig(name=name), own, (3, 8, 8), 1, (1, 8, 8))
    for name, told in (("vector", r"gives \[2, 1\], and must give one number"), ("still", "has no gradient")):
        with pytest.raises(ConfigError, match=told):
            OwnLoss(OwnConfig(name=name), own, by_sample=False).refuse_unfit((2, 1), torch.zeros(2, 1))
    for text, told in (
        ("import nosuchmodule\n", r"line 1: it cannot be imported \(ModuleNotFoundError"),
        ("x = (\n", r"line 1: it cannot be imported \(SyntaxError"),
        ("NETWORKS = ['a']\n", "has no NETWORKS"),
        ("", "has no NETWORKS"),
    ):
        parts_file(home).write_text(text)
        with pytest.raises(ConfigError, match=told):
            found(home, "NETWORKS", "a", {})
    parts_file(home).unlink()
    with pytest.raises(ConfigError, match=r"there is no .*parts\.py"):
        found(home, "NETWORKS", "a", {})
    with pytest.raises(ConfigError, match=r"^model\.kind = own, but the competition comes from no folder"):
        NO_PARTS.find("NETWORKS", OwnConfig(name="a"), "model", 2)


def test_transforms_of_ones_own_are_seeded_as_others(home: Path) -> None:
    own, image = parts_of(load_competition("toy_nuclei")), np.zeros((16, 16, 3), np.uint8)
    pipeline = compose_augment((OwnConfig(name="specks", args={"share": 0.2, "p": 1.0}),), own)
    one, again, other = (augment(pipeline, image, None, sample_seed(1, epoch, 0))[0] for epoch in (0, 0, 1))
    assert one.any() and np.array_equal(one, again) and not np.array_equal(one, other)
    parts_file(home).write_text("TRANSFORMS = {'none': lambda: 3}\n")
    with pytest.raises(ConfigError, match=r"^augment\[0\] = none: .* makes int, and a transform must be"):
        compose_augment((OwnConfig(name="none"),), own)


def test_a_learning_rate_of_an_encoder_that_is_not_there_is_refused(home: Path) -> None:
    config = OwnConfig(name="net")
    refuse_without_encoder(nn.Sequential(), config, TrainConfig())
    refuse_without_encoder(nn.ModuleDict({"encoder": nn.Linear(1, 1)}), config, TrainConfig(encoder_lr=0.1))
    with pytest.raises(ConfigError, match=r"^train\.encoder_lr acts on the parameters below 'encoder'"):
        refuse_without_encoder(nn.Linear(1, 1), config, TrainConfig(encoder_lr=0.1))


def test_the_hash_is_of_all_that_the_parts_import(home: Path) -> None:
    own, file = parts_of(load_competition("toy_nuclei")), parts_file(home)
    assert isinstance(own, OwnParts)
    file.write_text("from .nets import NETWORKS\n")
    (file.parent / "nets.py").write_text("NETWORKS = {'a': lambda inputs, outputs: 1}\n")
    before = own.hash
    assert found(home, "NETWORKS", "a", {})(3, 1) == 1
    (file.parent / "nets.py").write_text("NETWORKS = {'a': lambda inputs, outputs: 2}\n")
    assert own.hash != before and found(home, "NETWORKS", "a", {})(3, 1) == 2
    (file.parent / "other.py").write_text("x = 1\n")
    now = own.hash
    (file.parent / "other.py").write_text("x = 2\n")
    assert own.hash == now


def test_only_a_part_that_trains_stops_a_training(home: Path) -> None:
    from medalist.kinds import load_settings

    whole = load_settings(home / "own.yaml")
    assert parts_conflict(whole, "a", "b", ("decide",)).endswith("augment[1], model, loss comes from it")
    assert parts_conflict(whole, "a", "a", ("decide",)) == parts_conflict(whole, "", "b", ("decide",)) == ""
    changes = ("model={kind: unet, encoder: resnet18, channels: [body]}", "loss={bce: 1.0}", "augment=[]")
    decided = load_settings(home / "own.yaml", changes)
    assert parts_conflict(decided, "a", "b", ("decide",)) == ""


def test_a_base_of_another_kind_leaves_nothing_behind(home: Path) -> None:
    """A block without `kind` below a block of `kind: own` is of another model, so its keys are dropped."""
    from medalist.kinds import load_settings

    (home / "base").mkdir()
    (home / "base" / "low.yaml").write_text("loss: {bce: 1.0, dice: 1.0}\n")
    (home / "own.yaml").write_text("base: low\n" + block(SEGMENT, "yaml"))
    settings: Any = load_settings(home / "own.yaml")
    assert settings.loss == OwnConfig(name="soft_jaccard", args={"smooth": 0.5})
    back: Any = load_settings(home / "own.yaml", ("loss.bce=2.0",))
    assert back.loss == LossConfig(bce=2.0)
    changed: Any = load_settings(home / "own.yaml", ("loss.args.smooth=0.7",))
    assert changed.loss.args == {"smooth": 0.7}
    with pytest.raises(ConfigError, match=r"unknown key 'loss\.bcee'.*did you mean 'bce'"):
        load_settings(home / "own.yaml", ("loss={bcee: 1.0}",))


def test_own_parts_are_not_imported_where_nothing_is_decided(home: Path, drawn: Path, medalist: Any) -> None:
    parts_file(home).write_text("raise RuntimeError('imported')\n")
    runs = home / "runs"
    for words in (
        ("check", "toy_nuclei", "--data", drawn),
        ("folds", "own.yaml", "--data", drawn),
        ("board",),
    ):
        assert medalist("--runs", runs, *words).code == 0, words
    ended = medalist("--runs", runs, "train", "own.yaml", "--data", drawn)
    assert ended.code == 2 and "line 1: it cannot be imported (RuntimeError: imported)" in ended.line
