"""Parts of out-of-fold samples, of which each is judged by what was chosen on the others."""

from __future__ import annotations

from pathlib import Path

from medalist.folds.folds import Folds
from medalist.folds.judged import PARTS, judged_parts
from medalist.records import Sample


def sample(name: str, stratum: str | None = None) -> Sample:
    return Sample(name, (Path("none"),), (4, 4), stratum=stratum)


def folds(fold: dict[str, int], group: dict[str, str]) -> Folds:
    return Folds(fold, {name: group.get(name, "") for name in fold}, dict.fromkeys(fold, ""), 3, 1)


def test_samples_of_several_folds_are_judged_by_fold() -> None:
    fold = {f"s{number}": number % 3 for number in range(9)}
    samples = [sample(name) for name, one in fold.items() if one != 1]
    assert judged_parts(folds(fold, {}), samples) == {one.id: fold[one.id] for one in samples}


def test_samples_of_one_fold_are_dealt_and_groups_stay_together() -> None:
    names = [f"s{number}" for number in range(40)]
    group = {name: f"g{number // 4}" for number, name in enumerate(names[:24])}
    samples = [sample(name, "a" if number % 2 else "b") for number, name in enumerate(names)]
    parts = judged_parts(folds(dict.fromkeys(names, 2), group), samples)
    assert parts.keys() == set(names) and set(parts.values()) == set(range(PARTS))
    for one in set(group.values()):
        assert len({parts[name] for name in group if group[name] == one}) == 1
    assert judged_parts(folds(dict.fromkeys(names, 2), group), samples[::-1]) == parts


def test_few_groups_make_few_parts() -> None:
    three = judged_parts(folds({"a": 0, "b": 0, "c": 0, "d": 0}, {"a": "g", "b": "g"}), [sample(n) for n in "abcd"])
    assert len(set(three.values())) == 3 and three["a"] == three["b"]
    one = judged_parts(folds({"a": 0, "b": 0}, {"a": "g", "b": "g"}), [sample("a"), sample("b")])
    assert one == {"a": 0, "b": 0}
    assert judged_parts(folds({"a": 0}, {}), [sample("a")]) == {"a": 0}
