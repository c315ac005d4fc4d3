"""`medalist card`: a write-up of a run for people, in Markdown and HTML, as the field publishes its solutions.

All is read from the files of the contest's runs; neither data nor torch is needed. The Markdown is written once, and
the HTML is made from it by markdown-it without raw HTML, so a hostile name stays text on both pages.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from medalist.config.layers import dump_tree
from medalist.errors import MedalistError, RunError
from medalist.files import write_text
from medalist.folds.folds import Folds
from medalist.report.charts import curves_figure, drawable, finite_values, spread_figure, svg
from medalist.report.page import few_strata, number_text, rendered, split_parts
from medalist.reporter import printable
from medalist.runs.cost import read_cost
from medalist.runs.curves import metrics_rows
from medalist.runs.plans import short_clock
from medalist.runs.runs import Run, all_runs
from medalist.runs.submissions import Submission, read_submissions
from medalist.runs.tries import read_tries
from medalist.workflows.ablations import Ablation, ablations
from medalist.workflows.board import Entry, read_entry

FOLDER, PAGE, TEXT = "card", "index.html", "card.md"

UNTOLD = ("competition", "data", "folds", "loader", "checkpoint", "tracking", "seed", "task")
"""Sections of a config that are no part of the method."""

MOST_STRATA = 12
MOST_CHANGES = 4

Table = Sequence[Sequence[object]]


def write_card(run: Run, root: Path) -> Path:
    """Write `card/card.md`, `card/index.html` and the figures into a scored run; return the path of the page.

    Raises RunError where the run is not scored, or one of its own files is damaged. Other runs that are damaged are
    named on the card.
    """
    scores = run.scores()
    if scores is None:
        remedy = f"medalist score {_name(run)}, and then medalist card {_name(run)}"
        raise RunError(f"{run.folder} has no score; type: {remedy}")
    own = read_entry(run)
    others, damaged = _others(run, root)
    folder = run.folder / FOLDER
    figures = _write_figures(run, scores, folder)
    submissions = [one for one in read_submissions(root, run.competition) if _name(run) in one.runs]
    entries = [own, *others]
    lines = [
        *_head(own, scores, submissions),
        *_data(own, run.folds(), scores),
        *_method(own),
        *_cost(own),
        *_score(scores),
        *_tried(ablations(entries), own, damaged),
        *_figures(run, figures),
        *_sent(submissions),
        *_again(own),
    ]
    text = "\n".join(lines) + "\n"
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    page = rendered("card.html.j2", {"title": f"{run.competition}: {run.name}", "body": Markup(body)})
    write_text(folder / TEXT, text)
    write_text(folder / PAGE, page)
    return folder / PAGE


def _name(run: Run) -> str:
    return f"{run.competition}/{run.name}"


def _others(run: Run, root: Path) -> tuple[list[Entry], list[str]]:
    """Return the contest's other runs, and the names of those whose files are damaged."""
    found, damaged = [], []
    for other in all_runs(root):
        if other.competition == run.competition and other.folder.resolve() != run.folder.resolve():
            try:
                found.append(read_entry(other))
            except MedalistError:
                damaged.append(other.name)
    return found, damaged


def _head(own: Entry, scores: Mapping[str, Any], submissions: Sequence[Submission]) -> Iterator[str]:
    oof = scores["oof"]
    error = oof.get("standard_error_samples")
    spread = "" if error is None else f" ± {error:.4f}"
    run = own.run
    yield from (f"# {plain(run.competition)}: {plain(run.name)}", "")
    yield (
        f"A contest of the kind `{own.settings.task.kind}`. The out-of-fold score is **{oof['value']:.4f}**{spread} "
        f"over {len(scores['by_sample'])} samples of {len(oof['folds'])} of {oof['folds_of']} folds; higher is better, "
        "and each sample was predicted by a network that did not see it."
    )
    scored = [one for one in submissions if one.public is not None or one.private is not None]
    if scored:
        last = max(scored, key=lambda one: one.time)
        blend = f", in a blend of {len(last.runs)} runs" if len(last.runs) > 1 else ""
        yield f"At Kaggle: public {_number(last.public)}, private {_number(last.private)}{blend} ({last.time[:10]})."
    if scores.get("optimistic") is True:
        yield "The score is optimistic: the weights were chosen on the samples that they are scored on."
    yield from (f"Warning: {plain(doubt)}." for doubt in own.doubts)
    yield ""


