"""Gather the data of a detection run's report from its answers and scores. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medalist.contest import Contest
from medalist.records import Answer, Boxes
from medalist.report.boxes import BoxFindings, box_findings, sample_picture, write_box_report
from medalist.report.page import RunReport, SamplePicture, extremes
from medalist.runs.runs import Run
from medalist.tasks.detect.classes import classes_of
from medalist.tasks.protocols import Oof, WorstSample


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first; of equal scores those with more errors first."""
    findings = _findings(contest, oof)
    names = extremes(oof.score.by_sample, wrong=findings.wrong)[0]
    return [
        WorstSample(one.id, int(one.fold), one.stratum or "", one.score, "", one.note, one.picture)
        for one in _drawn(run, contest, oof, findings, names)
    ]


def write_page(path: Path, run: Run, contest: Contest, oof: Oof, page: RunReport) -> None:
    """Write the report: kinds of errors and what they cost, classes, curves, confusions, sizes, and pictures."""
    findings = _findings(contest, oof)
    lowest, best = extremes(oof.score.by_sample, wrong=findings.wrong)
    pictures = [_drawn(run, contest, oof, findings, names) for names in (lowest, best)]
    write_box_report(path, page.with_pictures(*pictures), findings)


def _findings(contest: Contest, oof: Oof) -> BoxFindings:
    return box_findings(_boxes(oof.truths), _boxes(oof.answers), classes_of(contest), contest.competition.score)


def _drawn(run: Run, contest: Contest, oof: Oof, findings: BoxFindings, names: Sequence[str]) -> list[SamplePicture]:
    folds, by_id = run.folds(), {sample.id: sample for sample in oof.samples}
    truths, answers = _boxes(oof.truths), _boxes(oof.answers)
    return [
        sample_picture(
            name,
            contest.competition.image(by_id[name].images[0]),
            truths[name],
            answers[name],
            findings,
            fold=folds.fold_of(name),
            score=oof.score.by_sample[name],
            stratum=by_id[name].stratum,
        )
        for name in names
    ]


def _boxes(answers: Mapping[str, Answer]) -> dict[str, Boxes]:
    found: dict[str, Boxes] = {}
    for name, answer in answers.items():
        assert isinstance(answer, Boxes), type(answer).__name__
        found[name] = answer
    return found
