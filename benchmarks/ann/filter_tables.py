"""The grid as tables and as a picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from filter_cells import KINDS, SHARES, TIES

OURS, WANTED, GUARD = "medalist", 0.95, 2.2
"""Recall that counts, and how many times the scan of the matches a search may cost."""
MODES = {"single": "single queries", "batch": "batches", "bare": "single queries, peers' masks for nothing"}
Best = tuple[str, float] | None
"""Name and QPS of the fastest peer of a cell, None where none reaches the recall."""


def show(record: dict[str, Any], file: Path) -> None:
    """Print the tables, write them with those of each peer beside the record's file, and draw the pictures."""
    machine = record["machine"]
    parts = [
        f"{machine['processor']}, {machine['processors']} processors, {record['date']}; {record['set']}, "
        f"{record['subset']} rows, {record['queries']} queries, k=10, one thread",
        "\n".join(libraries(record)),
        "\n".join(worst(record)),
    ]
    for mode, what in MODES.items():
        parts.append(f"{what}: ours, QPS (how many times that of the best peer)\n\n{table(record, mine_of, mode)}")
        parts.append(f"{what}: the best peer\n\n{table(record, best_text, mode)}")
    if record["peers"].get(OURS, {}).get("cells"):
        for title, text, what in (
            ("recall@10", told, "recall"),
            ("plans", plans_of, ""),
            ("time over that of a forced scan of the matches", told, "guard"),
        ):
            parts.append(f"ours: {title}\n\n{table(record, text, what)}")
    parts.append(f"of the query's 100 nearest rows those that match\n\n{table(record, near_of, '')}")
    print("\n\n".join(parts))
    for mode, what in MODES.items():
        for name in record["peers"]:
            parts.append(f"{name}, {what}\n\n{table(record, partial(peer_text, name), mode)}")
    file.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    for mode in MODES:
        try:
            picture(record, mode, file.with_name(f"{file.stem}-{mode}.png"))
        except ModuleNotFoundError:
            print(f"\nno matplotlib here; draw with `python filters.py --show {file.name}` where it is")
            break


def libraries(record: dict[str, Any]) -> list[str]:
    lines = []
    for name, result in record["peers"].items():
        failed = f"; failed: {result['failed']}" if "failed" in result else ""
        built = f"built in {result['build_cpu']:.0f} CPU s; {result['parameters']}" if "build_cpu" in result else ""
        lines.append(f"- {name} {result['version']}: {built}{failed}")
    return lines + [f"- {name}: {why}" for name, why in record["absent"].items()]


def result_of(record: dict[str, Any], peer: str, name: str, mode: str) -> dict[str, Any] | None:
    told = record["peers"].get(peer, {}).get("cells", {}).get(name)
    if told is None or mode == "single" or "left" in told:
        return None if told is None or "left" in told else told
    return {**told, "qps": told["bare"] or told["qps"]} if mode == "bare" else told.get("batch")


def best_of(record: dict[str, Any], name: str, mode: str) -> Best:
    rivals = []
    for peer in record["peers"]:
        made = result_of(record, peer, name, mode)
        if peer != OURS and made and made.get("recall", 0) >= WANTED:
            rivals.append((made["qps"], peer))
    return max(rivals)[::-1] if rivals else None


def ratio_of(record: dict[str, Any], name: str, mode: str) -> float | None:
    """Our QPS over the best peer's; None where either is missing."""
    mine, best = result_of(record, OURS, name, mode), best_of(record, name, mode)
    return mine["qps"] / best[1] if mine and best else None


def speed(qps: float) -> str:
    return f"{qps / 1000:.1f}k" if qps >= 10_000 else f"{qps / 1000:.2f}k" if qps >= 1000 else f"{qps:.0f}"


def peer_text(peer: str, record: dict[str, Any], name: str, mode: str) -> str:
    made = result_of(record, peer, name, mode)
    if not made:
        return "–"
    return speed(made["qps"]) if made["recall"] >= WANTED else f"[{made['recall']:.2f} @ {speed(made['qps'])}]"


def mine_of(record: dict[str, Any], name: str, mode: str) -> str:
    ratio = ratio_of(record, name, mode)
    return peer_text(OURS, record, name, mode) + (f" ({ratio:.2f}×)" if ratio else "")


def best_text(record: dict[str, Any], name: str, mode: str) -> str:
    best = best_of(record, name, mode)
    return f"{best[0]} {speed(best[1])}" if best else "–"


def told(record: dict[str, Any], name: str, what: str) -> str:
    mine = result_of(record, OURS, name, "single")
    return f"{mine[what]:.3f}" if mine else "–"


def plans_of(record: dict[str, Any], name: str, mode: str) -> str:
    mine = result_of(record, OURS, name, "single")
    if not mine:
        return "–"
    asked = sum(mine["plans"].values())
    return ", ".join(plan + (f" {100 * n / asked:.0f}" if n < asked else "") for plan, n in mine["plans"].items())


