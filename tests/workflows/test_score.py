from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.errors import ConfigError, MedalistError, RunError, SubmissionError
from medalist.files import read_json, sha256_file
from medalist.formats.rle import RleFormat
from medalist.kinds import answering_of, run_settings
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import WatershedConfig
from medalist.records import Answer, Sample
from medalist.reporter import SilentReporter
from medalist.runs.fold_weights import keep_hashes
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.segment import deciding
from medalist.tasks.segment.settings import SegmentSettings
from medalist.workflows.score import changed_settings, oof_of_scores, predicted_with, score_run


def answers(run: Run, samples: tuple[Sample, ...]) -> dict[str, Answer]:
    settings = run_settings(run)
    assert isinstance(settings, SegmentSettings)
    return {
        s.id: decide(MapStore(run.folder / "oof").read(s.id, settings.model.channels), settings.decide) for s in samples
    }


# ------------------------------------------------------------------------------------------------- the figures


def test_the_score_is_that_of_the_decided_answers(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    scores = score_run(run, contest, run_settings(run), quiet)
    samples = contest.split.train
    direct = contest.competition.score(contest.truths(samples), answers(run, samples))
    oof = scores["oof"]
    assert oof["value"] == direct.value and 0.1 < direct.value < 0.95
    assert scores["by_sample"] == direct.by_sample and oof["parts"] == direct.parts
    assert sum(scores["by_sample"].values()) / 26 == pytest.approx(oof["value"])
    assert read_json(run.folder / "scores.json") == scores == run.scores()
    assert (run.folder / "oof.csv").read_text().startswith("ImageId,EncodedPixels\n")


def test_folds_and_strata_are_scored_alone(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    oof = score_run(run, contest, run_settings(run), quiet)["oof"]
    score = contest.competition.score

    def of(samples: list[Sample]) -> float:
        chosen = tuple(samples)
        return score(contest.truths(chosen), answers(run, chosen)).value

    train, folds = contest.split.train, run.folds()
    by_fold = {str(k): of([sample for sample in train if folds.fold_of(sample.id) == k]) for k in (0, 1)}
    assert oof["folds"] == by_fold and by_fold["0"] != by_fold["1"]
    assert oof["folds_of"] == 2
    assert oof["mean"] == pytest.approx((by_fold["0"] + by_fold["1"]) / 2)
    # of two values: half their difference
    assert oof["standard_error"] == pytest.approx(abs(by_fold["0"] - by_fold["1"]) / 2)
    for name in ("dark_gray", "bright_gray", "colour_stain"):
        there = [sample for sample in train if sample.stratum == name]
        assert oof["strata"][name] == {"score": of(there), "samples": len(there)}
    assert sum(part["samples"] for part in oof["strata"].values()) == 26


def test_one_fold_is_scored_alone(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    run.checkpoint(1, "last").unlink()
    oof = score_run(run, contest, run_settings(run), quiet)["oof"]
    assert list(oof["folds"]) == ["0"] and oof["folds_of"] == 2
    assert oof["standard_error"] is None and oof["mean"] == oof["value"] == oof["folds"]["0"]
    assert len(read_json(run.folder / "scores.json")["by_sample"]) == len(run.folds().held_out(0))


def test_a_trained_fold_without_predictions_is_left_out(toy: Any, quiet: SilentReporter) -> None:
    MapStore(toy.run.folder / "oof").start("fold0")
    assert list(score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)["oof"]["folds"]) == ["1"]
    MapStore(toy.run.folder / "oof").start("fold1")
    message = one_line(RunError, lambda: score_run(toy.run, toy.contest(), run_settings(toy.run), quiet))
    assert "has no out-of-fold predictions; run medalist train again" in message


# ------------------------------------------------------------------------------------------------- through the file


def test_a_writer_that_forgets_is_seen_in_the_score(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, contest = toy.run, toy.contest()
    honest_score = score_run(run, contest, run_settings(run), quiet)["oof"]["value"]
    honest = RleFormat.rows
    monkeypatch.setattr(RleFormat, "rows", lambda *given: honest(*given)[:1])
    assert score_run(run, contest, run_settings(run), quiet)["oof"]["value"] < honest_score - 0.1


def test_a_writer_that_writes_nonsense_is_refused(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RleFormat, "rows", lambda form, name, answer: [(name, "16384 2")])
    message = one_line(SubmissionError, lambda: score_run(toy.run, toy.contest(), run_settings(toy.run), quiet))
    assert "oof.csv: row 2, column EncodedPixels" in message
    assert toy.run.scores() is None


# ------------------------------------------------------------------------------------------------- what was used


def test_the_scores_say_what_was_used(toy: Any, quiet: SilentReporter) -> None:
    run = toy.run
    settings = changed_settings(run, ["decide.min_size=77", "decide.body=0.4"], "decide")
    scores = score_run(run, toy.contest(), settings, quiet, keep=True)
    assert scores["decide"] == WatershedConfig(min_size=77, body=0.4).model_dump(mode="json")
    assert scores["weights"] == "last" and scores["optimistic"] is False
    assert scores["predict"] == {f"fold{fold}": {"scales": [1.0], "tta": "none"} for fold in (0, 1)}
    assert scores["predictions"].keys() == {"fold0", "fold1"}
    assert scores["rows"] == sha256_file(run.folder / "oof.csv")
    assert run_settings(run).decide == WatershedConfig()  # the run's config stays


def test_a_change_of_the_decision_changes_the_score(toy: Any, quiet: SilentReporter) -> None:
    first = score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)["oof"]["value"]
    settings = changed_settings(toy.run, ["decide.body=0.95"], "decide")  # above all predictions
    assert score_run(toy.run, toy.contest(), settings, quiet)["oof"]["value"] < first


def test_best_weights_are_called_optimistic(toy: Any, quiet: SilentReporter) -> None:
    run = toy.run
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("keep: last", "keep: best"))
    for fold in (0, 1):  # other bytes than those of last
        path = run.checkpoint(fold, "best")
        path.write_bytes(run.checkpoint(fold, "last").read_bytes() + b" ")
        (run.fold_folder(fold) / "weights.json").unlink()
    assert "come from other weights" in one_line(
        RunError, lambda: score_run(run, toy.contest(), run_settings(run), quiet)
    )
    for fold in (0, 1):
        part = MapStore(run.folder / "oof").part(f"fold{fold}")
        assert part is not None
        made = {**part.made_by, f"fold{fold}": sha256_file(run.checkpoint(fold, "best"))}
        MapStore(run.folder / "oof").finish(f"fold{fold}", replace(part, made_by=made))
    scores = score_run(run, toy.contest(), run_settings(run), quiet)
    assert scores["weights"] == "best" and scores["optimistic"] is True


def test_predictions_of_other_weights_are_refused(toy: Any, quiet: SilentReporter) -> None:
    path = toy.run.checkpoint(1, "last")
    path.write_bytes(path.read_bytes() + b" ")
    keep_hashes(toy.run, 1)  # as after another training
    message = one_line(RunError, lambda: score_run(toy.run, toy.contest(), run_settings(toy.run), quiet))
    assert "predictions of fold 1" in message and "run medalist predict toy_nuclei/tiny --split oof" in message


def test_predictions_made_in_another_way_count_and_are_told(
    toy: Any, quiet: SilentReporter, say_predicted: Callable[..., None]
) -> None:
    say_predicted(toy.run, '{"scales": [1.0, 0.5], "tta": "d4"}')
    scores = score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    assert scores["predict"]["fold1"] == {"scales": [1.0, 0.5], "tta": "d4"}
    for text in ("0f" * 32, "", "{"):  # an index that knows a hash, or nothing
        say_predicted(toy.run, text)
        made = answering_of(toy.run).made_by(toy.run, toy.contest(), "oof/fold0")
        assert made is not None and predicted_with({"fold0": made}) == {"fold0": None}
        assert answering_of(toy.run).made_by(toy.run, toy.contest(), "oof/fold9") is None
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)


