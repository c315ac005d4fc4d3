"""Train the second stage of a decision on OOF maps, decide with it honestly, and keep its regressor. Torch-free.

`postprocess.second_stage` says what it is. Here each part of the samples is decided by a regressor that was trained on
the other parts. The regressor of all parts decides the test part. It is kept in the run with the hashes of what made
it, and refused where these are others now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medalist.errors import ConfigError, RunError
from medalist.files import read_json, refuse_newer, sha256_file, write_json
from medalist.metrics.paired import sample_differences, standard_error
from medalist.postprocess.regressor import Regressor, lightgbm, train_regressor
from medalist.postprocess.second_stage import Candidates, Ious, candidates_of, chosen, true_ious
from medalist.postprocess.settings import SecondStageConfig, WatershedConfig
from medalist.records import Answer, Instances, MapPrediction, Score
from medalist.runs.runs import Run
from medalist.runs.sources import changed, scoring_sources, shown
from medalist.tasks.segment.deciding import REGRESSOR

FORMAT = 1

CODE = "medalist/postprocess/"
"""The sources that a kept regressor depends on."""


@dataclass(frozen=True, eq=False)
class Refined:
    """The second stage on OOF samples.

    answers: by id, each decided by the regressor of the other parts. plain: the answers without a second stage.
    regressor: trained on all parts. facts: numbers for `scores.json`.
    """

    answers: Mapping[str, Answer]
    plain: Mapping[str, Answer]
    regressor: Regressor
    facts: Mapping[str, Any]


def refine(
    maps: Iterable[tuple[str, MapPrediction]],
    truths: Mapping[str, Answer],
    part_of: Mapping[str, int],
    how: WatershedConfig,
    advance: Callable[[], None] = lambda: None,
) -> Refined:
    """Decide OOF samples with the second stage of `how`, each part by a regressor of the other parts.

    maps: (id, maps) of each sample. truths: instances by id. part_of: the part of each id. advance: called after each
    sample and each training. Raises RunError where there are fewer than two parts, or no objects, and ConfigError where
    the truths are no instances, or LightGBM is missing.
    """
    stage = how.second_stage
    assert stage is not None
    lightgbm()
    if len(set(part_of.values())) < 2:
        raise RunError(
            "decide.second_stage: all scored samples are one group, and a regressor is judged on other groups; train "
            "more folds, or leave the second stage out"
        )
    candidates: dict[str, Candidates] = {}
    ious: dict[str, Ious] = {}
    for name, prediction in maps:
        truth = truths[name]
        if not isinstance(truth, Instances):
            raise ConfigError(f"decide.second_stage: the truth of {name} is no instances; leave it out for masks")
        candidates[name] = candidates_of(prediction, how, stage)
        ious[name] = true_ious(candidates[name], truth.labels)
        advance()
    predicted: dict[str, Ious] = {}
    for part in sorted(set(part_of.values())):
        regressor = _trained([name for name in candidates if part_of[name] != part], candidates, ious, stage)
        for name, found in candidates.items():
            if part_of[name] == part:
                predicted[name] = regressor.predict(found.names, found.rows)
        advance()
    final = _trained(list(candidates), candidates, ious, stage)
    advance()
    answers = {name: Instances(chosen(found, predicted[name], stage)) for name, found in candidates.items()}
    plain = {name: Instances(found.layers[0].labels) for name, found in candidates.items()}
    return Refined(answers, plain, final, _facts(candidates, ious, predicted, plain, answers))


def _trained(
    names: Sequence[str], candidates: Mapping[str, Candidates], ious: Mapping[str, Ious], stage: SecondStageConfig
) -> Regressor:
    rows = np.concatenate([candidates[name].rows for name in names])
    return train_regressor(candidates[names[0]].names, rows, np.concatenate([ious[name] for name in names]), stage)


def _facts(
    candidates: Mapping[str, Candidates],
    ious: Mapping[str, Ious],
    predicted: Mapping[str, Ious],
    plain: Mapping[str, Instances],
    answers: Mapping[str, Instances],
) -> dict[str, Any]:
    """Return how well IoUs were predicted, and the numbers of objects before and after."""
    true = np.concatenate([ious[name] for name in candidates])
    said = np.concatenate([predicted[name] for name in candidates])
    spread = float(((true - true.mean()) ** 2).sum())
    return {
        "rows": len(true),
        "explained": 1 - float(((true - said) ** 2).sum()) / spread if spread else 0.0,
        "objects_before": sum(one.count for one in plain.values()),
        "objects": sum(one.count for one in answers.values()),
    }


def gain(score: Score, plain: Score) -> dict[str, Any]:
    """Return what a second stage gains over the plain decision, with its standard error over samples."""
    differences = sample_differences(score.by_sample, plain.by_sample)
    return {
        "plain": plain.value,
        "gain": score.value - plain.value,
        "standard_error": standard_error(differences),
    }


# ------------------------------------------------------------------------------------------------------------ kept


def keep_regressor(run: Run, how: WatershedConfig, regressor: Regressor, predictions: Mapping[str, str]) -> str:
    """Write the regressor that decides the run's test part; return the hash of its file.

    predictions: the hashes of what made the OOF predictions that it was trained on, by part.
    """
    path = run.folder / REGRESSOR
    content = {
        "format": FORMAT,
        "decide": how.model_dump(mode="json"),
        "predictions": dict(predictions),
        "sources": _sources(run),
        "lightgbm": lightgbm().__version__,
        "names": regressor.names,
        "texts": regressor.texts,
    }
    write_json(path, content)
    return sha256_file(path)


def kept_regressor(run: Run, predictions: Mapping[str, str]) -> Regressor:
    """Return the regressor of a run's kept decision, which has a second stage.

    predictions: as they are now, see `keep_regressor`. Raises RunError where there is none, or where it is not the one
    that the run was scored with, or was trained on other predictions or by other code than there are now.
    """
    path, again = run.folder / REGRESSOR, f"run medalist score {run.competition}/{run.name} again"
    said = (run.scores() or {}).get("second_stage")
    if not isinstance(said, dict) or not path.exists():
        raise RunError(f"decide.second_stage: {run.folder} has no regressor yet; {again}")
    if sha256_file(path) != said.get("file"):
        raise RunError(f"{path} is not what score wrote; {again}")
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    try:
        names, texts = tuple(value["names"]), tuple(value["texts"])
        if not all(isinstance(one, str) for one in (*names, *texts)) or not texts:
            raise TypeError(names)
        made, sources = dict(value["predictions"]), dict(value["sources"])
        if not sources:
            raise ValueError("sources")
    except (TypeError, ValueError, LookupError):
        raise RunError(f"{path} is damaged; {again}") from None
    if made != dict(predictions):
        raise RunError(f"{path} was trained on other folds, weights or predictions than the run has now; {again}")
    files = changed(sources, _sources(run))
    if files:
        raise RunError(f"{path} was made by other code, {shown(files)} changed since; {again}")
    return Regressor(names, texts)


def _sources(run: Run) -> dict[str, str]:
    found = scoring_sources(run.competition, "segment")
    return {name: digest for name, digest in found.items() if name.startswith(CODE)}