def _data(own: Entry, folds: Folds, scores: Mapping[str, Any]) -> Iterator[str]:
    groups = len({group for group in folds.group.values() if group})
    counts = Counter(folds.fold.values())
    kind = ", grouped" * bool(groups) + ", stratified" * any(folds.stratum.values())
    yield from ("## Data and folds", "")
    images = f" ({', '.join(map(plain, own.lock.images))})" if own.lock.images else ""
    yield f"- {len(folds.fold)} training samples{images}" + (f" in {groups} groups" if groups else "")
    seed = "the user's own table" if folds.seed is None else f"seed {folds.seed}"
    yield f"- {folds.n} folds{kind}, {seed}, hash `{folds.hash[:12]}`; data hash `{own.lock.data[:12]}`"
    yield ""
    known = scores["oof"]["folds"]
    yield from table(
        ("fold", "samples", "OOF"),
        [(fold, counts.get(fold, 0), _number(known.get(str(fold)), "not scored")) for fold in range(folds.n)],
    )
    few, left = few_strata(scores, MOST_STRATA)
    strata = few["oof"].get("strata") or {}
    if strata:
        rows = [(name, part.get("samples"), _number(part.get("score"))) for name, part in strata.items()]
        yield from table(("stratum", "samples", "OOF"), rows)
        if left:
            yield from (f"{left} smaller strata are left out.", "")


def _method(own: Entry) -> Iterator[str]:
    yield from ("## Network and training", "")
    pretrained = own.settings.pretrained
    if pretrained is not None:
        yield f"- pretrained weights: {plain(pretrained.encoder)}, {plain(pretrained.weights)}"
        yield from (f"- `{digest[:12]}` {plain(name)}" for name, digest in own.lock.weights.items())
        yield ""
    tree = own.settings.model_dump(mode="json")
    told = {name: part for name, part in tree.items() if name not in UNTOLD and part not in (None, {}, [])}
    text = printable_lines(dump_tree(told))
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    yield from (f"{fence}yaml", text.rstrip("\n"), fence, "")


def _cost(own: Entry) -> Iterator[str]:
    rows = []
    for fold in own.run.trained_folds():
        cost = read_cost(own.run, fold)
        if cost is not None:
            device = f"{cost.device_bytes / 1e9:.1f} GB" if cost.device_bytes else "–"
            rows.append((fold, short_clock(cost.train_seconds), short_clock(cost.oof_seconds), device, cost.processes))
    if rows:
        yield from table(("fold", "training", "prediction", "memory of the GPU", "processes"), rows)
    machine = own.lock.machine
    yield f"Trained on: {plain(machine.get('GPUs', 'unknown'))} (GPUs), {plain(machine.get('processor', 'unknown'))}."
    yield ""


def _score(scores: Mapping[str, Any]) -> Iterator[str]:
    curves, parts = split_parts(scores["oof"].get("parts") or {})
    rows = [(name, number_text(value)) for name, value in parts.items()]
    rows += [(f"{name}@{at:g}", number_text(value)) for name, points in curves.items() for at, value in points]
    if rows:
        yield from ("## Parts of the score", "")
        yield from table(("part", "value"), rows)


