"""`medalist demo`: all steps on an embedded contest, from drawing its images to a checked submission."""

from __future__ import annotations

import time
from pathlib import Path

from medalist.competition import load_competition
from medalist.errors import ConfigError
from medalist.kinds import load_settings
from medalist.reporter import Reporter
from medalist.runs.opening import open_contest
from medalist.training.request import TrainRequest
from medalist.training.start import prepare
from medalist.training.train import train
from medalist.workflows.check import check
from medalist.workflows.report import report
from medalist.workflows.score import score_run
from medalist.workflows.submit import submit

DRAWN_SEED = 2018


def demo(config: Path, root: Path, reporter: Reporter) -> float:
    """Draw → check → folds → train → OOF score → predict → submission → report. Return the OOF score.

    Each step prints a line with the path of what it wrote. Raises ConfigError where the config's contest does not draw
    its own data.
    """
    started = time.perf_counter()

    def say(what: str, where: object) -> None:
        elapsed = time.perf_counter() - started
        reporter.say(f"{elapsed:6.0f} s  {what:<11} {where}")

    settings = load_settings(config)
    draw = load_competition(settings.competition).draw
    if draw is None:
        raise ConfigError(
            f"{config}: the contest {settings.competition} does not draw its own data; take another config"
        )
    data = root / settings.competition / "data"
    draw(data, DRAWN_SEED)
    say("data", data)
    contest = open_contest(settings.competition, data, root)
    for line in check(contest, reporter):
        say("check", line)
    setup = prepare(TrainRequest(settings, config, (), str(data), (), None, root))
    run = train(setup, reporter)
    say("folds", run.folder / "folds.csv")
    say("run", run.folder)
    scores = score_run(run, contest, settings, reporter)
    oof = scores["oof"]
    say("OOF rows", run.folder / "oof.csv")
    say("OOF score", f"{oof['value']:.4f}, over folds {oof['mean']:.4f} ± {oof['standard_error']:.4f}")
    submission = run.folder / "submission.csv"
    rows = submit([run], submission, str(data), root, reporter)
    say("submission", f"{submission} ({rows} rows, valid)")
    say("report", report(run, contest, settings))
    return float(oof["value"])
