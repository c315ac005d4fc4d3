"""Retrieval splits: which samples are queries and which are the gallery, in validation as in the test part.

A contest's `Retrieval.splits` is one of these builders, or a short function that calls one:

    splits=leave_one_out                                each held-out sample is asked of all others of its fold
    splits=partial(by_part, asks=lambda sample: ...)    some held-out samples are queries, the others the gallery
    splits=partial(one_shot, by="drawer", ways=20)      the signs of one writer are asked of those of another
    splits=against_training                             held-out samples are asked of the training part
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from medalist.records import Ranking, RetrievalSplit, Sample


def identity_of(sample: Sample) -> str:
    """Return the identity of a training sample: its only annotation."""
    (identity,) = sample.annotation
    return identity


def identity(root: Path, sample: Sample) -> Ranking:
    """Return the truth of a training sample of a contest of identities. It is the contest's `Competition.truth`."""
    del root
    return Ranking((identity_of(sample),))


def leave_one_out(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Return one split in which each held-out sample is asked of all others: for contests of unseen identities."""
    del training
    ids = tuple(sample.id for sample in held_out)
    return (RetrievalSplit(ids, ids),)


def by_part(
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    asks: Callable[[Sample], bool],
    answers: Callable[[Sample], bool] | None = None,
) -> tuple[RetrievalSplit, ...]:
    """Return one split of the held-out samples: `asks` chooses the queries, `answers` the gallery.

    Where `answers` is None, the gallery is all samples that are no queries.
    """
    del training
    queries = tuple(sample.id for sample in held_out if asks(sample))
    gallery = tuple(s.id for s in held_out if (not asks(s) if answers is None else answers(s)))
    return (RetrievalSplit(queries, gallery),)


def one_shot(
    training: Sequence[Sample], held_out: Sequence[Sample], by: str, ways: int, seed: int = 0
) -> tuple[RetrievalSplit, ...]:
    """Return splits in which one sample of each of `ways` identities is asked of another sample of each.

    All samples of a split are in one group (Lake et al. 2015). by: a key of `Sample.meta`, for example the drawer. All
    queries of a split have one value of it, and all gallery samples have another value. In each group the values are
    put into a circle, in an order that `seed` decides, and the samples of each value are asked of the next value, so
    every sample is a query at most once. Where two values have more than `ways` identities in common, `ways` of them
    are chosen by `seed`. Of several samples with the same identity and value, only the first by id is used. A group
    with fewer than two values has no split, and neither has a pair of values with fewer than two common identities.
    """
    del training
    of: defaultdict[str, defaultdict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for sample in sorted(held_out, key=lambda sample: sample.id):
        of[sample.group or ""][str(sample.meta[by])].setdefault(identity_of(sample), sample.id)
    splits = []
    for group, shown in sorted(of.items()):
        circle = sorted(shown, key=lambda value: _lot(seed, group, value))
        for asker, answerer in zip(circle, circle[1:] + circle[:1], strict=True):
            both = sorted(
                shown[asker].keys() & shown[answerer].keys(), key=lambda who: _lot(seed, group, asker, answerer, who)
            )
            chosen = sorted(both[:ways])
            if asker != answerer and len(chosen) > 1:
                splits.append(
                    RetrievalSplit(
                        tuple(shown[asker][who] for who in chosen), tuple(shown[answerer][who] for who in chosen)
                    )
                )
    return tuple(splits)


def _lot(*words: object) -> str:
    """A pseudo-random text for these words. It needs no random stream, so it does not depend on other samples."""
    return sha256(repr(words).encode("utf-8", "surrogatepass")).hexdigest()


def against_training(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Return one split in which held-out samples are asked of the training part: for contests of known identities."""
    return (RetrievalSplit(tuple(sample.id for sample in held_out), tuple(sample.id for sample in training)),)


def splits_of_test(queries: Sequence[Sample], gallery: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Return the splits of a test part: one for each value of `meta["trial"]`, in the order of the queries.

    Where samples have no such key, there is one split.
    """
    asked: dict[str, list[str]] = {}
    for sample in queries:
        asked.setdefault(str(sample.meta.get("trial", "")), []).append(sample.id)
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for sample in gallery:
        answers[str(sample.meta.get("trial", ""))].append(sample.id)
    return tuple(RetrievalSplit(tuple(ids), tuple(answers[name])) for name, ids in asked.items())


def right_names(
    splits: Iterable[RetrievalSplit],
    samples: Mapping[str, Sample],
    names: str,
    new: str | None = None,
    exclusion: str | None = None,
) -> dict[str, Ranking]:
    """Return the truth of each query, by id: the right gallery samples of its split, or its identity.

    `names`, `new`, `exclusion` are those of `competition.Retrieval` (its exclusion_key). Where answers are identities,
    a query whose identity is not in the gallery gets the name `new`, or no name. Gallery samples of the identity `new`
    are never right.
    """
    truths: dict[str, Ranking] = {}
    for split in splits:
        members: defaultdict[str, list[Sample]] = defaultdict(list)
        for name in split.gallery:
            members[identity_of(samples[name])].append(samples[name])
        for name in split.queries:
            query = samples[name]
            who = identity_of(query)
            found = [
                other.id
                for other in (members.get(who, ()) if who != new else ())
                if other.id != name and (exclusion is None or other.meta.get(exclusion) != query.meta.get(exclusion))
            ]
            if names == "samples":
                truths[name] = Ranking(tuple(found))
            else:
                truths[name] = Ranking((who,) if found else (new,) if new is not None else ())
    return truths


def answerable(
    splits: Iterable[RetrievalSplit], samples: Mapping[str, Sample], names: str, new: str | None = None
) -> dict[str, frozenset[str]]:
    """Return the names that may be answered for each query, by id, for `RankingFormat.among`.

    `names`, `new` are those of `competition.Retrieval`: the ids of the gallery, or its identities and `new`. All
    queries of a split share one set, because a set for each query would not fit in memory. So a query that is in its
    own gallery is among its allowed names, although it is never right.
    """
    may: dict[str, frozenset[str]] = {}
    for split in splits:
        known = frozenset(split.gallery)
        if names == "identities":
            known = frozenset(identity_of(samples[name]) for name in split.gallery)
            known |= {new} if new is not None else set()
        may.update(dict.fromkeys(split.queries, known))
    return may
