"""How long a filter takes to become an exact set of rows: Index.count(where) on a million rows.

python benchmarks/ann/evaluate.py [--rows 1000000] [--repeats 40]

Vectors have 4 components and few values, as filters do not look at them. Two-term filters of tags and ranges, each term
meaning the share that the line tells, circles of several sizes, polygons and NOT. Milliseconds, medians of filters with
other values each time, so that nothing is asked twice; each first count is compared with NumPy's. Wanted: 1 ms for tags
and ranges, 3 ms for a radius.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

if __name__ == "__main__":
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})  # NumPy reads it

import numpy as np
from numpy.typing import NDArray

from medalist.search import Index
from medalist.search.filters import F, Filter
from medalist.search.schema import FieldKind

SHARES = (0.5, 0.1, 0.01, 0.001)
TAGS: dict[str, FieldKind] = {f"{name}{number}": "tag" for name in ("a", "b") for number in range(len(SHARES))}
SCHEMA: dict[str, FieldKind] = {"when": "int", "depth": "float", "place": "geo", **TAGS}
EARTH = 6_371_008.8
"""Metres, the mean radius, as the core has it."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Columns [n] of the index: whole numbers, numbers between 0 and 1, places, and of each tag its value."""

    when: NDArray[np.int64]
    depth: NDArray[np.float64]
    place: NDArray[np.float64]
    tags: dict[str, NDArray[np.int64]]

    @classmethod
    def drawn(cls, n: int) -> Rows:
        """Tags a0, b0, ... have 1 / share values; places are spread evenly over the sphere."""
        rng = np.random.default_rng(0)
        latitude = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
        place = np.stack([latitude, rng.uniform(-180, 180, n)], axis=1)
        tags = {
            f"{name}{number}": rng.integers(0, round(1 / share), n)
            for name in ("a", "b")
            for number, share in enumerate(SHARES)
        }
        return cls(rng.integers(0, 10**6, n), rng.random(n), place, tags)

    def within(self, latitude: float, longitude: float, metres: float) -> Mask:
        def direction(place: NDArray[np.float64]) -> NDArray[np.float64]:
            lat, lon = np.radians(place).T
            return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)

        chord = np.linalg.norm(direction(self.place) - direction(np.array([[latitude, longitude]])), axis=1)
        return np.asarray(chord <= 2 * np.sin(metres / EARTH / 2), bool)


Case = Callable[[np.random.Generator], tuple[Filter, Callable[[], Mask]]]
"""A filter with values drawn anew, and what NumPy says of it."""


