"""A regressor of the IoU of objects: LightGBM, trained the same to the last bit each time, and kept as its text.

A kept text may come from somebody else. LightGBM itself does not check that the numbers in a text fit together, so they
are checked here before it reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError, RunError
from medalist.postprocess.settings import SecondStageConfig

LEAST_OBJECTS = 20
"""The fewest objects in a leaf of a tree."""

INSTALL = "pip install 'medalist[lightgbm]'"

MOST_TREES, MOST_LEAVES = 5000, 255
"""The most trees of a text, and the most leaves of one of its trees."""


def lightgbm() -> ModuleType:
    """Import LightGBM. Raises ConfigError, which says what to type, where it cannot be imported."""
    try:
        import lightgbm as module
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"decide.second_stage needs LightGBM ({reason}); type {INSTALL}") from None
    return module


@dataclass(frozen=True)
class Regressor:
    """Regressors whose predictions are averaged. names: of the features. texts: LightGBM's own text of each."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    @cached_property
    def _boosters(self) -> list[Any]:
        checked = [checked_text(text, len(self.names)) for text in self.texts]
        module = lightgbm()
        try:
            return [module.Booster(model_str=text) for text in checked]
        except module.basic.LightGBMError:
            raise _malformed() from None

    def predict(self, names: Sequence[str], rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the predicted IoU of each row of float32[N, F] features, within 0..1.

        Raises RunError where the features are others than those of the training.
        """
        if tuple(names) != self.names:
            odd = sorted(set(names) ^ set(self.names)) or ["their order"]
            raise RunError(
                f"the second stage was trained on other features ({', '.join(odd[:3])} differ); run medalist score "
                "again"
            )
        if len(rows) == 0:
            return np.zeros(0)
        values = [booster.predict(rows, num_threads=1) for booster in self._boosters]
        mean: NDArray[np.float64] = np.mean(np.asarray(values, np.float64), axis=0)
        return np.asarray(np.clip(mean, 0.0, 1.0), np.float64)


def train_regressor(
    names: Sequence[str], rows: NDArray[np.float32], ious: NDArray[np.float64], stage: SecondStageConfig
) -> Regressor:
    """Train regressors on the features float32[N, F] and the IoUs float64[N] of objects.

    The same rows give the same texts. Raises RunError where there are no objects.
    """
    if len(rows) == 0:
        raise RunError("decide.second_stage: there is no object to train on; lower decide.body or decide.min_size")
    module = lightgbm()
    texts = []
    for repeat in range(stage.repeats):
        parameters = _parameters(stage, repeat, len(rows))
        data = module.Dataset(rows, ious, params=parameters)
        texts.append(module.train(parameters, data, num_boost_round=stage.trees).model_to_string())
    return Regressor(tuple(names), tuple(texts))


def _parameters(stage: SecondStageConfig, repeat: int, objects: int) -> Mapping[str, Any]:
    return {
        "objective": "regression",
        "num_leaves": stage.leaves,
        "learning_rate": stage.rate,
        "min_data_in_leaf": min(LEAST_OBJECTS, max(1, objects // 4)),
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7 if objects > LEAST_OBJECTS else 1.0,
        "bagging_freq": 1,
        "seed": repeat,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


# ------------------------------------------------------------------------------------------------------ kept texts


def checked_text(text: str, features: int) -> str:
    """Return the trees of a text that `train_regressor` made on so many features, for LightGBM to read.

    Checked is what LightGBM follows without a check: the numbers of children, leaves and features. The places of the
    trees in the text are left out, so that it looks for them itself. Raises RunError where something does not fit.
    """
    trees, end, _ = text.partition("\nend of trees")
    if not end or not trees.isascii() or not trees.replace("\n", "").isprintable():
        raise _malformed()
    head, *blocks = trees.split("\nTree=")
    said = _fields(head)
    if (
        not head.startswith("tree\n")
        or said.get("num_class") != "1"
        or said.get("num_tree_per_iteration") != "1"
        or said.get("max_feature_idx") != str(features - 1)
        or said.get("objective") != "regression"
        or not 0 < len(blocks) <= MOST_TREES
    ):
        raise _malformed()
    for block in blocks:
        _refuse_odd_tree(_fields(block), features)
    kept = "\n".join(line for line in head.split("\n") if not line.startswith("tree_sizes="))
    return "\nTree=".join([kept, *blocks]) + f"{end}\n"


def _refuse_odd_tree(said: Mapping[str, str], features: int) -> None:
    try:
        (leaves,) = _whole(said["num_leaves"])
        odd = [name for name in ("num_cat", "is_linear") if said.get(name, "0") != "0"]
        if odd or not 1 <= leaves <= MOST_LEAVES or len(_finite(said["leaf_value"])) != leaves:
            raise ValueError(said["num_leaves"])
        if leaves == 1:
            return
        feature, how, left, right = (
            _whole(said[name]) for name in ("split_feature", "decision_type", "left_child", "right_child")
        )
        lengths = {len(one) for one in (feature, how, left, right, _finite(said["threshold"]))}
        fits = lengths == {leaves - 1} and all(0 <= one < features for one in feature)
        fits &= all(0 <= one < 16 and one % 2 == 0 for one in how)  # an odd number: a split by categories
        # Each node but the first, and each leaf, is the child of one earlier node, so that each walk ends.
        fits &= sorted([*left, *right]) == [*range(-leaves, 0), *range(1, leaves - 1)]
        fits &= all(child < 0 or child > node for side in (left, right) for node, child in enumerate(side))
        if not fits:
            raise ValueError("children")
    except (LookupError, ValueError):
        raise _malformed() from None


def _fields(block: str) -> dict[str, str]:
    """Return the values of a block by name. Raises RunError where a name is there twice."""
    pairs = [line.split("=", 1) for line in block.split("\n") if "=" in line]
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _malformed()
    return found


def _whole(text: str) -> list[int]:
    if not re.fullmatch(r"-?[0-9]{1,9}( -?[0-9]{1,9})*", text):
        raise ValueError(text[:20])
    return [int(word) for word in text.split(" ")]


def _finite(text: str) -> list[float]:
    if not re.fullmatch(r"[-+.e0-9]+( [-+.e0-9]+)*", text):
        raise ValueError(text[:20])
    found = [float(word) for word in text.split(" ")]
    if not np.isfinite(found).all():
        raise ValueError(text[:20])
    return found


def _malformed() -> RunError:
    return RunError("the regressor of the second stage is damaged; run medalist score again")
