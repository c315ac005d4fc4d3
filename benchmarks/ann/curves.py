"""Reading the measured points: envelopes, QPS at a recall, tables."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from adapter import MODES

TARGETS = (0.90, 0.95, 0.99)
OURS = "medalist"
Point = tuple[float, float]
"""(recall, QPS)"""


def envelope(points: list[Point]) -> list[Point]:
    """The points that no other one beats in both recall and QPS, by rising recall."""
    best: list[Point] = []
    for reached, qps in sorted(points, reverse=True):
        if not best or qps > best[-1][1]:
            best.append((reached, qps))
    return best[::-1]


def qps_at(points: list[Point], target: float) -> float | None:
    """Log QPS linear in recall between the points around `target`; None where no point reaches it."""
    front = envelope(points)
    if not front or front[-1][0] < target:
        return None
    if front[0][0] >= target:
        return front[0][1]
    for (low, fast), (high, slow) in pairwise(front):
        if low <= target <= high:
            share = (target - low) / (high - low)
            return math.exp((1 - share) * math.log(fast) + share * math.log(slow))
    return None


def points_of(result: dict[str, Any], mode: str) -> list[Point]:
    return [(point["recall"], point["qps"]) for point in result.get("points", []) if point["mode"] == mode]


def thousands(qps: float | None) -> str:
    return "–" if qps is None else f"{qps / 1000:.2f}k"


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table of one set of vectors."""
    speeds = {
        name: {(mode, target): qps_at(points_of(result, mode), target) for mode in MODES for target in TARGETS}
        for name, result in results.items()
    }
    mine, own = results.get(OURS, {}), speeds.get(OURS, {})
    heads = [f"{mode} {target:.2f}" for mode in MODES for target in TARGETS]
    lines = [
        f"| library | {' | '.join(heads)} | build, CPU s | bytes / vector | parameters |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for name, result in results.items():
        if "failed" in result:
            lines.append(f"| {name} |{' |' * (len(heads) + 2)} {result['failed'].replace('|', '/')} |")
            continue
        cells = [name]
        for key, qps in speeds[name].items():
            ours = own.get(key)
            cells.append(thousands(qps) + (f" ({ours / qps:.2f}×)" if ours and qps and name != OURS else ""))
        share = result["build_cpu"] / mine["build_cpu"] if mine.get("build_cpu") and name != OURS else None
        cells.append(f"{result['build_cpu']:.1f}" + (f" ({share:.2f}×)" if share else ""))
        count, dim = result["shape"]
        cells.append(f"{result['memory'] / count:.0f} ({result['memory'] / count / (4 * dim):.2f} raw)")
        lines.append("| " + " | ".join([*cells, result["parameters"]]) + " |")
    if own:
        lines.append("")
        for mode in MODES:
            for target in TARGETS:
                lines.append(against_fastest(speeds, mode, target))
    return "\n".join(lines)


def against_fastest(speeds: dict[str, dict[tuple[str, float], float | None]], mode: str, target: float) -> str:
    theirs = [(qps, name) for name, row in speeds.items() if name != OURS and (qps := row[mode, target]) is not None]
    ours = speeds[OURS][mode, target]
    start = f"- {mode}, recall {target:.2f}: ours {thousands(ours)}"
    if not theirs or ours is None:
        return start + ("; no peer reaches it" if ours else "; not reached")
    qps, name = max(theirs)
    return f"{start}, fastest peer {name} {thousands(qps)}, ratio **{ours / qps:.2f}**"
