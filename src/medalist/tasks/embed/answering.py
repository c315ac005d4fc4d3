"""Answers of embedders: implements `tasks.protocols.Answering` for this kind. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from medalist.contest import Contest
from medalist.errors import ConfigError, RunError
from medalist.reporter import Reporter
from medalist.retrieval.settings import RankConfig
from medalist.runs.runs import Run
from medalist.tasks.embed.ranking import rank_oof, rank_test
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import is_embedded, read_vectors, test_parts
from medalist.tasks.protocols import Oof, Table, TestAnswers, WorstSample
from medalist.tasks.scored import scored_decide, through_file, trained_and_predicted

NMI = "nmi"
"""The name of an optional figure: how well clusters of the queries agree with their identities."""


if TYPE_CHECKING:
    from medalist.report.page import RunReport


def oof(
    run: Run,
    contest: Contest,
    settings: EmbedSettings,
    reporter: Reporter,
    figures: Sequence[str] = (),
    rows: Path | None = None,
) -> Oof:
    """Rank the retrieval splits of the trained folds, write the answers as rows, read the rows back and score them."""
    unknown = [name for name in figures if name != NMI]
    if unknown:
        raise ConfigError(f"unknown figure '{unknown[0]}'; the only optional figure is {NMI}")
    trained = trained_and_predicted(run, lambda part: made_by(run, contest, part))
    ranked = rank_oof(run, contest, settings, trained, reporter, NMI in figures)
    path, details = rows or run.folder / "oof.csv", {"retrieval": dict(ranked.details)}
    return through_file(path, contest, ranked.form, ranked.samples, ranked.truths, ranked.answers.items(), details)


def test(runs: Sequence[tuple[Run, EmbedSettings]], contest: Contest, reporter: Reporter) -> TestAnswers:
    """Blend the cosines of runs with equal weights, and rank as the first run was scored."""
    first, settings = runs[0]
    how = scored_decide(first, TypeAdapter(RankConfig), settings.decide)
    ranked = rank_test(runs, contest, how, _threshold(first, how), reporter)
    return TestAnswers(contest.evaluation.format_of_test(contest), ranked.items())


def _threshold(run: Run, how: RankConfig) -> float | None:
    """Return the threshold of new identities: that of the last score where it is tuned, else that of the config.

    Returns None where there is no threshold. Raises RunError where no threshold was tuned yet.
    """
    if how.new != "tuned":
        return how.new
    found = (run.scores() or {}).get("retrieval", {}).get("threshold")
    if not isinstance(found, float):
        raise RunError(f"decide.new = tuned: no threshold yet; run medalist score {run.competition}/{run.name} first")
    return found


def made_by(run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
    """Return what the vectors of a part were made with; None where the part is not complete.

    The test part has two stored parts, queries and gallery. Returns None where they were made with different things.
    """
    if part != "test":
        return read_vectors(run, part).made_by if is_embedded(run, part) else None
    assert contest is not None, "the parts of the test part are the contest's"
    parts = test_parts(contest)
    made = [read_vectors(run, name).made_by for name in parts if is_embedded(run, name)]
    return made[0] if len(made) == len(parts) and made[0] == made[1] else None


def blend_conflict(one: EmbedSettings, other: EmbedSettings) -> str | None:
    """Return None, because the cosines of all embedders can be averaged."""
    return None


def summary(scores: Mapping[str, Any]) -> Sequence[Table]:
    """Return tables of the figures by cosine alone, and of what the threshold of new identities has gained."""
    details = scores.get("retrieval") or {}
    tables = []
    if details.get("cosine_alone"):
        rows = tuple((name, f"{value:.4f}") for name, value in details["cosine_alone"].items())
        tables.append(Table("gallery samples by cosine alone", ("figure", "mean"), rows))
    if "honest" in details:
        line = (
            f"new identities: score {details['honest']:.4f} with thresholds tuned on the other folds, "
            f"{details['naive']:.4f} with one tuned on all folds, {details['without_threshold']:.4f} without; "
            f"threshold {details['threshold']:.4f} for the test part"
        )
        tables.append(Table(lines=(line,)))
    return tables


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the queries with the lowest scores among those that have a right answer, the worst first."""
    from medalist.tasks.embed import report  # here, because it imports drawing, which scoring does not need

    return report.worst(run, contest, oof)


def write_page(path: Path, run: Run, contest: Contest, settings: EmbedSettings, oof: Oof, page: RunReport) -> None:
    """Write the report with queries and their hits, a map of the embeddings, and similarities."""
    from medalist.tasks.embed.page import write_retrieval_report
    from medalist.tasks.embed.report import retrieval_report

    write_retrieval_report(path, retrieval_report(run, contest, settings, oof, page))
