"""Own parts of a contest of labels: the example of docs/own_parts.md runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.config import OwnConfig
from medalist.errors import ConfigError
from medalist.parts import parts_of
from medalist.predictor import open_run
from medalist.records import Labels
from medalist.tasks.classify.decide import decide, own_decide

from .conftest import Bodies

PAGE = (Path(__file__).parents[3] / "docs" / "own_parts.md").read_text().split("## An example: ")[2]


@pytest.fixture
def home(drawn_bodies: Bodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(drawn_bodies.home, tmp_path / "home", ignore=shutil.ignore_patterns("runs", "__pycache__"))
    home = tmp_path / "home"
    for language, name in (("python", "competitions/bodies/parts.py"), ("yaml", "own.yaml")):
        found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
        assert found
        (home / name).write_text(found[1])
    monkeypatch.chdir(home)
    return home


@pytest.mark.slow
def test_own_parts_of_the_page_train_and_answer(home: Path, medalist: Callable[..., Any]) -> None:
    for words in (("train", "own.yaml"), ("score", "bodies/own"), ("submit", "bodies/own", "-o", "out.csv")):
        ended = medalist(*words, "--data", "data")
        assert ended.code == 0, ended.err
    answer = open_run("bodies/own").answer(np.zeros((32, 32, 3), np.uint8))
    assert isinstance(answer, Labels) and len(answer.names) == 1
    ended = medalist("train", "own.yaml", "--data", "data", "loss.args.epsilonn=1", "--name", "other")
    assert ended.code == 2 and "poly has no argument 'epsilonn'" in ended.line


def test_a_decision_of_ones_own_names_classes(home: Path) -> None:
    own, classes = parts_of(load_competition("bodies")), ("ant", "bee")
    values = np.array([[0.2, 0.8], [0.6, 0.4]])
    how = OwnConfig(name="sure_or", args={"otherwise": "ant", "least": 0.7})
    found = decide(values, how, np.empty(0), classes, own_decide(how, own))
    assert [one.names for one in found] == [("bee",), ("ant",)]
    wrong = OwnConfig(name="sure_or", args={"otherwise": "cow"})
    with pytest.raises(ConfigError, match=r"gives \('cow',\), and must give a tuple of names of classes"):
        decide(np.array([[0.4, 0.4]]), wrong, np.empty(0), classes, own_decide(wrong, own))
