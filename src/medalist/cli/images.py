"""`medalist predict RUN --images`: any images, without the contest's data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medalist.cli.session import Session, counted, say
from medalist.errors import ConfigError, RunError


def predict_images(
    here: Session,
    run: str,
    overrides: Sequence[str],
    places: Sequence[Path],
    output: Path | None,
    masks: str,
    overlays: bool,
    skip_bad: bool,
    fold: Sequence[int] | None,
) -> None:
    """Answer the images below folders, or of files, with a run's networks, and write the answers to a new folder."""
    from medalist.predictor import open_run
    from medalist.workflows.answer_files import AnswerFiles, MaskForm, images_of, refuse_full, write_answers

    forms: dict[str, MaskForm] = {"png": "png", "rle": "rle"}
    if output is None:
        raise ConfigError("-o is missing: name the new folder for the answers, such as -o answers")
    if masks not in forms:
        raise ConfigError(f"--as {masks!r:.40}: expected png or rle")
    refuse_full(output)
    files = images_of(places)
    predictor = open_run(run, runs=here.runs, folds=fold or None, changes=overrides)
    answer: Callable[[Any], Any] = predictor.answer
    try:
        predictor.answer([])  # RunError where answers need more than the run has
    except RunError as error:
        if not predictor.embeds:
            raise
        say(here.console, f"note: vectors are written, and no names, as {error}")
        answer = predictor.predict
    out = AnswerFiles(output, predictor.competition, forms[masks], overlays)
    bad = write_answers(files, predictor.read, answer, out, here.reporter, skip_bad)
    for line in bad:
        say(here.console, f"left out: {line}")
    made = ", ".join(path.name for path in out.finish())
    say(here.console, f"{counted(len(files) - len(bad), 'image')} answered; {output}: {made}")
