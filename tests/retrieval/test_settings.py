from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medalist.config import dump_config, parse_config
from medalist.errors import ConfigError
from medalist.retrieval.settings import DiffusionConfig, NoRerank, RankConfig, ReciprocalConfig

BOUNDS: list[tuple[str, Any, Any, Any, Any]] = [
    # key, lowest, highest, and what is next outside
    ("augment_gallery", 0, 1000, -1, 1001),
    ("expand", 0, 1000, -1, 1001),
    ("alpha", 0.0, 20.0, -0.1, 20.1),
    ("k", 1, 10000, 0, 10001),
    ("temperature", 1e-9, 10.0, 0.0, 10.1),
    ("prototypes", 0.0, 1.0, -0.1, 1.1),
    ("recall", 1e-9, 1.0, 0.0, 1.1),
    ("k_reciprocal.k1", 1, 1000, 0, 1001),
    ("k_reciprocal.k2", 1, 1000, 0, 1001),
    ("k_reciprocal.weight", 0.0, 1.0, -0.1, 1.1),
    ("k_reciprocal.candidates", 1, 10000, 0, 10001),
    ("diffusion.k", 1, 1000, 0, 1001),
    ("diffusion.queries", 1, 1000, 0, 1001),
    ("diffusion.alpha", 1e-9, 0.999, 0.0, 1.0),
    ("diffusion.power", 1e-9, 20.0, 0.0, 20.1),
    ("diffusion.candidates", 1, 100000, 0, 100001),
]


def said(key: str, value: str) -> str:
    kind, _, name = key.rpartition(".")
    return f"rerank: {{kind: {kind}, {name}: {value}}}" if kind else f"{name}: {value}"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.yaml", RankConfig)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults() -> None:
    """The papers' values, and every step left out."""
    plain = RankConfig()
    assert plain.model_dump() == {
        "kind": "rank",
        "augment_gallery": 0,
        "expand": 0,
        "alpha": 3.0,
        "rerank": {"kind": "none"},
        "head": "nearest",
        "k": 50,
        "temperature": 0.1,
        "prototypes": 0.0,
        "new": None,
        "new_share": None,
        "assign": False,
        "recall": 0.999,
    }
    reciprocal, spread = ReciprocalConfig(kind="k_reciprocal"), DiffusionConfig(kind="diffusion")
    assert (reciprocal.k1, reciprocal.k2, reciprocal.weight, reciprocal.candidates) == (20, 6, 0.3, 100)
    assert (spread.k, spread.queries, spread.alpha, spread.power, spread.candidates) == (20, 10, 0.9, 3.0, 1000)


@pytest.mark.parametrize(("key", "low", "high", "below", "above"), BOUNDS, ids=[bound[0] for bound in BOUNDS])
def test_bounds(key: str, low: Any, high: Any, below: Any, above: Any) -> None:
    kind, _, name = key.rpartition(".")
    for value in (low, high):
        found = parse_config(said(key, repr(value)), "x.yaml", RankConfig)
        assert getattr(found.rerank if kind else found, name) == value
    for wrong in (repr(below), repr(above), "'3'", "null", "true", *(["1.5"] if isinstance(low, int) else [])):
        line = refused(said(key, wrong))
        assert "x.yaml" in line and name in line
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match=name):
            RankConfig.model_validate({"rerank": {"kind": kind, name: value}} if kind else {name: value})


@pytest.mark.parametrize(
    ("kind", "model"), [("none", NoRerank), ("k_reciprocal", ReciprocalConfig), ("diffusion", DiffusionConfig)]
)
def test_the_kind_of_a_re_ranking(kind: str, model: type) -> None:
    read = parse_config(f"rerank: {{kind: {kind}}}", "x.yaml", RankConfig)
    assert type(read.rerank) is model
    assert parse_config(dump_config(read), "y.yaml", RankConfig) == read


def test_all_settings_are_read_back() -> None:
    text = """\
augment_gallery: 2
expand: 3
alpha: 0
rerank: {kind: diffusion, k: 7, queries: 3, alpha: 0.5, power: 1, candidates: 9}
head: knn
k: 4
temperature: 0.05
prototypes: 0.25
new: tuned
new_share: 0.276
assign: true
recall: 0.9
"""
    read = parse_config(text, "x.yaml", RankConfig)
    assert read.rerank == DiffusionConfig(kind="diffusion", k=7, queries=3, alpha=0.5, power=1.0, candidates=9)
    assert (read.head, read.new, read.new_share, read.assign) == ("knn", "tuned", 0.276, True)
    assert parse_config(dump_config(read), "y.yaml", RankConfig) == read
    with pytest.raises(ValidationError, match="frozen"):
        read.k = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rerank: {kind: reciprocal}", ["x.yaml", "rerank", "k_reciprocal", "diffusion"]),
        ("rerank: {k1: 3}", ["x.yaml", "rerank", "kind"]),
        ("rerank: {kind: none, k1: 3}", ["x.yaml", "k1"]),
        ("rerank: {kind: diffusion, k1: 3}", ["x.yaml", "k1"]),
        ("head: mean", ["x.yaml", "head", "prototype"]),
        ("heads: knn", ["x.yaml", "heads", "head"]),
        ("kind: search", ["x.yaml", "kind", "rank"]),
        ("temperature: .inf", ["x.yaml", "inf is not a finite number"]),
        ("assign: 1", ["x.yaml", "assign"]),
    ],
)
def test_what_is_refused(text: str, words: list[str]) -> None:
    line = refused(text)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("new", ["0.5", "-1", "tuned", "null"])
def test_the_threshold_of_a_new_identity(new: str) -> None:
    value = {"0.5": 0.5, "-1": -1.0, "tuned": "tuned", "null": None}[new]
    assert parse_config(f"new: {new}", "x.yaml", RankConfig).new == value


@pytest.mark.parametrize(("new", "word"), [(".nan", "nan"), ("-.inf", "inf"), ("best", "new"), ("true", "new")])
def test_what_is_no_threshold(new: str, word: str) -> None:
    assert word in refused(f"new: {new}")


@pytest.mark.parametrize("new", ["", "new: 0.5\n", "new: null\n"])
def test_a_share_needs_a_tuned_threshold(new: str) -> None:
    line = refused(f"{new}new_share: 0.3")
    assert "x.yaml" in line and "set decide.new=tuned" in line
    for wrong in ("-0.1", "1.1"):
        assert "new_share" in refused(f"new: tuned\nnew_share: {wrong}")
    assert parse_config("new: tuned\nnew_share: 0", "x.yaml", RankConfig).new_share == 0
