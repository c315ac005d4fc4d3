from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medalist.errors import ConfigError
from medalist.formats.submission import check_submission
from medalist.reporter import LineReporter, SilentReporter
from medalist.runs.runs import find_run
from medalist.training.demo import demo


@pytest.mark.slow  # `make check` runs the demo too
def test_the_whole_walk(untrained: Any, tmp_path: Path) -> None:
    said: list[str] = []
    value = demo(untrained.config, untrained.runs, LineReporter(said.append))
    run = find_run("toy_nuclei/tiny", untrained.runs)
    scores = run.scores()
    assert scores is not None and value == scores["oof"]["value"] and list(scores["oof"]["folds"]) == ["0", "1"]
    assert (run.folder / "report" / "index.html").is_file()
    contest = type(untrained)(untrained.runs / "toy_nuclei" / "data", untrained.config, untrained.runs).contest()
    path = run.folder / "submission.csv"
    check_submission(path, contest.competition.submission, contest.split.test, contest.reference)
    for where in (contest.data, run.folder, path, run.folder / "report" / "index.html"):
        assert any(str(where) in line for line in said)


def test_a_contest_that_cannot_draw_itself_is_refused(untrained: Any) -> None:
    untrained.config.write_text(untrained.config.read_text().replace("toy_nuclei", "dsb2018"))
    with pytest.raises(ConfigError, match="dsb2018 does not draw its own data; take another config"):
        demo(untrained.config, untrained.runs, SilentReporter())
