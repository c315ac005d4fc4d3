from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.records import RetrievalSplit
from medalist.retrieval.asking import Asked, asked
from medalist.search.embeddings import Embeddings

Array = NDArray[Any]
BY = {"weights": "a"}


def embeddings(ids: Any, seed: int = 0, dim: int = 3, made_by: dict[str, str] = BY) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(len(ids), dim))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(tuple(ids), (vectors / lengths).astype(np.float32), made_by)


def hidden(question: Asked) -> list[set[str]]:
    """Which gallery samples each query must not see."""
    return [
        {name for name, other in zip(question.gallery, question.gallery_codes, strict=True) if other == code >= 0}
        for code in question.query_codes
    ]


LETTERS = embeddings("abcdef")


def test_vectors_and_identities_stand_in_the_order_of_the_trial() -> None:
    split = RetrievalSplit(("d", "a"), ("f", "a", "c"))
    question = asked(split, LETTERS, LETTERS, identities={"a": "Ann", "c": "Cy", "f": "Fay", "z": "Zoe"})
    assert question.queries == ("d", "a") and question.gallery == ("f", "a", "c")
    assert question.identities == ("Fay", "Ann", "Cy")
    np.testing.assert_array_equal(question.query_vectors, LETTERS.vectors[[3, 0]])
    np.testing.assert_array_equal(question.gallery_vectors, LETTERS.vectors[[5, 0, 2]])
    for codes, count in ((question.query_codes, 2), (question.gallery_codes, 3)):
        assert codes.dtype == np.int64 and codes.shape == (count,)
    assert asked(split, LETTERS, LETTERS).identities == ()


def test_queries_and_gallery_may_be_other_embeddings_of_one_run() -> None:
    gallery = embeddings("xyz", seed=1, made_by={**BY, "run": "named"})
    question = asked(RetrievalSplit(("a",), ("z", "x")), LETTERS, gallery)
    np.testing.assert_array_equal(question.gallery_vectors, gallery.vectors[[2, 0]])
    assert hidden(question) == [set()] and question.query_codes.tolist() == [-1]


def test_what_is_hidden_by_hand() -> None:
    split = RetrievalSplit(("a", "b", "e"), ("a", "c", "d", "f"))
    assert hidden(asked(split, LETTERS, LETTERS)) == [{"a"}, set(), set()]  # itself alone
    cameras = {"a": "left", "b": "right", "c": "left", "d": "right"}  # e and f have none, which is one camera too
    assert hidden(asked(split, LETTERS, LETTERS, exclusion=cameras)) == [{"a", "c"}, {"d"}, {"f"}]
    assert hidden(asked(split, LETTERS, LETTERS, exclusion={})) == [{"a", "c", "d", "f"}] * 3


@given(st.data())
def test_what_is_hidden_is_that_of_loops(data: st.DataObject) -> None:
    names = [f"s{at}" for at in range(8)]
    some = st.lists(st.sampled_from(names), unique=True)
    queries, gallery = tuple(data.draw(some)), tuple(data.draw(some.filter(bool)))
    values = st.sampled_from([None, "left", "right", "", 0.0, 1.5])
    cameras = data.draw(st.none() | st.dictionaries(st.sampled_from(names), values))
    everybody = embeddings(names)
    question = asked(RetrievalSplit(queries, gallery), everybody, everybody, exclusion=cameras)
    expected = [
        {other for other in gallery if (name == other if cameras is None else cameras.get(name) == cameras.get(other))}
        for name in queries
    ]
    assert hidden(question) == expected
    assert (question.gallery_codes >= 0).all()
    assert all(name in unseen for name, unseen in zip(queries, expected, strict=True) if name in gallery)


def test_nobody_asks() -> None:
    question = asked(RetrievalSplit((), ("a",)), LETTERS, LETTERS)
    assert question.query_vectors.shape == (0, 3) and question.query_codes.shape == (0,)


@pytest.mark.parametrize(
    ("split", "change", "words"),
    [
        (RetrievalSplit(("a", "zebra"), ("b",)), {}, r"queries: .*1 of 2 ids are not there: 'zebra'; embed them with"),
        (RetrievalSplit(("a",), ("yak",)), {}, "gallery: .*'yak'; embed them with this run"),
        (RetrievalSplit(("a", "a"), ("b",)), {}, "queries: .*ids are repeated: 'a'"),
        (RetrievalSplit(("a",), ("b", "b")), {}, "gallery: .*'b'"),
        (RetrievalSplit(("a",), ()), {}, r"of 1 queries \('a'\): its gallery is empty"),
        (RetrievalSplit((), ()), {}, "of 0 queries .*: its gallery is empty"),
        (RetrievalSplit(("a",), ("b", "c")), {"identities": {"b": "x"}}, "1 gallery samples have no identity: 'c'"),
        (RetrievalSplit(("a",), ("b",)), {"gallery": embeddings("b", dim=2)}, "3 components .* 2"),
        (RetrievalSplit(("a",), ("b",)), {"gallery": embeddings("b", made_by={"weights": "b"})}, "other weights"),
    ],
)
def test_what_is_refused(split: RetrievalSplit, change: dict[str, Any], words: str) -> None:
    with pytest.raises(SearchError, match=words) as caught:
        asked(split, **{"queries": LETTERS, "gallery": LETTERS, **change})
    assert "\n" not in str(caught.value)


def test_of_many_ids_a_few_are_named() -> None:
    strangers = tuple(f"stranger{at}\n" for at in range(100))
    with pytest.raises(SearchError, match=r"100 of 100 .*'stranger0\\n', .* and 95 more") as caught:
        asked(RetrievalSplit(strangers, ("a",)), LETTERS, LETTERS)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