def near_of(record: dict[str, Any], name: str, mode: str) -> str:
    near = 100 * float(record["cells"][name]["near"])
    return f"{near:.0f} %" if near >= 10 else f"{near:.2g} %"


def table(record: dict[str, Any], text: Any, mode: str) -> str:
    """A Markdown table: kinds and ties down, shares across."""
    heads = [f"{100 * share:g} %" for share in SHARES]
    lines = [f"| filter | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for kind in KINDS:
        for tie in TIES:
            names = [f"{kind} {tie} {100 * share:g} %" for share in SHARES]
            if any(name in record["cells"] for name in names):
                made = [text(record, name, mode) if name in record["cells"] else "" for name in names]
                lines.append(f"| {kind}, {tie} | {' | '.join(made)} |")
    return "\n".join(lines)


def worst(record: dict[str, Any]) -> list[str]:
    """What the issue asks of the grid, a line each."""
    mine = record["peers"].get(OURS, {}).get("cells", {})
    if not mine:
        return []
    recall = min(mine, key=lambda name: float(mine[name]["recall"]))
    guard = max(mine, key=lambda name: float(mine[name]["guard"]))
    lone = max(mine, key=lambda name: float(mine[name]["guard_worst"]))
    cell = mine[recall]
    below = sum(told["recall"] < WANTED for told in mine.values())
    short = sum(told["short"] + ((told["batch"] or {}).get("short", 0)) for told in mine.values())
    wrong = sum(told["miscounted"] for told in mine.values())
    unequal = sum(told["unequal"] for told in mine.values())
    above = sum(told["guard"] > GUARD for told in mine.values())
    lines = [
        f"- worst cell by recall: {recall}, {cell['recall']:.3f} at {speed(cell['qps'])}; "
        f"{below} of {len(mine)} below {WANTED}",
        f"- answers: {short} queries with fewer than min(k, matches); {wrong} filters whose count is not NumPy's; "
        f"{unequal} queries answered otherwise when a range is told as the set of its values",
        f"- dearest against a forced scan: {guard}, {mine[guard]['guard']:.2f} times ({above} cells above {GUARD}); "
        f"a single query of {lone}, {mine[lone]['guard_worst']:.2f} times (median of {mine[lone]['passes']})",
    ]
    for mode, what in MODES.items():
        lines.append(f"- {what}, {lowest(record, list(mine), mode)}")
    for tie, wanted in (("independent", 1.2), ("anti", 3.0)):
        some = [f"{kind} {tie} {share} %" for kind in KINDS for share in (50, 10)]
        lines.append(f"- {tie} 50 and 10 % (wanted: {wanted}), {lowest(record, some, 'single')}")
    return lines


def lowest(record: dict[str, Any], names: list[str], mode: str) -> str:
    """The worst ratio to the best peer, and how many cells are at 1 or above."""
    ratios = {name: ratio for name in names if (ratio := ratio_of(record, name, mode))}
    if not ratios:
        return "no peer reaches the recall"
    name = min(ratios, key=lambda name: ratios[name])
    above = sum(ratio >= 1 for ratio in ratios.values())
    where = f"worst against the best peer: {name}, {ratios[name]:.2f}× ({best_text(record, name, mode)})"
    return f"{where}; {above} of {len(ratios)} cells at 1.0 or above"


def picture(record: dict[str, Any], mode: str, file: Path) -> None:
    """Ratios to the best peer as a map of colours, the worst cell framed and named."""
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = [[f"{kind} {tie} {100 * share:g} %" for share in SHARES] for kind in KINDS for tie in TIES]
    ratios = np.array([[ratio_of(record, name, mode) or np.nan for name in row] for row in names])
    if np.isnan(ratios).all():
        return
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(np.clip(ratios, 0.25, 16), norm=LogNorm(0.0625, 16), cmap="RdYlGn", aspect="auto")
    for (row, column), ratio in np.ndenumerate(ratios):
        best = best_of(record, names[row][column], mode)
        if best and not np.isnan(ratio):
            axes.text(column, row, f"{ratio:.2f}×\n{best[0]}", ha="center", va="center", fontsize=7)
    row, column = np.unravel_index(np.nanargmin(ratios), ratios.shape)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=3, color="black"))
    axes.set_xticks(range(len(SHARES)), [f"{100 * share:g} %" for share in SHARES])
    axes.set_yticks(range(len(names)), [f"{kind}, {tie}" for kind in KINDS for tie in TIES])
    where = f"worst: {names[row][column]}, {np.nanmin(ratios):.2f}×"
    axes.set_title(
        f"{record['set']}, {MODES[mode]}: our QPS over the best peer's at recall ≥ {WANTED}; {where}", fontsize=10
    )
    figure.colorbar(image, ax=axes, shrink=0.5)
    figure.savefig(file, dpi=120)
