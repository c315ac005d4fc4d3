"""A score with another decision is a try; submit uses what is kept, and says what it submits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.kinds import run_settings
from medalist.reporter import LineReporter, SilentReporter
from medalist.runs.runs import Run, find_run
from medalist.runs.tries import read_tries
from medalist.workflows.score import score_run
from medalist.workflows.submit import submit

WORSE = "decide.body=0.89"


@pytest.fixture
def score(toy: Any, medalist: Callable[..., Any]) -> Callable[..., Any]:
    """Score the toy run by the command, which must succeed."""

    def command(*words: str) -> Any:
        ended = medalist("--runs", toy.runs, "score", "tiny", *words)
        assert ended.code == 0, ended
        return ended.out

    return command


def submitted(toy: Any, *runs: Run) -> str:
    said: list[str] = []
    submit(runs or [toy.run], toy.runs / "s.csv", None, toy.runs, LineReporter(said.append))
    return "\n".join(said)


def test_a_worse_try_is_listed_and_changes_nothing(toy: Any, score: Callable[..., Any]) -> None:
    score()
    before = {name: (toy.run.folder / name).read_bytes() for name in ("scores.json", "oof.csv")}
    out = score(WORSE)
    value = toy.run.scores()["oof"]["value"]
    assert f"a try: submit uses {value:.4f} as before; --keep keeps this one" in out
    assert {name: (toy.run.folder / name).read_bytes() for name in before} == before
    tries = read_tries(toy.run)
    assert [dict(one.changes) for one in tries.tries] == [{}, {"decide.body": 0.89}]
    assert [tries.is_kept(one) for one in tries.tries] == [True, False]
    listed = score("--tries")
    assert "decide.body=0.89" in listed and f"{value:.4f}" in listed and listed.count("kept") == 1
    said = submitted(toy)
    assert "decide, from the config of tiny: kind=watershed" in said and "body=0.5," in said
    assert f"tiny: folds 0, 1 of 2, weights last; OOF {value:.4f}" in said and "with exactly these" in said
    assert "warning" not in said


def test_a_try_is_kept_only_on_request_and_let_go_on_request(toy: Any, score: Callable[..., Any]) -> None:
    score()
    first = toy.run.scores()["oof"]["value"]
    score(WORSE)
    out = score(WORSE, "--keep")
    assert "kept: submit decides like this, not like the config" in out
    kept = toy.run.scores()["oof"]["value"]
    said = submitted(toy)
    assert "decide, from score --keep of tiny: kind=watershed" in said and "body=0.89" in said
    assert f"OOF {kept:.4f}" in said and "with exactly these" in said
    score()  # scores what is kept again, as after more folds
    assert toy.run.scores()["decide"]["body"] == 0.89
    score("decide.body=0.5")  # the config's own is a try as long as another one is kept
    assert toy.run.scores()["decide"]["body"] == 0.89
    score("--keep")
    assert toy.run.scores()["oof"]["value"] == first and read_tries(toy.run).kept.origin == "config"  # type: ignore[union-attr]
    assert len(read_tries(toy.run).tries) == 2  # each decision once


def test_fewer_folds_than_the_run_has_are_said_loudly(
    toy: Any, score: Callable[..., Any], medalist: Callable[..., Any]
) -> None:
    score()
    shutil.rmtree(toy.run.fold_folder(1))
    said = submitted(toy)
    assert "warning: tiny averages only 1 of its 2 folds: 1 is not trained" in said
    assert (
        "warning: tiny: fold 1 was scored or predicted before, and the weights are gone: only 0 of 2 count now" in said
    )
    assert "is STALE: it is of other folds, weights or predictions than the run has now; medalist score" in said
    assert "fold1 was scored and is gone" in medalist("--runs", toy.runs, "board").out
    assert "warning: tiny: fold 1 was scored or predicted before" in score()


def test_a_score_by_another_decision_than_that_of_the_blend_is_said(toy: Any, score: Callable[..., Any]) -> None:
    score()
    copy = Run(shutil.copytree(toy.run.folder, toy.run.folder.with_name("other")))
    score(WORSE, "--keep")
    said = submitted(toy, copy, toy.run).splitlines()
    assert [line.partition(": ")[0] for line in said if "with exactly these" in line] == ["other"]
    assert any(line.startswith("tiny: ") and "by a decision of its own, which" in line for line in said)


def test_a_run_given_twice_and_a_copy_of_it_are_said(toy: Any, quiet: SilentReporter) -> None:
    shutil.copytree(toy.run.folder, toy.runs / "toy_nuclei" / "copy")
    copy = find_run("toy_nuclei/copy", toy.runs)
    said = submitted(toy, toy.run, toy.run, copy)
    assert "warning: tiny is given twice, and counts so often in the mean of 3" in said
    assert "warning: tiny and copy have the same weights in fold0, fold1" in said
    assert "the OOF score of this blend of 3 is not known" in said
    assert "twice" not in submitted(toy, toy.run, copy)


def test_a_score_that_was_edited_is_no_score(toy: Any, score: Callable[..., Any], medalist: Callable[..., Any]) -> None:
    score()
    path = toy.run.folder / "scores.json"
    scores = read_json(path)
    write_json(path, {**scores, "oof": {**scores["oof"], "value": 0.99}})
    assert "scores.json is not what score wrote" in submitted(toy)
    assert "0.9900 (scores.json edited)" in medalist("--runs", toy.runs, "board").out
    score()
    assert "(" not in medalist("--runs", toy.runs, "board").out


def test_a_score_without_its_tries_is_not_proved(
    toy: Any, score: Callable[..., Any], medalist: Callable[..., Any]
) -> None:
    """As after somebody edits `scores.json`, and then deletes the file that has its hash."""
    score()
    (toy.run.folder / "tries.json").unlink()
    said = submitted(toy)
    assert "tries.json is gone, so nothing says whether scores.json is what score wrote" in said
    assert "decide, from the scores.json of tiny, whose tries.json is gone" in said
    assert "(tries.json gone, scores.json may be edited)" in medalist("--runs", toy.runs, "board").out
    score()
    assert "gone" not in medalist("--runs", toy.runs, "board").out


@pytest.mark.parametrize(
    "text", ["", "[]", '{"tries": 3}', '{"tries": [], "kept": 3}', '{"tries": [{}], "kept": null}']
)
def test_damaged_tries_are_one_line(toy: Any, text: str) -> None:
    (toy.run.folder / "tries.json").write_text(text)
    with pytest.raises(RunError, match=r"tries\.json") as caught:
        read_tries(toy.run)
    assert "\n" not in str(caught.value)


def test_a_score_of_an_older_version_is_used_and_said(toy: Any, quiet: SilentReporter) -> None:
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    (toy.run.folder / "tries.json").unlink()
    lock = read_json(toy.run.folder / "lock.json")
    write_json(toy.run.folder / "lock.json", {**lock, "sources": {}})
    said = submitted(toy)
    assert "decide, from the last score of tiny, which an older version wrote" in said and "is unknown" not in said
    write_json(toy.run.folder / "lock.json", {**lock, "contents": ""})
    assert "tiny is older than hashes of contents and code: whether these changed since is unknown" in submitted(toy)


def test_an_edited_config_is_noticed(toy: Any, medalist: Callable[..., Any]) -> None:
    path = toy.run.folder / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 9", 1))
    for words in (("score", "tiny"), ("submit", "tiny"), ("predict", "tiny"), ("report", "tiny")):
        ended = medalist("--runs", toy.runs, *words)
        assert ended.code == 2 and f"{path} was edited since the run was made" in ended.line
    assert "(config.yaml edited)" in medalist("--runs", toy.runs, "board").out


@pytest.mark.parametrize("file", ["config.yaml", "lock.json", "scores.json", "tries.json", "fold0/metrics.jsonl"])
@pytest.mark.parametrize("at", [0, 40, -20])
def test_a_broken_byte_of_one_run_is_one_line_of_the_board(
    toy: Any, score: Callable[..., Any], medalist: Callable[..., Any], file: str, at: int
) -> None:
    score()
    broken = shutil.copytree(toy.run.folder, toy.runs / "toy_nuclei" / "broken")
    data = bytearray((broken / file).read_bytes())
    data[at] = 0xFD
    (broken / file).write_bytes(data)
    ended = medalist("--runs", toy.runs, "board")
    assert ended.code == 0 and "toy_nuclei/tiny" in ended.out and "toy_nuclei/broken" in ended.out, ended
    assert Path(file).name in ended.out


@pytest.mark.parametrize("value", ['"high"', "null", "[1]", "{}"])
def test_a_score_of_another_type_is_one_line_of_the_board(
    toy: Any, score: Callable[..., Any], medalist: Callable[..., Any], value: str
) -> None:
    score()
    broken = shutil.copytree(toy.run.folder, toy.runs / "toy_nuclei" / "broken")
    scores = json.loads((broken / "scores.json").read_text())
    scores["oof"]["value"] = json.loads(value)
    (broken / "scores.json").write_text(json.dumps(scores))
    ended = medalist("--runs", toy.runs, "board")
    assert ended.code == 0 and "toy_nuclei/tiny" in ended.out and "toy_nuclei/broken" in ended.out
