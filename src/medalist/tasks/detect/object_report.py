"""The report of a run whose answers are objects with all their pixels: the page of every run, with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medalist.contest import Contest
from medalist.records import Answer, Instances
from medalist.report.labels import matched, shows_nothing
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import joined, panels
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof, WorstSample


@dataclass(frozen=True)
class Counted:
    """The objects of a sample: those in truth and answer, those that the answer misses, and those that it invents."""

    there: int
    said: int
    missed: int
    false: int

    @property
    def wrong(self) -> int:
        """The number of errors."""
        return self.missed + self.false

    def in_words(self) -> str:
        """Return the numbers as text."""
        told = f"{self.there:,} in the truth; {self.said:,} in the answer"
        return f"{told}; {self.missed:,} missed; {self.false:,} false" if self.wrong else told


def counted(truth: Instances, answer: Instances) -> Counted:
    """Return the objects of a sample. An object is found where one of the other side has an IoU above 0.5 with it."""
    found, right = matched(truth.labels, answer.labels)
    there, said = truth.count, answer.count
    return Counted(there, said, there - int(found.sum()), said - int(right.sum()))


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first; of equal scores those with more errors first."""
    found = _counted(oof)
    return [
        WorstSample(one.id, int(one.fold), one.stratum or "", one.score, "", one.note, one.picture)
        for one in map(partial(_drawn, run, contest, oof, found), _told(oof, found)[0])
    ]


def write_page(path: Path, run: Run, contest: Contest, oof: Oof, page: RunReport) -> None:
    """Write the report: the curves, the scores, and pictures of the worst and best samples."""
    found = _counted(oof)
    lowest, best = ([_drawn(run, contest, oof, found, name) for name in names] for names in _told(oof, found))
    write_report(path, page.with_pictures(lowest, best))


def _counted(oof: Oof) -> dict[str, Counted]:
    return {one.id: counted(_objects(oof.truths[one.id]), _objects(oof.answers[one.id])) for one in oof.samples}


def _told(oof: Oof, found: Mapping[str, Counted]) -> tuple[list[str], list[str]]:
    """Return the ids of the worst and the best samples, without those that are empty in truth and answer."""
    shown = {
        name: score
        for name, score in oof.score.by_sample.items()
        if not shows_nothing(oof.truths[name], oof.answers[name])
    }
    return extremes(shown, wrong={name: one.wrong for name, one in found.items()})


def _drawn(run: Run, contest: Contest, oof: Oof, found: Mapping[str, Counted], name: str) -> SamplePicture:
    sample = next(one for one in oof.samples if one.id == name)
    image = contest.competition.image(sample.images[0])
    picture = joined(panels(image, oof.truths[name], oof.answers[name]))
    score, note = oof.score.by_sample[name], found[name].in_words()
    return SamplePicture(name, run.folds().fold_of(name), score, sample.stratum, picture, note)


def _objects(answer: Answer) -> Instances:
    assert isinstance(answer, Instances), type(answer).__name__
    return answer