def tag_term(rows: Rows, name: str, rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
    value = int(rng.integers(0, rows.tags[name].max() + 1))
    return F[name] == f"v{value}", lambda: rows.tags[name] == value


def range_term(rows: Rows, name: str, share: float, rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
    low = rng.uniform(0, 1 - share)
    if name == "depth":
        return (F.depth >= low) & (F.depth < low + share), lambda: (rows.depth >= low) & (rows.depth < low + share)
    first, last = int(low * 10**6), int((low + share) * 10**6)
    return F.when.between(first, last), lambda: (rows.when >= first) & (rows.when <= last)


def joined(one: Case, other: Case) -> Case:
    def case(rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
        (left, left_mask), (right, right_mask) = one(rng), other(rng)
        return left & right, lambda: left_mask() & right_mask()

    return case


def inverse(one: Case) -> Case:
    def case(rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
        told, mask = one(rng)
        return ~told, lambda: ~mask()

    return case


def circle(rows: Rows, share: float) -> Case:
    """As large as this share of the sphere: (1 - cos angle) / 2."""
    metres = float(np.arccos(1 - 2 * share) * EARTH)

    def case(rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
        latitude, longitude = float(rng.uniform(-60, 60)), float(rng.uniform(-180, 180))
        told = F.place.within(latitude, longitude, metres=metres)
        return told, lambda: rows.within(latitude, longitude, metres)

    return case


def polygon(rows: Rows, degrees: float) -> Case:
    """A diamond of eight corners in degrees of latitude and longitude, away from the borders of the map."""

    def case(rng: np.random.Generator) -> tuple[Filter, Callable[[], Mask]]:
        latitude, longitude = float(rng.uniform(-30, 30)), float(rng.uniform(-90, 90))
        ways = ((1, 0), (0.5, 0.5), (0, 1), (-0.5, 0.5), (-1, 0), (-0.5, -0.5), (0, -1), (0.5, -0.5))
        ring = [(latitude + degrees * up, longitude + degrees * right) for up, right in ways]
        far = np.abs(rows.place - [latitude, longitude]).sum(axis=1)
        return F.place.polygon(ring), lambda: far <= degrees

    return case


def cases(rows: Rows) -> Iterator[tuple[str, float, Case]]:
    """What it is, the milliseconds that are wanted, the filter."""
    for number, share in enumerate(SHARES):
        percent = f"{100 * share:g} %"

        def tag(name: str, number: int = number) -> Case:
            return lambda rng: tag_term(rows, f"{name}{number}", rng)

        def between(name: str, share: float = share) -> Case:
            return lambda rng: range_term(rows, name, share, rng)

        yield f"tag & tag, {percent} each", 1, joined(tag("a"), tag("b"))
        yield f"tag & range, {percent} each", 1, joined(tag("a"), between("when"))
        yield f"range & range, {percent} each", 1, joined(between("when"), between("depth"))
        yield f"NOT tag & range, {percent} each", 1, joined(inverse(tag("a")), between("depth"))
        yield f"NOT (tag & range), {percent} each", 1, inverse(joined(tag("a"), between("depth")))
    for share in (0.01, 0.1, 0.5):
        yield f"radius, {100 * share:g} %", 3, circle(rows, share)
        ten = joined(circle(rows, share), lambda rng: tag_term(rows, "a1", rng))
        yield f"radius, {100 * share:g} %, & tag, 10 %", 3, ten
    for degrees in (10, 40):
        yield f"polygon, {degrees}° each way", 3, polygon(rows, degrees)


def built(rows: Rows) -> Index:
    """Of a thousand different vectors, each for many ids: nobody asks the graph, and a small one is made sooner."""
    n = len(rows.when)
    index = Index(4, "l2", fields=SCHEMA)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(1000, 4)).astype(np.float32)[rng.integers(0, 1000, n)]
    tags = {name: np.char.add("v", values.astype(str)).tolist() for name, values in rows.tags.items()}
    columns = {"when": rows.when, "depth": rows.depth, "place": rows.place, **tags}
    index.add(None, vectors, columns)
    index.optimize()
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    rows = Rows.drawn(options.rows)
    start = time.perf_counter()
    index = built(rows)
    fields = index.stats().memory["fields"] / len(index)
    print(f"{len(index):,} rows, built in {time.perf_counter() - start:.0f} s, {fields:.0f} bytes of fields each")
    rng = np.random.default_rng(2)
    for what, wanted, case in cases(rows):
        where, mask = case(rng)
        meant = int(mask().sum())
        # A polygon's edges are straight here and there; rounding may part them at a row or two.
        if abs(index.count(where) - meant) > (2 if "polygon" in what or "radius" in what else 0):
            raise SystemExit(f"{what}: {index.count(where)} rows, not {meant}: {where}")
        seconds = []
        for _ in range(options.repeats):
            where, _ = case(rng)
            begin = time.perf_counter()
            index.count(where)
            seconds.append(time.perf_counter() - begin)
        told = f"{1000 * median(seconds):.3f} ms, longest {1000 * max(seconds):.3f}"
        flag = "" if 1000 * median(seconds) < wanted else "  MISSED"
        print(f"{what:32} {meant:8,} rows  {told} (wanted: {wanted}){flag}", flush=True)


if __name__ == "__main__":
    main()
