"""The second stage gains on planted faults, is judged on objects that it has not seen, and is refused if stale."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medalist.cli.main import run
from medalist.errors import ConfigError, RunError
from medalist.files import read_json, sha256_file, write_json
from medalist.kinds import run_settings
from medalist.metrics.instances import nuclei_map
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import SecondStageConfig, WatershedConfig
from medalist.records import Instances, MapPrediction, Mask
from medalist.reporter import LineReporter
from medalist.tasks.segment import second_stage
from medalist.tasks.segment.answering import regressor_of
from medalist.tasks.segment.deciding import REGRESSOR
from medalist.tasks.segment.second_stage import gain, refine
from medalist.workflows.score import changed_settings
from medalist.workflows.submit import submit

pytest.importorskip("lightgbm")

PROJECT = Path(__file__).parents[3]
STAGE = SecondStageConfig(repeats=1, trees=60)
HOW = WatershedConfig(seed_rule="threshold", seed=0.55, second_stage=STAGE)
PLAIN = HOW.model_copy(update={"second_stage": None})
SIZE = (72, 96)


def image(seed: int) -> tuple[Instances, MapPrediction]:
    """Long nuclei and pairs that melt together, both with two light spots, and false objects: paler, with corners."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(SIZE)
    truth, body = np.zeros(SIZE, np.int32), np.zeros(SIZE)
    for number, (row, column) in enumerate([(r, c) for r in (12, 36, 60) for c in (14, 38, 62, 86)]):
        what = ("long", "pair", "false", "long")[(number + seed) % 4]
        if what == "false":
            body[(abs(rows - row) <= random.integers(3, 7)) & (abs(columns - column) <= random.integers(2, 5))] = 0.75
            continue
        apart, radius = random.uniform(3.8, 4.4), random.uniform(4.5, 5.5)
        spots = [np.hypot(rows - row, columns - column - side * apart) for side in (-1, 1)]
        if what == "long":
            mask = ((rows - row) / radius) ** 2 + ((columns - column) / (radius + apart)) ** 2 <= 1
            truth[mask] = truth.max() + 1
        else:
            mask = np.minimum(*spots) <= radius
            truth[mask & (spots[0] <= spots[1])] = truth.max() + 1
            truth[mask & (spots[0] > spots[1])] = truth.max() + 1
        body = np.where(mask, 0.97 - 0.04 * np.minimum(*spots), body)
    seen = np.clip(ndimage.gaussian_filter(body, 0.5) + random.normal(0, 0.02, SIZE), 0, 1)
    return Instances(truth), MapPrediction(np.round(255 * seen[None]).astype(np.uint8), ("body",))


@pytest.fixture(scope="module")
def images() -> dict[str, tuple[Instances, MapPrediction]]:
    return {f"s{number:02}": image(number) for number in range(18)}


def refined(images: dict[str, tuple[Instances, MapPrediction]], how: WatershedConfig = HOW) -> tuple[Any, Any]:
    """Return what `refine` gives, and its gain."""
    truths = {name: truth for name, (truth, _) in images.items()}
    maps = ((name, prediction) for name, (_, prediction) in images.items())
    found = refine(maps, truths, {name: number % 3 for number, name in enumerate(images)}, how)
    return found, gain(nuclei_map(truths, found.answers), nuclei_map(truths, found.plain))


def test_false_objects_are_dropped_and_pairs_are_split(images: dict[str, tuple[Instances, MapPrediction]]) -> None:
    found, gained = refined(images)
    assert gained["gain"] > 0.2 and gained["gain"] > 5 * gained["standard_error"]
    assert found.facts["explained"] > 0.7
    for name, (_, prediction) in images.items():
        plain = decide(prediction, PLAIN)
        np.testing.assert_array_equal(found.plain[name].labels, plain.labels)
    truths = {name: truth for name, (truth, _) in images.items()}
    before, after = (nuclei_map(truths, answers).parts for answers in (found.plain, found.answers))
    assert after["fp@0.50"] < 0.2 * before["fp@0.50"] and after["fn@0.50"] < 0.2 * before["fn@0.50"]
    assert found.facts["objects"] == after["tp@0.50"] + after["fp@0.50"]
    # What decides the test part is the regressor of all parts.
    answer = decide(images["s00"][1], HOW, regressor=found.regressor)
    assert isinstance(answer, Instances) and nuclei_map({"a": images["s00"][0]}, {"a": answer}).value > 0.6