def test_only_one_section_may_be_changed(toy: Any) -> None:
    assert changed_settings(toy.run, [], "decide") == run_settings(toy.run)
    settings = changed_settings(toy.run, ["decide.kind=threshold", "decide.threshold=0.3"], "decide")
    assert settings.decide.kind == "threshold"
    for override in ("train.lr=0.1", "predict.tta=d4", "seed=3", "model.kind=unetplusplus"):
        message = one_line(ConfigError, lambda override=override: changed_settings(toy.run, [override], "decide"))
        assert override.partition("=")[0] in message and "only decide.* may be changed here" in message
    assert "did you mean 'min_size'?" in one_line(
        ConfigError, lambda: changed_settings(toy.run, ["decide.min_sise=3"], "decide")
    )
    assert "only predict.* may be changed" in one_line(
        ConfigError, lambda: changed_settings(toy.run, ["decide.min_size=3"], "predict")
    )


def test_a_decision_of_another_kind_than_the_contests_is_refused(toy: Any, quiet: SilentReporter) -> None:
    settings = changed_settings(toy.run, ["decide.kind=threshold"], "decide")
    message = one_line(SubmissionError, lambda: score_run(toy.run, toy.contest(), settings, quiet))
    assert "the contest asks for objects, the answer is Mask" in message
    assert not (toy.run.folder / "oof.csv").exists()


# ------------------------------------------------------------------------------------------------- read back


def test_what_was_scored_is_read_back(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    message = one_line(RunError, lambda: oof_of_scores(run, contest))
    assert "has no scores.json; run medalist score toy_nuclei/tiny first" in message
    scores = score_run(run, contest, run_settings(run), quiet)
    oof = oof_of_scores(run, contest)
    again = contest.competition.score(oof.truths, oof.answers)
    assert again.value == oof.score.value == scores["oof"]["value"]
    assert again.by_sample == oof.score.by_sample and len(oof.samples) == 26
    with (run.folder / "oof.csv").open("a") as file:
        file.write("\n")
    assert "oof.csv is not what was scored" in one_line(RunError, lambda: oof_of_scores(run, contest))


def test_interrupted_or_full_it_leaves_nothing_partial(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]]
) -> None:
    run, contest = toy.run, toy.contest()
    honest, calls = deciding.decide, []

    def stop(*given: Any, **named: Any) -> Answer:
        calls.append(given)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return honest(*given, **named)

    monkeypatch.setattr(deciding, "decide", stop)
    with pytest.raises(KeyboardInterrupt):
        score_run(run, contest, run_settings(run), quiet)
    assert run.scores() is None and not (run.folder / "oof.csv").exists() and leftovers(run.folder) == []
    monkeypatch.undo()

    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(Path, "replace", full)
    message = one_line(MedalistError, lambda: score_run(run, contest, run_settings(run), quiet))
    assert message.startswith("disk full while writing ") and "oof.csv" in message
    assert run.scores() is None and not (run.folder / "oof.csv").exists() and leftovers(run.folder) == []
