"""Throws changed filter texts at the reader and the compiler: `python tests/search/fuzz_filter.py 100000 [seed]`.

Every text is a good filter that was changed in its bytes, its tokens or its structure, one to four times. It is
accepted, or refused by a SearchError of one line; anything else fails. What is accepted is written as JSON again, and
has to compile to the same program.
"""

from __future__ import annotations

import copy
import json
import random
import re
import sys
from typing import Any

from medalist.errors import SearchError
from medalist.search.filter_json import from_json, to_json
from medalist.search.filters import compile_filter

SCHEMA: dict[str, Any] = {
    "species": "tag",
    "flag": "bool",
    "depth": "int",
    "score": "float",
    "seen": "datetime",
    "place": "geo",
    "animal": "id",
    "odd name.": "int",
}

_RING = [{"lat": 0, "lon": 0}, {"lat": 10, "lon": 0}, {"lat": 10, "lon": 10.5}]
_HOLE = [{"lat": 4, "lon": 1}, {"lat": 5, "lon": 1}, {"lat": 5, "lon": 2}, {"lat": 4, "lon": 1}]
CONDITIONS: list[dict[str, Any]] = [
    {"key": "species", "match": {"value": "whale"}},
    {"key": "species", "match": {"any": ["whale", "seal", "Ж"]}},
    {"key": "species", "match": {"except": ["whale"]}},
    {"key": "animal", "match": {"any": ["a1", "a2"]}},
    {"key": "animal", "match": {"value": 17}},
    {"key": "flag", "match": {"value": True}},
    {"key": "flag", "is_empty": False},
    {"key": "depth", "match": {"any": [1, -2, 9223372036854775807]}},
    {"key": "odd name.", "match": {"except": [0]}},
    {"key": "depth", "range": {"gte": 10, "lt": 200.5}},
    {"key": "score", "range": {"gt": 0.25}},
    {"key": "score", "range": {"lte": 1e300, "gte": -123456789012345678901234567890}},
    {"key": "seen", "range": {"gte": "2015-01-01", "lt": "2026-01-31T12:00:00.5+02:00"}},
    {"key": "seen", "match": {"value": "2015-01-01T00:00:00Z"}},
    {"key": "place", "geo_radius": {"center": {"lat": 54.3, "lon": 10.1}, "radius": 50000}},
    {
        "key": "place",
        "geo_bounding_box": {"top_left": {"lat": 10, "lon": 170}, "bottom_right": {"lat": -10, "lon": -170}},
    },
    {"key": "place", "geo_polygon": {"exterior": {"points": _RING}, "interiors": [{"points": _HOLE}]}},
    {"is_empty": {"key": "depth"}},
    {"is_null": {"key": "species"}},
    {"has_id": [3, 7, -1]},
]
"""One of each sort, all good for SCHEMA."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[{}\[\]:,]')
_ODD_TOKENS = (
    *(
        "null",
        "true",
        "false",
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "1e400",
        "1e-400",
        "0.1",
        "-1",
        "9" * 19,
        "9" * 400,
    ),
    *('""', '"\\ud800"', '"\\u0000"', '"id"', '"key"', '"2020-13-01"', '"9999-12-31T23:59:60Z"', '"\\n"', "9" * 5000),
    *("{", "}", "[", "]", ":", ",", "{}", "[]", "[[[[", "[" * 3000, '{"must":' * 70, '{"must":[' * 2000),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, -(2**63), 2**64, 10**300, 0.5, -0.0, 1e308, 90, 90.1, 180, 181),
    *("", "a", "2020", "2020-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-01:00", "id", "depth"),
    *([], {}, [[]], [1, "a"], [True], {"key": "depth"}, {"lat": 1, "lon": 2}, {"gte": 1}, [None], ["a", "a"]),
)
_WORDS = sorted(
    {"must", "should", "must_not", "min_should", "conditions", "min_count", "key", "nested", "values_count", "text"}
    | set(re.findall(r'"(\w+)":', json.dumps(CONDITIONS)))
)


def good_filter(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A filter of the language that compiles for SCHEMA."""
    found: dict[str, Any] = {}
    for clause in rng.sample(("must", "should", "must_not", "min_should"), rng.randint(1, 3)):
        each = [
            good_filter(rng, depth + 1) if depth < 3 and rng.random() < 0.2 else copy.deepcopy(rng.choice(CONDITIONS))
            for _ in range(rng.randint(0, 3))
        ]
        if clause == "min_should":
            found[clause] = {"conditions": each, "min_count": rng.randint(1, 3)}
        else:
            found[clause] = each[0] if len(each) == 1 and rng.random() < 0.3 else each
    return found


