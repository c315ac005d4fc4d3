from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from matplotlib.colors import to_hex

from medalist.records import RetrievalSplit
from medalist.report.charts import own_colours
from medalist.retrieval.asking import Asked, asked
from medalist.search.embeddings import Embeddings
from medalist.tasks.embed.likeness import (
    EqualError,
    Pairs,
    equal_error,
    flat,
    joined_pairs,
    map_figure,
    pairs_figure,
    sampled_pairs,
)


def unit(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def question(queries: int, gallery: int, both: int = 0, excluding: bool = False) -> tuple[Asked, list[str], list[str]]:
    """A split whose queries q0.. and gallery g0.. have identities by their numbers; `both` stand in both."""
    ids = [f"q{n}" for n in range(queries)] + [f"g{n}" for n in range(gallery)]
    answering = ids[queries:] + ids[:both]
    found = Embeddings(tuple(ids), unit(len(ids)), {"made": "here"})
    cameras = {name: float(int(name[1:]) // 4 % 3) for name in ids} if excluding else None
    who = {name: ("new", "a", "b", "c", "d")[int(name[1:]) % 5] for name in ids}
    split = RetrievalSplit(tuple(ids[:queries]), tuple(answering))
    asking = asked(split, found, found, exclusion=cameras)
    return asking, [who[name] for name in split.queries], [who[name] for name in answering]


def slow(asking: Asked, mine: list[str], theirs: list[str], new: str | None) -> tuple[list[float], list[float]]:
    same, different = [], []
    for row, other in product(range(len(mine)), range(len(theirs))):
        if asking.query_codes[row] >= 0 and asking.query_codes[row] == asking.gallery_codes[other]:
            continue
        cosine = float(asking.query_vectors[row] @ asking.gallery_vectors[other])
        if mine[row] != theirs[other]:
            different.append(cosine)
        elif mine[row] != new:
            same.append(cosine)
    return sorted(same), sorted(different)


@pytest.mark.parametrize("both", [0, 7])
@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("new", [None, "new", "nobody"])
def test_all_pairs_are_those_of_a_loop(both: int, excluding: bool, new: str | None) -> None:
    asking, mine, theirs = question(13, 17, both, excluding)
    pairs = sampled_pairs(asking, mine, theirs, 10**6, np.random.default_rng(0), new)
    same, different = slow(asking, mine, theirs, new)
    assert np.sort(pairs.same) == pytest.approx(same, abs=1e-6) and same
    assert np.sort(pairs.different) == pytest.approx(different, abs=1e-6) and different


@pytest.mark.parametrize(("each", "queries"), [(50, 40), (3, 40)])  # drawn without and with repeats
def test_some_pairs_are_seeded_bounded_and_among_all(each: int, queries: int) -> None:
    asking, mine, theirs = question(queries, 60)
    some = [sampled_pairs(asking, mine, theirs, each, np.random.default_rng(seed), "new") for seed in (1, 1, 2)]
    assert np.array_equal(some[0].same, some[1].same) and np.array_equal(some[0].different, some[1].different)
    assert not np.array_equal(some[0].same, some[2].same)
    same, different = (np.array(one) for one in slow(asking, mine, theirs, "new"))
    for drawn, every in ((some[0].same, same), (some[0].different, different)):
        assert 0 < len(drawn) <= each
        assert all(np.abs(every - value).min() < 1e-6 for value in drawn)


def test_pairs_of_nothing() -> None:
    asking, mine, theirs = question(3, 1)
    pairs = sampled_pairs(asking, ["x", "y", "z"], ["w"], 9, np.random.default_rng(0))
    assert len(pairs.same) == 0 and len(pairs.different) == 3 and equal_error(pairs) is None
    assert len(joined_pairs([]).same) == 0
    assert len(joined_pairs([pairs, pairs]).different) == 6
    assert len(sampled_pairs(asking, mine, theirs, 0, np.random.default_rng(0)).different) == 0


def test_the_equal_error_of_hand_worked_pairs() -> None:
    def found(same: list[float], different: list[float]) -> EqualError | None:
        return equal_error(Pairs(np.array(same, np.float32), np.array(different, np.float32)))

    parted = found([0.8, 0.9], [0.1, 0.2, 0.3])
    assert parted is not None and parted.share == 0 and 0.3 < parted.cosine <= 0.81
    crossed = found([0.25, 0.75, 0.875, 0.9375], [0.0, 0.125, 0.1875, 0.5])  # one of four on each side
    assert crossed is not None and crossed.share == 0.25 and 0.25 < crossed.cosine <= 0.5
    turned = found([0.1], [0.9])
    assert turned is not None and turned.share == 1
    alike = found([0.5, 0.5], [0.5, 0.5])
    assert alike is not None and alike.share == 0.5


def test_the_principal_components_are_those_of_the_covariance() -> None:
    vectors = unit(200, 6, seed=3) * np.array([9, 5, 1, 1, 1, 1], np.float32)
    points, how = flat(vectors)
    values, axes = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    slow_points = (vectors - vectors.mean(axis=0)) @ axes[:, [-1, -2]]
    assert np.abs(points) == pytest.approx(np.abs(slow_points), abs=1e-4)
    assert f"{values[-2:].sum() / values.sum():.0%} of the variance" in how and how.startswith("PCA")
    assert np.array_equal(points, flat(vectors)[0])
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] > 0).all()


def test_degenerate_vectors_have_a_map() -> None:
    for vectors in (np.ones((4, 1), np.float32), np.ones((5, 3), np.float32), unit(1)):
        points, _ = flat(vectors)
        assert points.shape == (len(vectors), 2) and points == pytest.approx(0, abs=1e-6)


def test_the_map_names_the_most_frequent() -> None:
    whom = [f"w{n}" for n in range(14) for _ in range(n)] + ["new"] * 50 + ["$x^{"]
    figure = map_figure(np.zeros((len(whom), 2)), whom, "new")
    figure.canvas.draw()
    (box,) = [ax.get_legend() for ax in figure.axes]
    assert [text.get_text() for text in box.get_texts()] == [f"w{n}" for n in range(13, 3, -1)] + ["others"]
    map_figure(np.zeros((3, 2)), ["_a", "_a", "_a"]).canvas.draw()


def test_identities_that_are_strata_have_the_colours_of_strata() -> None:
    whom = ["a", "a", "b", "b", "b", "c"]
    colours = own_colours(["a", "b", "c", "d"], whom)
    dots = {
        dot.get_label(): to_hex(dot.get_facecolor()[0])
        for dot in map_figure(np.zeros((6, 2)), whom, None, colours).axes[0].collections
    }
    assert dots["a"] == colours["a"] and dots["b"] == colours["b"]
    assert own_colours(["a", "b"], whom) == {} == own_colours(map(str, range(11)))


def test_the_histogram_shows_shares_and_lines() -> None:
    pairs = Pairs(np.array([0.5, 0.6], np.float32), np.linspace(-0.2, 0.55, 40, dtype=np.float32))
    for threshold, error in ((0.4, EqualError(0.5, 0.1)), (None, None), (0.9, None)):
        (ax,) = pairs_figure(pairs, error, threshold).axes
        texts = [text.get_text() for text in ax.texts]
        assert texts == [*([f"equal error {error.cosine:.3f}"] if error else [])] + (
            [f"new below {threshold:.3f}"] if threshold is not None else []
        )
        filled = [patch.get_data() for patch in ax.patches if patch.get_fill()]
        assert [data.values.sum() for data in filled] == pytest.approx([1, 1])
        assert threshold is None or ax.get_xlim()[0] < threshold < ax.get_xlim()[1]
    one = np.array([0.3], np.float32)
    pairs_figure(Pairs(one, one[:0]), None).canvas.draw()