def test_shuffled_targets_give_no_gain(
    images: dict[str, tuple[Instances, MapPrediction]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A regressor of noise seems to explain what it was trained on, and explains nothing of the other parts."""
    honest, random = second_stage.true_ious, np.random.default_rng(0)
    seen: list[Any] = []

    def shuffled(candidates: Any, truth: Any) -> Any:
        drawn = random.permutation(honest(candidates, truth))
        seen.append((candidates, drawn))
        return drawn

    monkeypatch.setattr(second_stage, "true_ious", shuffled)
    found, gained = refined(images)
    assert gained["gain"] < 0.02 and found.facts["explained"] < 0.05
    names, rows = seen[0][0].names, np.concatenate([one.rows for one, _ in seen])
    drawn = np.concatenate([one for _, one in seen])
    told = 1 - ((found.regressor.predict(names, rows) - drawn) ** 2).sum() / ((drawn - drawn.mean()) ** 2).sum()
    assert told > 0.2


def test_a_part_is_decided_without_its_own_truths(images: dict[str, tuple[Instances, MapPrediction]]) -> None:
    """Other truths of a part change the answers of the other parts, and never its own."""
    before, _ = refined(images)
    names = list(images)
    changed = {
        name: (Instances(np.zeros(SIZE, np.int32)), maps) for name, (_, maps) in images.items() if name in names[::3]
    }
    after, _ = refined({**images, **changed})
    same = {name: (before.answers[name].labels == after.answers[name].labels).all() for name in names}
    assert all(same[name] for name in names[::3])
    assert not all(same[name] for name in names if name not in names[::3])


def test_it_is_the_same_each_time(images: dict[str, tuple[Instances, MapPrediction]]) -> None:
    few = dict(list(images.items())[:6])
    one, _ = refined(few)
    other, _ = refined(few)
    assert one.regressor == other.regressor and one.facts == other.facts
    assert all((one.answers[name].labels == other.answers[name].labels).all() for name in few)


def test_one_group_and_masks_are_refused(images: dict[str, tuple[Instances, MapPrediction]]) -> None:
    truth, maps = images["s00"]
    with pytest.raises(RunError, match="all scored samples are one group"):
        refine([("a", maps)], {"a": truth}, {"a": 0}, HOW)
    mask = Mask(np.zeros(SIZE, np.uint8))
    with pytest.raises(ConfigError, match="the truth of a is no instances"):
        refine([("a", maps), ("b", maps)], {"a": mask, "b": mask}, {"a": 0, "b": 1}, HOW)


# --------------------------------------------------------------------------------------------------------- commands

SMALL = "decide.second_stage={repeats: 1, trees: 10, splits: [{radius: 4}]}"


@pytest.fixture
def score(toy: Any, medalist: Callable[..., Any]) -> Callable[..., Any]:
    def command(*words: str) -> Any:
        ended = medalist("--runs", toy.runs, "score", "tiny", *words)
        assert ended.code == 0, ended
        return ended.out

    return command


@pytest.fixture(scope="module")
def staged_runs(answered: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs in which `tiny` has a kept second stage. Tests must not change it."""
    runs = tmp_path_factory.mktemp("staged") / "runs"
    shutil.copytree(answered.runs, runs)
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run(["--runs", str(runs), "score", "tiny", SMALL, "--keep"]) == 0
    return runs


@pytest.fixture
def staged(toy: Any, staged_runs: Path) -> Any:
    """The toy run with a kept second stage, which a test may change."""
    shutil.rmtree(toy.runs)
    shutil.copytree(staged_runs, toy.runs)
    return toy


def submitted(toy: Any, *runs: Any) -> str:
    said: list[str] = []
    submit(runs or [toy.run], toy.runs / "s.csv", None, toy.runs, LineReporter(said.append))
    return "\n".join(said)


def test_a_try_keeps_nothing_and_a_kept_one_decides_the_test_part(toy: Any, score: Callable[..., Any]) -> None:
    score()
    submitted(toy)
    before = (toy.runs / "s.csv").read_bytes()
    out = score(SMALL)
    assert "second stage: " in out and "each of 2 parts decided by a regressor of the others" in out and "a try" in out
    assert not (toy.run.folder / REGRESSOR).exists() and "second_stage" not in toy.run.scores()
    score(SMALL, "--keep")
    scores = toy.run.scores()
    facts = scores["second_stage"]
    assert facts["file"] == sha256_file(toy.run.folder / REGRESSOR) and facts["parts"] == 2
    assert scores["oof"]["value"] - facts["plain"] == pytest.approx(facts["gain"])
    kept = (toy.run.folder / REGRESSOR).read_bytes()
    score()  # the kept decision again: the same file to the last byte
    assert (toy.run.folder / REGRESSOR).read_bytes() == kept
    said = submitted(toy)
    assert "from score --keep of tiny" in said and "STALE" not in said
    settings = changed_settings(toy.run, [SMALL], "decide")
    regressor = regressor_of(toy.run, settings.decide)
    assert regressor is not None and len(regressor.texts) == 1
    assert (toy.runs / "s.csv").read_bytes().count(b"\n") <= before.count(b"\n")
    score("--keep")  # back to the config
    assert not (toy.run.folder / REGRESSOR).exists()
    submitted(toy)
    assert (toy.runs / "s.csv").read_bytes() == before


def test_a_stale_regressor_is_refused(
    staged: Any, say_predicted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = staged
    path, again = toy.run.folder / REGRESSOR, "run medalist score toy_nuclei/tiny again"
    value, data = read_json(path), path.read_bytes()
    write_json(path, {**value, "texts": value["texts"][::-1] * 2})
    with pytest.raises(RunError, match=f"is not what score wrote; {again}"):
        submitted(toy)
    path.unlink()
    with pytest.raises(RunError, match=f"has no regressor yet; {again}"):
        submitted(toy)
    path.write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(second_stage, "scoring_sources", lambda *_: {"medalist/postprocess/watershed.py": "other"})
        with pytest.raises(RunError, match=f"was made by other code, .* changed since; {again}"):
            submitted(toy)
    assert submitted(toy)
    say_predicted(toy.run, json.dumps({"scales": [1.0], "tta": "flips"}))
    with pytest.raises(RunError, match="was trained on other folds, weights or predictions"):
        submitted(toy)


@pytest.mark.parametrize(
    "change",
    [{"texts": []}, {"texts": "tree"}, {"texts": ["tree"]}, {"names": None}, {"predictions": 3}, {"sources": []}, None],
)
def test_a_damaged_file_is_one_line(staged: Any, change: dict[str, Any] | None) -> None:
    """Even where the scores know its hash."""
    toy = staged
    path = toy.run.folder / REGRESSOR
    write_json(path, [] if change is None else {**read_json(path), **change})
    scores = toy.run.scores()
    scores["second_stage"]["file"] = sha256_file(path)
    write_json(toy.run.folder / "scores.json", scores)
    with pytest.raises(RunError) as caught:
        submitted(toy)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_never_scored_has_no_regressor(toy: Any) -> None:
    settings = changed_settings(toy.run, [SMALL], "decide")
    assert regressor_of(toy.run, run_settings(toy.run).decide) is None
    with pytest.raises(RunError, match="has no regressor yet"):
        regressor_of(toy.run, settings.decide)


def test_the_predictor_answers_as_the_score_did(staged: Any) -> None:
    from medalist.tasks.segment.predictor import decider

    toy = staged
    settings = run_settings(toy.run)
    contest = toy.contest()
    answer = decider(toy.run, settings, contest.competition, [0, 1])  # type: ignore[arg-type]
    how = changed_settings(toy.run, [SMALL], "decide").decide
    maps = MapPrediction(np.zeros((2, 20, 30), np.uint8), ("body", "border"))
    maps.maps[0, 4:14, 4:20] = 230
    expected = decide(maps, how, regressor=regressor_of(toy.run, how))
    found = answer(maps)
    assert isinstance(found, Instances) and isinstance(expected, Instances)
    assert found.labels.tolist() == expected.labels.tolist()
