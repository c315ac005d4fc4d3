"""The regressor of IoUs: the same each time, and texts of others are checked before LightGBM reads them."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from medalist.errors import ConfigError, RunError
from medalist.postprocess.regressor import Regressor, checked_text, train_regressor
from medalist.postprocess.settings import SecondStageConfig

lightgbm = pytest.importorskip("lightgbm")

NAMES = ("a", "b", "c")
STAGE = SecondStageConfig(repeats=2, trees=20, leaves=7)


def rows(count: int = 400, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    values = random.random((count, 3)).astype(np.float32)
    return values, np.clip(values[:, 0] * (values[:, 1] > 0.5) + random.normal(0, 0.05, count), 0, 1)


@pytest.fixture(scope="module")
def trained() -> Regressor:
    return train_regressor(NAMES, *rows(), STAGE)


def slow(text: str, row: Any) -> float:
    """Walk through the trees of a text, one comparison after the other."""
    total = 0.0
    for block in text.partition("\nend of trees")[0].split("\nTree=")[1:]:
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        leaves = [float(word) for word in said["leaf_value"].split()]
        node = -1 if len(leaves) == 1 else 0
        while node >= 0:
            feature = int(said["split_feature"].split()[node])
            goes_left = row[feature] <= float(said["threshold"].split()[node])
            node = int(said["left_child" if goes_left else "right_child"].split()[node])
        total += leaves[-node - 1]
    return total


def test_predictions_are_those_of_a_walk_through_the_text(trained: Regressor) -> None:
    values, ious = rows(50, seed=1)
    found = trained.predict(NAMES, values)
    expected = [np.clip(np.mean([slow(text, row) for text in trained.texts]), 0, 1) for row in values]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.corrcoef(found, ious)[0, 1] > 0.9
    assert len(trained.predict(NAMES, values[:0])) == 0


def test_the_same_rows_give_the_same_texts(trained: Regressor) -> None:
    again = train_regressor(NAMES, *rows(), STAGE)
    assert again == trained and trained.texts[0] != trained.texts[1]
    assert train_regressor(NAMES, *rows(), STAGE.model_copy(update={"rate": 0.1})) != trained


@pytest.mark.parametrize("count", [1, 3, 30])
def test_few_objects_are_enough(count: int) -> None:
    values, ious = rows(count)
    found = train_regressor(NAMES, values, ious, STAGE).predict(NAMES, values)
    assert np.isfinite(found).all() and abs(found.mean() - ious.mean()) < 0.3


def test_no_objects_and_other_features_are_refused(trained: Regressor) -> None:
    with pytest.raises(RunError, match=r"there is no object to train on"):
        train_regressor(NAMES, *(one[:0] for one in rows()), STAGE)
    with pytest.raises(RunError, match=r"trained on other features \(c, d differ\)"):
        trained.predict(("a", "b", "d"), rows(3)[0])
    with pytest.raises(RunError, match="their order"):
        trained.predict(("b", "a", "c"), rows(3)[0])


def test_a_text_of_ours_passes_and_says_the_same(trained: Regressor) -> None:
    text = trained.texts[0]
    checked = checked_text(text, 3)
    assert "tree_sizes" in text and "tree_sizes" not in checked
    values = rows(20)[0]
    whole, kept = (lightgbm.Booster(model_str=one).predict(values) for one in (text, checked))
    assert whole.tolist() == kept.tolist()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left_child", lambda words: ["0", *words[1:]]),  # a circle
        ("left_child", lambda words: ["99", *words[1:]]),
        ("right_child", lambda words: [*words[:-1], "-99"]),
        ("right_child", lambda words: words[:-1]),
        ("split_feature", lambda words: ["3", *words[1:]]),
        ("split_feature", lambda words: ["-1", *words[1:]]),
        ("decision_type", lambda words: ["3", *words[1:]]),  # by categories
        ("threshold", lambda words: ["nan", *words[1:]]),
        ("leaf_value", lambda words: words[1:]),
        ("leaf_value", lambda words: ["1_0", *words[1:]]),
        ("num_leaves", lambda words: ["100000000"]),
        ("num_leaves", lambda words: ["-1"]),
        ("num_cat", lambda words: ["1"]),
        ("is_linear", lambda words: ["1"]),
        ("max_feature_idx", lambda words: ["7"]),
        ("num_class", lambda words: ["2"]),
        ("objective", lambda words: ["multiclass"]),
    ],
)
def test_texts_whose_numbers_do_not_fit_are_refused(trained: Regressor, name: str, change: Any) -> None:
    before, _, rest = trained.texts[0].partition(f"\n{name}=")
    line, newline, after = rest.partition("\n")
    text = f"{before}\n{name}={' '.join(change(line.split(' ')))}{newline}{after}"
    assert text != trained.texts[0] and checked_text(trained.texts[0], 3)
    with pytest.raises(RunError, match="the regressor of the second stage is damaged"):
        checked_text(text, 3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "x" + text,
        lambda text: text.replace("\nleaf_value=", "\nleaf_value=1\nleaf_value=", 1),
        lambda text: text.replace("\nnum_leaves=", "\u2028num_leaves=", 1),
        lambda text: text.replace("\nthreshold=", "\r\nthreshold=", 1),
        lambda text: text.partition("\nTree=")[0] + "\nend of trees\n",
    ],
)
def test_damaged_texts_are_refused(trained: Regressor, spoil: Any) -> None:
    with pytest.raises(RunError, match="is damaged"):
        Regressor(NAMES, (spoil(trained.texts[0]),)).predict(NAMES, rows(2)[0])


def test_what_lightgbm_refuses_itself_is_one_line_too(trained: Regressor) -> None:
    text = trained.texts[0].replace("\nfeature_names=f0 f1 f2\n", "\nfeature_names=f0\n", 1)
    text = text.replace("\nfeature_names=Column_0 Column_1 Column_2\n", "\nfeature_names=Column_0\n", 1)
    assert text != trained.texts[0]
    with pytest.raises(RunError, match="is damaged"):
        Regressor(NAMES, (text,)).predict(NAMES, rows(2)[0])


def test_without_lightgbm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "lightgbm":
            raise ImportError("No module named 'lightgbm'")
        return honest(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"needs LightGBM \(No module .*\); type pip install 'medalist\[lightgbm\]'"):
        train_regressor(NAMES, *rows(), STAGE)