def changed_structure(rng: random.Random, tree: Any) -> Any:
    """The tree with one value, key or element of it changed, dropped, doubled or moved."""
    tree = copy.deepcopy(tree)
    holders: list[Any] = []
    stack = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, dict | list) and one:
            holders.append(one)
            stack.extend(one.values() if isinstance(one, dict) else one)
    if not holders:
        return rng.choice(_ODD_VALUES)
    holder = rng.choice(holders)
    key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    what = rng.randrange(9)
    if what > 5 and not isinstance(holder[key], dict | list):  # a value of the same sort, which often is as good
        same = [odd for odd in _ODD_VALUES if type(odd) is type(holder[key])]
        holder[key] = rng.choice(same or [None])
    elif what > 5:
        holder[key] = rng.choice((copy.deepcopy(rng.choice(CONDITIONS)), good_filter(rng, 2)))
    elif what == 0:
        holder[key] = copy.deepcopy(rng.choice(_ODD_VALUES))
    elif what == 1:
        del holder[key]
    elif what == 2:
        holder[key] = rng.choice(([holder[key]], {rng.choice(_WORDS): holder[key]}, [holder[key]] * 3))
    elif what == 3:
        other = rng.choice(holders)
        holder[key] = copy.deepcopy(rng.choice(list(other.values())) if isinstance(other, dict) else rng.choice(other))
    elif what == 4 and isinstance(holder, dict):
        holder[rng.choice(_WORDS)] = holder.pop(key)
    elif isinstance(holder, dict):
        holder[rng.choice(_WORDS)] = copy.deepcopy(rng.choice(_ODD_VALUES))
    else:
        holder.insert(key, copy.deepcopy(rng.choice(_ODD_VALUES)))
    return tree


def changed_tokens(rng: random.Random, text: str) -> str:
    """The text with one token changed, dropped, doubled or exchanged."""
    spans = [match.span() for match in _TOKENS.finditer(text)]
    if not spans:
        return rng.choice(_ODD_TOKENS)
    start, end = rng.choice(spans)
    other_start, other_end = rng.choice(spans)
    token = rng.choice(("", rng.choice(_ODD_TOKENS), text[other_start:other_end], text[start:end] * 2))
    return text[:start] + token + text[end:]


def changed_bytes(rng: random.Random, text: str) -> str:
    """The text with some bytes changed, dropped, put in, or its end cut off."""
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    at = rng.randrange(len(data) + 1)
    what = rng.randrange(4)
    if what == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        data[at:at] = bytes(rng.choice(b'{}[]",:0123456789.eE+-\\ntf\0\xff') for _ in range(rng.randint(1, 3)))
    elif what == 2:
        del data[at : at + rng.randint(1, 8)]
    else:
        del data[at:]
    return data.decode("utf-8", rng.choice(("replace", "surrogateescape")))


def changed_text(rng: random.Random) -> str:
    """A good filter, changed one to four times."""
    tree: Any = good_filter(rng)
    sorts = [rng.choice((0, 0, 0, 1, 2)) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    for _ in range(sorts.count(0)):
        tree = changed_structure(rng, tree)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    for sort in sorts:
        if sort:
            text = changed_tokens(rng, text) if sort == 1 else changed_bytes(rng, text)
    return text


def accepts(text: str) -> bytes | None:
    """The program of the text, None where it is refused; AssertionError where the error or the way back is wrong."""
    try:
        found = from_json(text)
        program = compile_filter(found, SCHEMA, 1)
    except SearchError as problem:
        line = str(problem)
        assert line.startswith("filter") and line.isprintable() and len(line) < 1500, repr(line)
        return None
    again = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert compile_filter(from_json(again), SCHEMA, 1) == program, f"{text} came back as {again}"
    return program


def run(count: int, seed: int = 0) -> tuple[int, int]:
    """How many of `count` changed texts were accepted and refused."""
    rng = random.Random(seed)
    accepted = 0
    for number in range(count):
        text = changed_text(rng)
        try:
            accepted += accepts(text) is not None
        except Exception as problem:
            raise AssertionError(f"text {number} of seed {seed}: {problem!r}: {text[:2000]!r}") from problem
    return accepted, count - accepted


def main() -> None:
    """Run as a script."""
    count, seed = (
        (int(word) for word in (*sys.argv[1:], "2000", "0")[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 0)
    )
    accepted, refused = run(count, seed)
    sys.stdout.write(f"{count} changed filters of seed {seed}: {accepted} accepted, {refused} refused\n")


if __name__ == "__main__":
    main()