def _tried(found: Sequence[Ablation], own: Entry, damaged: Sequence[str]) -> Iterator[str]:
    yield from ("## What was tried", "")
    rows = [
        (
            f"{one.entry.run.name}{' (this run)' if one.entry is own else ''}",
            _number(one.entry.oof.get("value"), "no score"),
            one.against or "–",
            _changes(one),
            "–" if one.gain is None else f"{one.gain:+.4f}",
            one.verdict,
        )
        for one in found
    ]
    yield from table(("run", "OOF", "against", "changed", "gain", ""), rows)
    yield "A gain is told only between runs of the same folds. The error is that of one score over its samples."
    if damaged:
        yield f"Damaged and left out: {', '.join(map(plain, damaged))}."
    yield from ("", "## What did not work", "")
    failed = [
        f"- {plain(one.entry.run.name)}, {plain(_changes(one))}: {one.gain:+.4f}, {one.verdict}"
        for one in found
        if one.gain is not None and one.gain <= 0
    ]
    kept = own.oof["value"]
    for one in sorted(read_tries(own.run).tries, key=lambda one: -one.value):
        if one.value < kept and one.changes:
            changed = ", ".join(f"{key}={value}" for key, value in one.changes.items())
            failed.append(f"- decided with {plain(changed)}: {one.value - kept:+.4f}")
    yield from failed or ["Nothing that was tried here and scored on the same folds was worse."]
    yield ""


def _changes(one: Ablation) -> str:
    more = f" and {len(one.changes) - MOST_CHANGES} more" if len(one.changes) > MOST_CHANGES else ""
    return "; ".join(f"{change:.120}" for change in one.changes[:MOST_CHANGES]) + more or "–"


def _write_figures(run: Run, scores: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the figures that there is something to draw for; return their names with the words under them."""
    curves = {f"fold {fold}": metrics_rows(run, fold) for fold in run.trained_folds()}
    values = finite_values(scores["by_sample"].values())
    made: dict[str, str] = {}
    if drawable(curves) & {"loss", "val_loss", "lr"}:
        write_text(folder / "curves.svg", str(svg(curves_figure(curves))))
        made["curves.svg"] = "Losses and learning rate of each fold"
    if len(set(values)) > 1:
        write_text(folder / "spread.svg", str(svg(spread_figure(values, "samples"))))
        made["spread.svg"] = "Samples by their score"
    return made


def _figures(run: Run, figures: Mapping[str, str]) -> Iterator[str]:
    page = run.folder / "report" / "index.html"
    if figures or page.is_file():
        yield from ("## Figures", "")
        for name, words in figures.items():
            yield from (f"![{words}]({name})", "")
        if page.is_file():
            yield from ("The best and the worst samples are on the [report](../report/index.html).", "")


def _sent(submissions: Sequence[Submission]) -> Iterator[str]:
    if submissions:
        rows = [
            (one.time[:10], one.message, len(one.runs), _number(one.public), _number(one.private), one.status)
            for one in submissions
        ]
        yield from ("## Submissions", "")
        yield from table(("sent", "message", "runs", "public", "private", "status"), rows)


def _again(own: Entry) -> Iterator[str]:
    lock, name = own.lock, _name(own.run)
    config = Path(lock.config_file)
    where = config.name if config.is_absolute() else lock.config_file
    words = [
        ["medalist", "train", where, *lock.overrides, "--name", own.run.name],
        ["medalist", "score", name],
        ["medalist", "submit", name, "-o", "submission.csv"],
    ]
    yield from ("## To make it again", "")
    for line in words:
        yield f"    {printable(shlex.join(line)).replace(chr(10), ' ')}"
    packages = ", ".join(f"{key} {value}" for key, value in lock.packages.items())
    yield from ("", f"Commit `{lock.commit[:12]}`, Python {plain(lock.python)}, {plain(packages)}.")


def table(columns: Sequence[str], rows: Table) -> Iterator[str]:
    """Yield the lines of a Markdown table, and an empty line."""
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(plain(cell) for cell in row) + " |"
    yield ""


def plain(value: object) -> str:
    """Return a value as Markdown that shows exactly its text, on one line: every mark is escaped."""
    text = " ".join(printable(str(value)).split())
    return re.sub(r"([\\`*_\[\]<>|~&!#])", r"\\\1", text)


def printable_lines(text: str) -> str:
    """Return text of several lines without characters that a terminal or a page takes for commands."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _number(value: object, nothing: str = "–") -> str:
    return number_text(value) if isinstance(value, int | float) else nothing
