"""The page of a run: one HTML file that needs no other file, no network and no scripts.

Plain data is written by one template (`page.html.j2`, with autoescape). Ids, names and the config may be hostile, so
they are escaped and cannot change the writing direction of the text around them. The page's content security policy
forbids scripts and all addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files as package_files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from markupsafe import Markup

from medalist.files import write_text
from medalist.report.charts import (
    curves_figure,
    drawable,
    finite,
    finite_values,
    fold_name,
    own_colours,
    spread_figure,
    svg,
    thresholds_figure,
)
from medalist.report.pictures import FALSE, FOUND, MISSED, Colour, Picture, jpeg_base64

_THRESHOLDED = re.compile(r"(.+)@([0-9]+(?:\.[0-9]+)?)")


LONG = 12
"""A table with more rows than this is folded: the page shows its first rows, and all of them on a click."""


@dataclass(frozen=True, eq=False)
class SamplePicture:
    """One OOF sample on the page.

    picture: uint8[H, W, 3], panels beside each other, without caption. note: what is wrong with the answer, in words.
    details: (words, picture) of places of the image, enlarged.
    """

    id: str
    fold: int | str
    score: float
    stratum: str | None
    picture: Picture
    note: str = ""
    details: Sequence[tuple[str, Picture]] = ()


@dataclass(frozen=True, eq=False)
class RunReport:
    """The content of the page, as plain data; nothing is read from disk.

    config: the resolved YAML, as text.
    provenance: the content of lock.json; nested mappings are shown as dotted names.
    curves: by fold, the rows of metrics.jsonl in their order. Every key is optional: epoch, step, lr, loss,
        val_loss and the named parts of the loss; values that are missing or not finite are left out.
    scores: the content of scores.json: {"oof": {"value", "mean", "standard_error" (over folds),
        "standard_error_samples", "folds": {fold: score}, "folds_of" (the number of folds), "strata": {name:
        {"score", "samples"}}, "parts": {name: score}}, "by_sample": {id: score}, "optimistic" (whether the weights
        were chosen by the metric on the fold itself)}; every key is optional.
    worst, best: pictures in the order in which they are shown.
    strata: the stratum by sample id, of all training samples of the contest that have one. The colours of strata follow
        from it, so that all pages and charts of the contest agree.
    """

    run: str
    competition: str
    config: str
    provenance: Mapping[str, Any]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    scores: Mapping[str, Any]
    worst: Sequence[SamplePicture] = field(default=())
    best: Sequence[SamplePicture] = field(default=())
    strata: Mapping[str, str] = field(default_factory=dict)

    def with_pictures(self, worst: Sequence[SamplePicture], best: Sequence[SamplePicture]) -> RunReport:
        """Return the same content with pictures."""
        return replace(self, worst=worst, best=best)


@dataclass(frozen=True)
class Bar:
    """A table row with a bar.

    share: the length of the bar, 0..100. samples: None where it is not known. colour: None for that of all bars.
    """

    name: str
    value: float | None
    share: float
    samples: int | None = None
    colour: str | None = None


def write_report(path: Path, report: RunReport) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render(report).encode("utf-8", "backslashreplace").decode("utf-8"))


def render(report: RunReport) -> str:
    """Return the page as HTML text."""
    return rendered("page.html.j2", page_values(report))


def rendered(template: str, values: Mapping[str, Any], package: str | None = None) -> str:
    """Return the text of a template, filled with values. `package`: where the template is; None for this package.

    The template may extend `page.html.j2`, which needs all of `page_values`.
    """
    own, other = package_files(__package__), package_files(package or __package__)

    def source(name: str) -> str:
        folder = own if own.joinpath(name).is_file() else other
        return folder.joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(source),
    )
    environment.filters.update(score=score_text, part=part_text, number=number_text, jpeg=jpeg_base64, rgb=_rgb)
    return environment.get_template(template).render(values)


def page_values(report: RunReport, unit: tuple[str, str] = ("image", "images")) -> dict[str, Any]:
    """Return the values that `page.html.j2` shows of a run. `unit`: what a sample is called, in singular and plural."""
    oof: Mapping[str, Any] = report.scores.get("oof") or {}
    by_sample = {name: float(value) for name, value in (report.scores.get("by_sample") or {}).items() if finite(value)}
    folds = {fold_name(name): value for name, value in (oof.get("folds") or {}).items()}
    strata: Mapping[str, Mapping[str, Any]] = oof.get("strata") or {}
    thresholds, parts = split_parts(oof.get("parts") or {})
    error, over = oof.get("standard_error"), f"{len(folds)} folds"
    if not finite(error):
        error, over = oof.get("standard_error_samples"), f"the {unit[1]}"
    colours = own_colours([*strata, *report.strata.values()])
    return {
        "report": report,
        "unit": unit,
        "oof": oof,
        "samples": len(by_sample),
        "error": error if finite(error) else None,
        "over": over,
        "optimistic": report.scores.get("optimistic") is True,
        "fold_bars": bars(folds),
        "stratum_bars": bars(
            {name: row.get("score") for name, row in strata.items()},
            {name: row.get("samples") for name, row in strata.items()},
            colours,
        ),
        "stratum_colours": colours,
        "long": LONG,
        "heat": None,
        "void": False,
        "parts": parts,
        "curves": svg(curves_figure(report.curves)) if drawable(report.curves) & {"loss", "val_loss", "lr"} else None,
        "last_rows": last_rows(report.curves),
        "thresholds": svg(thresholds_figure(thresholds)) if thresholds else None,
        "spread": _spread(by_sample, report.strata, colours if strata else {}, unit[1]),
        "same": next(iter(by_sample.values())) if len(by_sample) > 1 and len(set(by_sample.values())) == 1 else None,
        "provenance": flattened(report.provenance),
        "colours": {"found": FOUND, "missed": MISSED, "false": FALSE},
    }


def _spread(
    by_sample: Mapping[str, float], strata: Mapping[str, str], colours: Mapping[str, str], what: str
) -> Markup | None:
    """Return the chart of the samples' scores; None where they are all the same, because one bar is no chart.

    colours: of the strata that a table names; the chart has no legend of its own.
    """
    if len(set(by_sample.values())) < 2:
        return None
    known = [strata[name] for name in by_sample if name in strata]
    return svg(spread_figure(list(by_sample.values()), what, known, colours))


def extremes(
    by_sample: Mapping[str, float], most: int = 12, wrong: Mapping[str, float] = MappingProxyType({})
) -> tuple[list[str], list[str]]:
    """Return the ids of the worst samples (worst first) and of the best (best first); no id is in both.

    There are at most `most` of each. Of equal scores those with more `wrong` come first among the worst, and are then
    ordered by id. Samples without a finite score are left out. Of fewer than 2 * `most` samples, one half (rounded up)
    are the worst, and the other half the best.
    """
    known = [name for name, value in by_sample.items() if finite(value)]
    ordered = sorted(known, key=lambda name: (by_sample[name], -wrong.get(name, 0), name))
    worst = ordered[: min(most, -(-len(ordered) // 2))]
    rest = ordered[len(worst) :]
    return worst, rest[::-1][:most]


def few_strata(scores: Mapping[str, Any], most: int) -> tuple[dict[str, Any], int]:
    """Return the scores with only the `most` largest strata, and the number of strata that were left out.

    It is needed where each identity is a stratum.
    """
    oof = scores.get("oof") or {}
    strata: Mapping[str, Mapping[str, Any]] = oof.get("strata") or {}
    largest = sorted(strata, key=lambda name: -(strata[name].get("samples") or 0))[:most]
    kept = {name: strata[name] for name in largest}
    return {**scores, "oof": {**oof, "strata": kept}}, len(strata) - len(kept)


def bars(
    values: Mapping[str, float | None],
    samples: Mapping[str, int | None] | None = None,
    colours: Mapping[str, str] = MappingProxyType({}),
) -> list[Bar]:
    """Return a row for each value. Bars show the range 0..1, or a wider range where values are outside."""
    known = finite_values(values.values())
    low, high = min([0.0, *known]), max([0.0, *known])
    if low >= 0 and high <= 1:
        high = 1.0
    return [
        Bar(
            name=name,
            value=value if finite(value) else None,
            share=round(100 * (value - low) / (high - low), 1) if value is not None and finite(value) else 0.0,
            samples=(samples or {}).get(name),
            colour=colours.get(name),
        )
        for name, value in values.items()
    ]


def split_parts(parts: Mapping[str, float]) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Return the parts named `name@threshold` as sorted (threshold, value) pairs by name, and the other parts.

    A name with a number at only one threshold (for example a count of matches at IoU 0.5) is no curve; it is among the
    other parts.
    """
    found = {name: match for name in parts if (match := _THRESHOLDED.fullmatch(name))}
    numbers = Counter(match[1] for name, match in found.items() if finite(parts[name]))
    curves = {name for name, count in numbers.items() if count > 1}
    by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in sorted(curves)}
    others: dict[str, float] = {}
    for name, value in parts.items():
        if name not in found or found[name][1] not in curves:
            others[name] = value
        elif finite(value):
            by_name[found[name][1]].append((float(found[name][2]), value))
    return {name: sorted(pairs) for name, pairs in by_name.items()}, others


