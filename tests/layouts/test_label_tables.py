from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.preprocessing import MultiLabelBinarizer

from medalist.errors import DataError
from medalist.formats.probabilities import ProbabilityFormat
from medalist.layouts.label_tables import certain_truth, label_truth, labelled, one_hot_labelled
from medalist.records import Labels, Sample

TAGS = ("haze", "primary", "clear", "road")
LEAVES = ("healthy", "rust", "scab")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, size in (("a", (4, 6)), ("b", (5, 5)), ("c", (1, 2))):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def table(root: Path, *rows: str, header: str = "id,tags,farm,year") -> Path:
    path = root / "train.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def listing(path: Path, **columns: Any) -> tuple[Sample, ...]:
    return labelled(path, "id", lambda name: path.parent / f"{name}.png", "tags", **columns)


def leaves(path: Path, **columns: Any) -> tuple[Sample, ...]:
    return one_hot_labelled(path, "id", lambda name: path.parent / f"{name}.png", LEAVES, **columns)


def names_of(samples: tuple[Sample, ...]) -> list[tuple[str, ...]]:
    return [sample.annotation for sample in samples]


# -------------------------------------------------------------------------------- a column of labels


def test_one_label_a_row(root: Path) -> None:
    path = table(root, "b,Common wheat,f1,2020", "a,Charlock,f2,2021", 'c,"odd, but true",,2021')
    samples = listing(path, group="farm", meta=("year",))
    assert samples[0] == Sample(
        "b", (root / "b.png",), (5, 5), ("Common wheat",), "f1", "Common wheat", {"year": "2020"}
    )
    assert names_of(samples) == [("Common wheat",), ("Charlock",), ("odd, but true",)]
    assert [sample.stratum for sample in samples] == ["Common wheat", "Charlock", "odd, but true"]
    assert [sample.group for sample in samples] == ["f1", "f2", None]
    truth = label_truth(root, samples[1])
    assert isinstance(truth, Labels) and truth.names == ("Charlock",) and truth.probabilities is None


def test_several_labels_stand_in_the_order_of_the_classes(root: Path) -> None:
    path = table(root, "a,road haze,,", "b,haze road,,", "c,,,")
    samples = listing(path, separator=" ", classes=TAGS)
    assert names_of(samples) == [("haze", "road"), ("haze", "road"), ()]
    assert [sample.stratum for sample in samples] == ["haze road", "haze road", "(no labels)"]
    free = listing(path, separator=" ")
    assert names_of(free) == [("road", "haze"), ("haze", "road"), ()]
    assert [sample.stratum for sample in free] == ["haze road", "haze road", "(no labels)"]
    assert label_truth(root, samples[2]).names == ()


def test_a_stratum_of_the_csv_is_taken_as_it_stands(root: Path) -> None:
    samples = listing(table(root, "a,haze,f1,2020", "b,road,,2021"), stratum="farm", group="year")
    assert [(sample.stratum, sample.group) for sample in samples] == [("f1", "2020"), (None, "2021")]


def test_samples_are_put_into_the_order_of_the_submission(root: Path) -> None:
    path = table(root, "a,haze,,", "b,road,,", "c,clear,,")
    samples = listing(path, order=["c", "a", "b"])
    assert [(sample.id, sample.annotation) for sample in samples] == [
        ("c", ("clear",)),
        ("a", ("haze",)),
        ("b", ("road",)),
    ]
    with pytest.raises(DataError, match=r"'d' has a row in the sample submission"):
        listing(path, order=["a", "b", "c", "d"])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(own=st.lists(st.lists(st.sampled_from(TAGS), unique=True), min_size=3, max_size=3))
def test_a_cell_and_its_columns_say_the_same(own: list[list[str]], root: Path) -> None:
    path = table(root, *(f"{name},{' '.join(tags)},," for name, tags in zip("abc", own, strict=True)))
    by_cell = listing(path, separator=" ", classes=TAGS)
    hot = MultiLabelBinarizer(classes=TAGS).fit_transform(own)
    pd.DataFrame(hot, columns=list(TAGS)).assign(id=list("abc")).to_csv(path, index=False)
    by_column = one_hot_labelled(path, "id", lambda name: root / f"{name}.png", TAGS)
    assert names_of(by_column) == names_of(by_cell)
    assert names_of(by_cell) == [tuple(tag for tag in TAGS if tag in tags) for tags in own]
    for samples in (by_cell, by_column):
        strata = [sample.stratum for sample in samples]
        assert all(strata)
        for one in range(3):
            for other in range(3):
                assert (strata[one] == strata[other]) == (set(own[one]) == set(own[other]))


# -------------------------------------------------------------------------------- faults of a column of labels


def test_every_unknown_label_and_every_repeated_one_is_named_at_once(root: Path) -> None:
    path = table(root, "a,haze hase,,", "b,road road,,", "c,haze  road,,", "d,Q hase,,", "e,clear ,,")
    with pytest.raises(DataError) as caught:
        listing(path, separator=" ", classes=TAGS)
    assert str(caught.value) == (
        f"{path}: row 3, column tags, value 'road road': the label 'road' is there twice; "
        "row 4, column tags, value 'haze  road': an extra ' ' at place 2; "
        "row 6, column tags, value 'clear ': an extra ' ' at place 2; "
        "row 2, column tags, value 'hase' (2 rows): the contest has no such label; did you mean 'haze'?; "
        "row 5, column tags, value 'Q': the contest has no such label "
        "(correct the row, or download the contest again)"
    )


