"""Retrieval splits: which samples ask and which may answer, in validation as in the test part.

A contest's `Retrieval.splits` is one of the builders here, or a few lines over them:

    splits=leave_one_out                                            each held-out sample asks all others of its fold
    splits=partial(by_part, asks=lambda sample: ...)                some ask, the rest answer
    splits=partial(one_shot, by="drawer", ways=20)                  one writer's signs ask those of another
    splits=against_training                                         held-out samples ask the training part
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from medalist.records import Ranking, RetrievalSplit, Sample


def identity_of(sample: Sample) -> str:
    """The identity of a training sample."""
    (identity,) = sample.annotation
    return identity


def identity(root: Path, sample: Sample) -> Ranking:
    """The truth of a training sample of a contest of identities, for `Competition.truth`."""
    del root
    return Ranking((identity_of(sample),))


def leave_one_out(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Every held-out sample asks all others: for contests whose test identities are unseen."""
    del training
    ids = tuple(sample.id for sample in held_out)
    return (RetrievalSplit(ids, ids),)


def by_part(
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    asks: Callable[[Sample], bool],
    answers: Callable[[Sample], bool] | None = None,
) -> tuple[RetrievalSplit, ...]:
    """Held-out samples for which `asks` is true ask those for which `answers` is; None: all that do not ask."""
    del training
    queries = tuple(sample.id for sample in held_out if asks(sample))
    gallery = tuple(s.id for s in held_out if (not asks(s) if answers is None else answers(s)))
    return (RetrievalSplit(queries, gallery),)


def one_shot(
    training: Sequence[Sample], held_out: Sequence[Sample], by: str, ways: int, seed: int = 0
) -> tuple[RetrievalSplit, ...]:
    """One sample of each of `ways` identities asks another of each, all within one group (Lake et al. 2015).

    by: a key of `Sample.meta`: in a split all queries share one of its values (their drawer), and the gallery another.
    In each group the values stand in a circle drawn by `seed`, and each asks the next, so every sample is a query at
    most once; of more than `ways` identities that both have, `ways` are drawn for each split. Of several samples of one
    identity and value, the first by id counts. A group where fewer than two values, or identities of a pair, are has
    no such split.
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
    """A pseudo-random text for these words: it needs no stream, so what else is there cannot change it."""
    return sha256(repr(words).encode("utf-8", "surrogatepass")).hexdigest()


def against_training(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Every held-out sample asks the samples that the fold was trained on: for contests of known identities."""
    return (RetrievalSplit(tuple(sample.id for sample in held_out), tuple(sample.id for sample in training)),)


def splits_of_test(queries: Sequence[Sample], gallery: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """The splits of a test part: one, or one for each value of `meta["trial"]`, in the order of the queries."""
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
    """The truth of each query, by id: the right gallery samples of its split, or its identity.

    `names`, `new`, `exclusion` are those of `competition.Retrieval`. A query whose identity the gallery does not have
    gets `new`, or no name. Gallery samples of the identity `new` are never right.
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
    """The names that may be answered to each query, by id, for `RankingFormat.among`; queries of a split share a set.

    `names`, `new` are those of `competition.Retrieval`: the ids of the gallery, or its identities and `new`. A query
    that stands in its own gallery is among its names, though never right: a set for each would not fit in memory.
    """
    may: dict[str, frozenset[str]] = {}
    for split in splits:
        known = frozenset(split.gallery)
        if names == "identities":
            known = frozenset(identity_of(samples[name]) for name in split.gallery)
            known |= {new} if new is not None else set()
        may.update(dict.fromkeys(split.queries, known))
    return may