def last_rows(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """Return the names of all numbers in the curves, and by fold the last finite value of each, or None."""
    names = list(dict.fromkeys(name for rows in curves.values() for row in rows for name in row))
    names = [name for name in names if any(finite(row.get(name)) for rows in curves.values() for row in rows)]
    table = [(fold_name(fold), [_last(rows, name) for name in names]) for fold, rows in curves.items()]
    return names, table


def _last(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next((row[name] for row in reversed(rows) if finite(row.get(name))), None)


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested mappings as (dotted name, text) pairs, in their order."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += flattened(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", "–" if value is None else str(value)))
    return pairs


def score_text(value: object) -> str:
    """Return a score as text with three decimals; a dash where there is no finite score."""
    return f"{value:.3f}" if isinstance(value, int | float) and finite(value) else "–"


def part_text(value: object) -> str:
    """Return a part of the score as text: a whole number above 1 is a count; others are as in `score_text`."""
    count = isinstance(value, int | float) and finite(value) and value > 1 and float(value).is_integer()
    return number_text(value) if count else score_text(value)


def number_text(value: object) -> str:
    """Return a number as text with four significant digits; a whole number in full; a dash where there is none."""
    if not isinstance(value, int | float) or not finite(value):
        return "–"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _rgb(colour: Colour) -> str:
    return f"rgb({colour[0]} {colour[1]} {colour[2]})"
