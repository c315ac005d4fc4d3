"""Answers of segmentation: implements `tasks.protocols.Answering` for this kind. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.ensemble.blend import blend
from medalist.errors import ConfigError
from medalist.parts import parts_of
from medalist.records import Answer, Sample
from medalist.reporter import Progress, Reporter
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof, Table, TestAnswers, WorstSample
from medalist.tasks.scored import oof_path, refuse_other_weights, scored_decide, through_file, trained_and_predicted
from medalist.tasks.segment.deciding import Decide, decide_by, roles_of
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings

if TYPE_CHECKING:
    from medalist.report.page import RunReport


def oof(
    run: Run,
    contest: Contest,
    settings: SegmentSettings,
    reporter: Reporter,
    figures: Sequence[str] = (),
    rows: Path | None = None,
) -> Oof:
    """Make answers from the OOF maps, write them as rows, read the rows back and score them."""
    if figures:
        raise ConfigError(f"--{figures[0]}: runs of masks have no such figure; leave it out")
    folds, trained = run.folds(), trained_and_predicted(run, lambda part: made_by(run, contest, part))
    for fold in trained:
        refuse_other_weights(run, fold, settings.train.keep, made_by(run, contest, f"oof/fold{fold}"))
    held_out = {name for fold in trained for name in folds.held_out(fold)}
    samples = tuple(sample for sample in contest.split.train if sample.id in held_out)
    truths = contest.evaluation.fold_truths(contest, folds, trained)
    decide = decide_by(
        settings.decide,
        parts_of(contest.competition),
        roles=roles_of(settings.decide, settings, contest.competition),
    )
    with reporter.progress("decide oof", len(samples)) as bar:
        answers = _answers([(run, settings)], "oof", samples, decide, bar)
        path = rows or oof_path(run, contest)
        return through_file(path, contest, contest.competition.submission, samples, truths, answers)


def test(runs: Sequence[tuple[Run, SegmentSettings]], contest: Contest, reporter: Reporter) -> TestAnswers:
    """Blend the runs' maps with equal weights, and decide as the first run was scored."""
    first, settings = runs[0]
    how: SegmentDecide = scored_decide(first, TypeAdapter(SegmentDecide), settings.decide)
    decide = decide_by(how, parts_of(contest.competition), roles=roles_of(how, settings, contest.competition))

    def answers() -> Iterator[tuple[str, Answer]]:
        with reporter.progress("decide test", len(contest.split.test)) as bar:
            yield from _answers(runs, "test", contest.split.test, decide, bar)

    return TestAnswers(contest.evaluation.format_of_test(contest), answers())


def _answers(
    runs: Sequence[tuple[Run, SegmentSettings]], split: str, samples: Sequence[Sample], decide: Decide, bar: Progress
) -> Iterator[tuple[str, Answer]]:
    stores = [(MapStore(run.folder / split), settings.model.outputs) for run, settings in runs]
    files = [store.files(_parts(run, split)) for (store, _), (run, _) in zip(stores, runs, strict=True)]
    for sample in samples:
        # Read one after another: the maps of all runs together may not fit into memory.
        maps = (store.read(sample.id, channels, known) for (store, channels), known in zip(stores, files, strict=True))
        yield sample.id, decide(blend(maps, runs[0][0].folder / split))
        bar.advance()


def _parts(run: Run, split: str) -> list[str]:
    return ["test"] if split == "test" else [f"fold{fold}" for fold in run.trained_folds()]


def made_by(run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
    """Return what the maps of a part were made with; None where the part is not complete."""
    folder, _, name = part.rpartition("/")
    found = MapStore(run.folder / (folder or name)).part(name)
    return found.made_by if found else None


def blend_conflict(one: SegmentSettings, other: SegmentSettings) -> str | None:
    """Return why two runs cannot be blended: their maps have different channels. None where they are the same."""
    channels, others = one.model.outputs, other.model.outputs
    if channels == others:
        return None
    return (
        f"predict different channels, {', '.join(channels)} and {', '.join(others)}; "
        "take runs with the same model.channels"
    )


def summary(scores: Mapping[str, Any]) -> Sequence[Table]:
    """Return no tables, because this kind shows only the score."""
    return ()


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    from medalist.tasks.segment import report  # here, because it imports drawing, which scoring does not need

    return report.worst(run, contest, oof)


def write_page(path: Path, run: Run, contest: Contest, settings: SegmentSettings, oof: Oof, page: RunReport) -> None:
    """Write the report with objects by size, thresholds, and pictures of the worst and the best samples."""
    from medalist.tasks.segment import report

    report.write_page(path, run, contest, settings, oof, page)