@pytest.mark.parametrize(
    ("cell", "options", "match"),
    [
        ("", {}, r"row 2, column tags, value '': an image without a label"),
        (" ", {}, r"value ' ': an image without a label"),
        ("", {"classes": TAGS}, r"an image without a label"),
        ("haze ", {}, r"value 'haze ': white space at the end of a label"),
        ('"ha\nze"', {}, r"value 'ha\\nze': white space at the end of a label, or an unprintable"),
        ("ha\tze", {"separator": " "}, r"value 'ha\\tze': .*unprintable character"),
        (" ", {"separator": " "}, r"value ' ': an extra ' ' at place 1"),
        (" ", {"separator": "|"}, r"value ' ': white space"),
        ("haze| road", {"separator": "|"}, r"value 'haze\| road': white space at the end of a label"),
        ("haze road", {"classes": TAGS}, r"value 'haze road': the contest has no such label"),
        ("Haze", {"classes": TAGS}, r"value 'Haze': the contest has no such label; did you mean 'haze'\?"),
        ("1.0", {"classes": ("0", "1")}, r"did you mean '1'\?"),
        ("haze", {"meta": ("sea",)}, r"train\.csv, row 1: no column 'sea'"),
    ],
)
def test_faulty_cells_are_refused(root: Path, cell: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        listing(table(root, f"a,{cell},,"), **options)
    assert "\n" not in str(caught.value)


def test_ids_and_images_are_held_as_in_every_list(root: Path) -> None:
    with pytest.raises(DataError, match=r"row 3, column id, value 'a': a second row for this id"):
        listing(table(root, "a,haze,,", "a,road,,"))
    with pytest.raises(DataError, match=r"value '\.\./a': no id of an image"):
        listing(table(root, "../a,haze,,"))
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read: 'gone'"):
        listing(table(root, "a,haze,,", "gone,road,,"))
    with pytest.raises(DataError, match=r"row 1: no column 'tags'"):
        listing(table(root, "a,haze", header="id,label"))


def test_many_unknown_labels_are_counted(root: Path) -> None:
    path = table(root, *(f"n{number},x{number}y,," for number in range(25)))
    with pytest.raises(DataError, match="value 'x9y': the contest has no such label; and 15 more") as caught:
        listing(path, classes=TAGS)
    assert "x10y" not in str(caught.value)


# -------------------------------------------------------------------------------- a column for each class


def test_classes_are_the_columns_that_say_one(root: Path) -> None:
    header = "id,scab,healthy,rust,farm"
    path = table(root, "a,0,1,0,f", "b,1,0,1,g", "c,0.0,0.0,0.0,f", header=header)
    samples = leaves(path, group="farm")
    assert names_of(samples) == [("healthy",), ("rust", "scab"), ()]
    assert [sample.stratum for sample in samples] == ["healthy", "rust|scab", "(no labels)"]
    assert [sample.group for sample in samples] == ["f", "g", "f"]
    assert leaves(path, stratum="farm")[1].stratum == "g"
    table(root, "a,1.0,0.0,0.0,f", header=header)
    assert names_of(leaves(path, exactly_one=True)) == [("scab",)]


def test_every_cell_and_row_that_is_not_one_hot_is_named(root: Path) -> None:
    path = table(root, "a,0.5,,1", "b,1,0,1", "c,0,0,0", "d,nan,0,1", header="id,healthy,rust,scab")
    with pytest.raises(DataError) as caught:
        leaves(path, exactly_one=True)
    assert str(caught.value) == (
        f"{path}: row 2, column healthy, value '0.5': must be 0 or 1; row 2, column rust, value '': must be 0 or 1; "
        "row 3: 2 classes (healthy, scab); there must be exactly one; row 4: no class; there must be exactly one; "
        "row 5, column healthy, value 'nan': must be 0 or 1 (correct the row, or download the contest again)"
    )
    with pytest.raises(DataError, match=r"row 2, column healthy, value '0.5'"):
        leaves(path)
    with pytest.raises(DataError, match=r"row 1: no column 'rust'"):
        leaves(table(root, "a,0,1", header="id,healthy,scab"))


def test_classes_and_separators_that_say_nothing_are_errors_of_ours(root: Path) -> None:
    path = table(root, "a,haze,,")
    with pytest.raises(AssertionError):
        listing(path, separator="")
    with pytest.raises(AssertionError):
        listing(path, classes=("haze", "haze"))
    with pytest.raises(AssertionError):
        one_hot_labelled(path, "id", lambda name: root / name, ())
    with pytest.raises(AssertionError):
        one_hot_labelled(path, "id", lambda name: root / name, ("id", "tags"))


# ------------------------------------------------------------------------------------------------- truths


@given(st.sets(st.sampled_from(TAGS)))
@settings(max_examples=20)
def test_a_certain_truth_is_a_perfect_answer_in_probabilities(names: set[str]) -> None:
    own = tuple(name for name in TAGS if name in names)
    truth = pickle.loads(pickle.dumps(certain_truth(TAGS)))(Path(), Sample("a", (), (1, 1), annotation=own))
    assert truth.names == own
    assert truth.probabilities is not None and truth.probabilities.dtype == np.float64
    assert truth.probabilities.tolist() == [float(name in names) for name in TAGS]
    form = ProbabilityFormat("id", classes=TAGS)
    assert form.rows("a", truth) == [("a", *(f"{float(name in names)}" for name in TAGS))]


def test_a_certain_truth_knows_its_classes() -> None:
    with pytest.raises(DataError, match=r"^sample a, label 'Haze': .* did you mean 'haze'\?$"):
        certain_truth(TAGS)(Path(), Sample("a", (), (1, 1), annotation=("Haze",)))
    for classes in ((), ("haze", "haze")):
        with pytest.raises(AssertionError):
            certain_truth(classes)
