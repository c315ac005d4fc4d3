"""Answers of segmentation: implements `tasks.protocols.Answering` for this kind. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.ensemble.blend import blend
from medalist.errors import ConfigError
from medalist.files import sha256_json
from medalist.parts import parts_of
from medalist.postprocess.settings import WatershedConfig
from medalist.records import Answer, MapPrediction, Sample
from medalist.reporter import Progress, Reporter
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof, Table, TestAnswers, WorstSample
from medalist.tasks.scored import oof_path, refuse_other_weights, scored_decide, through_file, trained_and_predicted
from medalist.tasks.segment.deciding import REGRESSOR, Decide, decide_by, has_second_stage, roles_of
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings

if TYPE_CHECKING:
    from medalist.postprocess.regressor import Regressor
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
    if has_second_stage(settings.decide):
        return _refined_oof(run, contest, settings, samples, truths, reporter, rows)
    decide = decide_by(
        settings.decide,
        parts_of(contest.competition),
        roles=roles_of(settings.decide, settings, contest.competition),
    )
    with reporter.progress("decide oof", len(samples)) as bar:
        answers = _answers(_maps([(run, settings)], "oof", samples), decide, bar)
        path = rows or oof_path(run, contest)
        scored = through_file(path, contest, contest.competition.submission, samples, truths, answers)
    if rows is None:
        (run.folder / REGRESSOR).unlink(missing_ok=True)  # of an earlier decision
    return scored


def _refined_oof(
    run: Run,
    contest: Contest,
    settings: SegmentSettings,
    samples: Sequence[Sample],
    truths: Mapping[str, Answer],
    reporter: Reporter,
    rows: Path | None,
) -> Oof:
    """Decide with a second stage, each part of the samples by a regressor of the others, and keep that of all parts."""
    from medalist.folds.judged import judged_parts
    from medalist.tasks.segment.second_stage import gain, keep_regressor, refine

    assert isinstance(settings.decide, WatershedConfig)
    parts = judged_parts(run.folds(), samples)
    with reporter.progress("second stage", len(samples) + len(set(parts.values())) + 1) as bar:
        found = refine(_maps([(run, settings)], "oof", samples), truths, parts, settings.decide, bar.advance)
    path = rows or oof_path(run, contest)
    scored = through_file(path, contest, contest.competition.submission, samples, truths, found.answers.items())
    plain = contest.competition.score({name: truths[name] for name in found.plain}, found.plain)
    file = keep_regressor(run, settings.decide, found.regressor, _predictions(run)) if rows is None else None
    facts = {**found.facts, **gain(scored.score, plain), "parts": len(set(parts.values())), "file": file}
    return replace(scored, details={"second_stage": facts})


def test(runs: Sequence[tuple[Run, SegmentSettings]], contest: Contest, reporter: Reporter) -> TestAnswers:
    """Blend the runs' maps with equal weights, and decide as the first run was scored."""
    first, settings = runs[0]
    how: SegmentDecide = scored_decide(first, TypeAdapter(SegmentDecide), settings.decide)
    decide = decide_by(
        how,
        parts_of(contest.competition),
        roles=roles_of(how, settings, contest.competition),
        regressor=regressor_of(first, how),
    )
    if len(runs) > 1 and has_second_stage(how):
        reporter.say(f"note: the second stage that decides the blend was trained on the maps of {first.name} only")

    def answers() -> Iterator[tuple[str, Answer]]:
        with reporter.progress("decide test", len(contest.split.test)) as bar:
            yield from _answers(_maps(runs, "test", contest.split.test), decide, bar)

    return TestAnswers(contest.evaluation.format_of_test(contest), answers())


def regressor_of(run: Run, how: SegmentDecide) -> Regressor | None:
    """Return the regressor of a run's kept decision; None where it has no second stage. Raises RunError if stale."""
    if not has_second_stage(how):
        return None
    from medalist.tasks.segment.second_stage import kept_regressor

    return kept_regressor(run, _predictions(run))


def _predictions(run: Run) -> dict[str, str]:
    """Return the hashes of what made the OOF predictions, by part, as `scores.json` has them."""
    parts = {f"fold{fold}": made_by(run, None, f"oof/fold{fold}") for fold in run.trained_folds()}
    return {name: sha256_json(dict(made)) for name, made in parts.items() if made is not None}


def _answers(maps: Iterable[tuple[str, MapPrediction]], decide: Decide, bar: Progress) -> Iterator[tuple[str, Answer]]:
    for name, prediction in maps:
        yield name, decide(prediction)
        bar.advance()


def _maps(
    runs: Sequence[tuple[Run, SegmentSettings]], split: str, samples: Sequence[Sample]
) -> Iterator[tuple[str, MapPrediction]]:
    """Yield the id and the blended maps of each sample."""
    stores = [(MapStore(run.folder / split), settings.model.outputs) for run, settings in runs]
    files = [store.files(_parts(run, split)) for (store, _), (run, _) in zip(stores, runs, strict=True)]
    for sample in samples:
        # Read one after another: the maps of all runs together may not fit into memory.
        maps = (store.read(sample.id, channels, known) for (store, channels), known in zip(stores, files, strict=True))
        yield sample.id, blend(maps, runs[0][0].folder / split)


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
    """Return a line about the second stage of the decision, where there is one."""
    found = scores.get("second_stage")
    if not found:
        return ()
    error = found["standard_error"]
    line = (
        f"second stage: {found['gain']:+.4f}{'' if error is None else f' ± {error:.4f}'} over {found['plain']:.4f} "
        f"without it, each of {found['parts']} parts decided by a regressor of the others; "
        f"{found['objects_before']:,} objects became {found['objects']:,}; {found['explained']:.0%} of the "
        "IoUs' variance is predicted"
    )
    return (Table(lines=(line,)),)


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    from medalist.tasks.segment import report  # here, because it imports drawing, which scoring does not need

    return report.worst(run, contest, oof)


def write_page(path: Path, run: Run, contest: Contest, settings: SegmentSettings, oof: Oof, page: RunReport) -> None:
    """Write the report with objects by size, thresholds, and pictures of the worst and the best samples."""
    from medalist.tasks.segment import report

    report.write_page(path, run, contest, settings, oof, page)
