from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.errors import ConfigError, DataError
from medalist.layouts import (
    folder_per_image,
    folders_in,
    ids_in,
    images_in_folder,
    instances,
    listed,
    mask,
    mask_picture,
    masks_in_folder,
    parted,
    read_annotations,
    read_split,
    with_sizes,
)
from medalist.layouts.faults import same_ids
from medalist.records import Sample, Split


def draw(path: Path, size: tuple[int, int] = (4, 6), value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def sample(*codes: str) -> Sample:
    return Sample("a", (), (2, 3), codes)


# -------------------------------------------------------------------------------- listing


def test_a_flat_folder_is_listed_by_id(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.10.tif"):
        draw(tmp_path / "train" / name)
    (tmp_path / "train" / "notes.txt").write_text("x")
    draw(tmp_path / "train" / ".hidden.png")
    folder = tmp_path / "train"
    assert images_in_folder(tmp_path, "train") == [
        ("a", folder / "a.JPG"),
        ("b", folder / "b.png"),
        ("c.10", folder / "c.10.tif"),
    ]


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "a.png")
    draw(tmp_path / "train" / "a.jpg")
    with pytest.raises(DataError, match=r"train: 'a\.png' and 'a\.jpg' have the same id 'a'"):
        images_in_folder(tmp_path, "train")


def test_a_folder_for_each_image_is_listed_by_id(tmp_path: Path) -> None:
    for name in ("b", "a"):
        draw(tmp_path / "train" / name / "images" / f"{name}.png")
        draw(tmp_path / "train" / name / "masks" / "1.png")
    draw(tmp_path / "train" / "a" / "images" / "._a.png")
    (tmp_path / "train" / "readme.txt").write_text("x")
    assert folder_per_image(tmp_path, "train") == [
        (name, tmp_path / "train" / name / "images" / f"{name}.png") for name in ("a", "b")
    ]


def test_folders_without_one_image_are_all_named(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "good" / "images" / "good.png")
    (tmp_path / "train" / "bare").mkdir()
    (tmp_path / "train" / "empty" / "images").mkdir(parents=True)
    draw(tmp_path / "train" / "two" / "images" / "1.png")
    draw(tmp_path / "train" / "two" / "images" / "2.png")
    with pytest.raises(DataError) as caught:
        folder_per_image(tmp_path, "train")
    for part in ("bare/images holds no image", "empty/images holds no image", "two/images holds 2 images"):
        assert part in str(caught.value)
    assert "good" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_long_list_of_faults_is_counted(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / "train" / f"n{number:02}").mkdir(parents=True)
    with pytest.raises(DataError, match="n09/images holds no image; and 15 more"):
        folder_per_image(tmp_path, "train")


def test_folders_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train" / "readme.txt").write_text("x")
    assert folders_in(tmp_path, "train") == [("a", tmp_path / "train" / "a"), ("b", tmp_path / "train" / "b")]


@pytest.mark.parametrize("listing", [images_in_folder, folder_per_image, folders_in])
def test_missing_and_empty_folders_are_named(
    tmp_path: Path, listing: Callable[[Path, str], list[tuple[str, Path]]]
) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere; .*--data"):
        listing(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"no folder 'train' in .*--data"):
        listing(tmp_path, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"no (images|folders) in .*train; "):
        listing(tmp_path, "train")


# -------------------------------------------------------------------------------- annotations


def test_codes_of_an_image_keep_their_order(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "id,other,rle\na,0,5 1\nb,0,\na,0,1 2\n")
    assert read_annotations(path, "id", "rle") == {"a": ("5 1", "1 2"), "b": ()}


def test_the_empty_word_is_the_contests_own(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "id,rle\na,-1\nb,1 2\n")
    assert read_annotations(path, "id", "rle", row_per="image", empty="-1") == {"a": (), "b": ("1 2",)}


def test_a_second_row_for_an_image_is_refused_where_there_is_one_each(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "id,rle\na,1 2\nb,1 2\na,4 1\nb,\n")
    with pytest.raises(DataError, match=r"row 4, column id, value .a.: a second row.*row 5, column id, value 'b'"):
        read_annotations(path, "id", "rle", row_per="image")


@pytest.mark.parametrize("rows", ["a,1 2\na,\n", "a,\na,1 2\n", "a,\na,\n"])
def test_an_empty_row_beside_another_is_refused(tmp_path: Path, rows: str) -> None:
    path = table(tmp_path / "x.csv", f"id,rle\n{rows}")
    with pytest.raises(DataError, match=r"x\.csv: row 3, column id, value 'a': an empty row beside another row"):
        read_annotations(path, "id", "rle")


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "image,rle\na,1 2\n")
    with pytest.raises(DataError, match=r"x\.csv.*'id'"):
        read_annotations(path, "id", "rle")
    with pytest.raises(DataError, match=r"x\.csv.*'id'"):
        ids_in(path, "id")


def test_ids_are_given_once_in_file_order(tmp_path: Path) -> None:
    assert ids_in(table(tmp_path / "x.csv", "rle,id\n,b\n1 1,a\n,b\n"), "id") == ["b", "a"]


# -------------------------------------------------------------------------------- joining


def test_samples_are_joined(tmp_path: Path) -> None:
    train = [("a", draw(tmp_path / "a.png", (4, 6), 200)), ("b", draw(tmp_path / "b.png", (5, 5), 3))]
    test = [("c", draw(tmp_path / "c.png", (2, 9))), ("d", draw(tmp_path / "d.png", (8, 3), 255))]
    split = read_split(
        train,
        test,
        {"b": ("1 2", "4 1"), "a": ()},
        ["d", "c"],
        stratum_of=lambda image: "light" if image.mean() > 128 else "dark",
    )
    assert split.train == (
        Sample("a", (tmp_path / "a.png",), (4, 6), (), stratum="light"),
        Sample("b", (tmp_path / "b.png",), (5, 5), ("1 2", "4 1"), stratum="dark"),
    )
    assert split.test == (
        Sample("d", (tmp_path / "d.png",), (8, 3), stratum="light"),
        Sample("c", (tmp_path / "c.png",), (2, 9), stratum="dark"),
    )


def test_sizes_need_no_look(tmp_path: Path) -> None:
    split = read_split([("a", draw(tmp_path / "a.png"))], [("b", draw(tmp_path / "b.png"))], {"a": ()}, ["b"])
    assert [(one.size, one.stratum) for one in (*split.train, *split.test)] == [((4, 6), None)] * 2


def test_ids_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    one, two = draw(tmp_path / "a.png"), draw(tmp_path / "b.png")
    with pytest.raises(DataError) as caught:
        read_split([("a", one)], [("t", two)], {"b": (), "c": ()}, ["t"])
    for part in (
        "'b' has a row in the annotations but no train image",
        "'c' has",
        "'a' is a train image without a row",
    ):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="'u' has a row in the sample submission but no test image"):
        read_split([("a", one)], [("t", two)], {"a": ()}, ["t", "u"])
    with pytest.raises(DataError, match="both the train and the test part: a"):
        read_split([("a", one)], [("a", two)], {"a": ()}, ["a"])


@pytest.mark.parametrize("look", [None, lambda image: "any"])
def test_every_bad_image_is_named_at_once(tmp_path: Path, look: Callable[..., str] | None) -> None:
    good, cut, gone = draw(tmp_path / "good.png"), draw(tmp_path / "cut.png"), tmp_path / "gone.png"
    cut.write_bytes(cut.read_bytes()[:50])
    with pytest.raises(DataError) as caught:
        read_split([("g", good), ("x", cut)], [("y", gone)], {"g": (), "x": ()}, ["y"], stratum_of=look)
    for part in ("2 of 3 images", "'x': ", "cut.png", "'y': ", "gone.png"):
        assert part in str(caught.value)
    assert "good.png" not in str(caught.value) and "\n" not in str(caught.value)


# -------------------------------------------------------------------------------- decoding


def test_instances_are_numbered_in_file_order() -> None:
    # 2 rows, 3 columns; pixel 1 is at the top left and pixel 2 below it
    labels = instances(Path("x.csv"), sample("3 2", "1 1")).labels
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [[2, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(instances(Path("x.csv"), sample("3 2"), "row", 0).labels, [[0, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(instances(Path("x.csv"), sample()).labels, np.zeros((2, 3)))


def test_codes_of_a_mask_are_joined() -> None:
    classes = mask(Path("x.csv"), sample("3 2", "4 2")).classes
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, [[0, 1, 1], [0, 1, 0]])
    np.testing.assert_array_equal(mask(Path("x.csv"), sample()).classes, np.zeros((2, 3)))


@pytest.mark.parametrize("code", ["6 2", "0 1", "1", "x", "3 1 1 1", "1 -1"])
def test_a_bad_code_names_csv_and_image(code: str) -> None:
    with pytest.raises(DataError, match=r"^labels\.csv: image a: object 2: "):
        instances(Path("labels.csv"), sample("1 1", code))
    with pytest.raises(DataError, match=r"^labels\.csv: image a: "):
        mask(Path("labels.csv"), sample("1 1", code))


def test_objects_that_overlap_are_refused() -> None:
    with pytest.raises(DataError, match="image a: object 2 overlaps object 1"):
        instances(Path("labels.csv"), sample("1 3", "3 1"))


# -------------------------------------------------------------------------------- contests of identities


@pytest.fixture
def whales(tmp_path: Path) -> Path:
    for name, size in (("b", (4, 6)), ("a", (5, 5)), ("c.1", (1, 2))):
        draw(tmp_path / "train" / f"{name}.png", size)
    table(tmp_path / "train.csv", "id,who,sea,note\nb,w1,north,x\na,w2,,\nc.1,w1,north,z\n")
    return tmp_path


def listing(root: Path, **columns: Any) -> tuple[Sample, ...]:
    return listed(root / "train.csv", "id", lambda name: root / "train" / f"{name}.png", **columns)


def test_samples_are_listed_by_a_csv(whales: Path) -> None:
    b, a, c = listing(whales, identity="who", group="who", stratum="sea", meta=("note", "sea"))
    assert b == Sample(
        "b", (whales / "train" / "b.png",), (4, 6), ("w1",), "w1", "north", {"note": "x", "sea": "north"}
    )
    assert (a.id, a.size, a.annotation, a.group, a.stratum, a.meta["note"]) == ("a", (5, 5), ("w2",), "w2", None, "")
    assert (c.id, c.size) == ("c.1", (1, 2))
    plain = listing(whales)
    assert [(one.annotation, one.group, one.stratum, one.meta) for one in plain] == [((), None, None, {})] * 3


def test_a_list_is_put_into_the_order_of_the_submission(whales: Path) -> None:
    assert [one.id for one in listing(whales, order=["a", "c.1", "b"])] == ["a", "c.1", "b"]
    with pytest.raises(DataError, match=r"'d' has a row in the sample submission but no .*'b' is a row in the list"):
        listing(whales, order=["a", "c.1", "d"])


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("a,w,,\nb,w,,\na,v,,\n", r"train\.csv: row 4, column id, value 'a': a second row for this id"),
        (",w,,\n", r"row 2, column id, value '': no id of an image"),
        (" ,w,,\n", r"row 2, column id, value ' ': no id of an image"),
        ("a\0,w,,\n", r"row 2, .*'a\\x00': no id of an image"),
        ("../../etc/a,w,,\n", r"value '\.\./\.\./etc/a': no id of an image"),
        ("/etc/a,w,,\n", r"value '/etc/a': no id of an image"),
        ("a,w,,\nb, ,,\n", r"row 3, column who: an image without an identity"),
        (",w,,\nb,,,\n", r"row 2, .*; row 3, column who"),
        ("a,w,,\nnone,w,,\ngone,w,,\n", r"2 of 3 images cannot be read: 'none': .*'gone'"),
    ],
)
def test_faulty_lists_are_refused_with_all_their_rows(whales: Path, rows: str, match: str) -> None:
    table(whales / "train.csv", f"id,who,sea,note\n{rows}")
    with pytest.raises(DataError, match=match) as caught:
        listing(whales, identity="who")
    assert "\n" not in str(caught.value)


def test_a_list_without_its_columns_is_refused(whales: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv, row 1: no column 'whale'"):
        listing(whales, identity="whale")


def test_parts_share_no_id_and_are_not_empty(whales: Path) -> None:
    b, a, c = listing(whales)
    assert parted([b], [a], [c]) == Split((b,), (a,), (c,))
    assert parted([b], [a]) == Split((b,), (a,))
    with pytest.raises(DataError, match="two parts of the contest: 'a'"):
        parted([b], [a], [c, a])
    with pytest.raises(DataError, match="two parts of the contest: 'b'"):
        parted([b, b], [a])
    with pytest.raises(DataError, match="the training part has no images"):
        parted([], [a])
    with pytest.raises(DataError, match="the test part has no images"):
        parted([b], [], [c])
    with pytest.raises(DataError, match="the gallery has no images"):
        parted([b], [a], [])


def test_sizes_are_read_in_the_order_given(whales: Path) -> None:
    named = [(name, whales / "train" / f"{name}.png") for name in ("c.1", "a")]
    assert [(one.id, one.size) for one in with_sizes(named)] == [("c.1", (1, 2)), ("a", (5, 5))]
    assert with_sizes([]) == ()


def test_ids_in_two_unicode_forms_are_not_downloaded_again() -> None:
    with pytest.raises(DataError) as caught:
        same_ids("train image", ["cafe\u0301", "b"], "row in the annotations", ["caf\u00e9", "b"])
    told = str(caught.value)
    assert "with Unicode NFD as a train image and with NFC as a row in the annotations" in told
    assert "rename the files" in told and "download" not in told
    with pytest.raises(DataError, match="download the contest again"):
        same_ids("train image", ["caf\u00e9"], "row", ["th\u00e9"])


# -------------------------------------------------------------------------------- masks in files, columns of a table


def masked(root: Path, **masks: list[int]) -> Path:
    """A contest with an image and a mask file for each name; the masks' values in one row."""
    for name, values in masks.items():
        draw(root / "images" / f"{name}.png", (2, len(values)))
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.array([values] * 2, np.uint8)).save(root / "masks" / f"{name}_mask.gif")
    draw(root / "test" / "t.png")
    return root


def masked_split(root: Path, **options: Any) -> Split:
    return read_split(
        images_in_folder(root, "images"),
        images_in_folder(root, "test"),
        masks=masks_in_folder(root, "masks", "_mask"),
        root=root,
        **options,
    )


def test_masks_are_joined_by_their_names(tmp_path: Path) -> None:
    split = masked_split(masked(tmp_path, b=[0, 255, 0], a=[0, 0, 255]))
    assert [(one.id, one.annotation) for one in split.train] == [
        ("a", ("masks/a_mask.gif",)),
        ("b", ("masks/b_mask.gif",)),
    ]
    assert split.test[0].annotation == ()
    assert mask_picture(tmp_path, split.train[0]).classes.tolist() == [[0, 0, 1]] * 2
    assert mask_picture(tmp_path, split.train[1], threshold=9).classes.tolist() == [[0, 1, 0]] * 2


def test_masks_without_images_are_named(tmp_path: Path) -> None:
    root = masked(tmp_path, a=[0, 255], b=[0, 255])
    (root / "masks" / "b_mask.gif").unlink()
    with pytest.raises(DataError, match="'b' is a train image without a mask"):
        masked_split(root)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / "masks" / "b.png")
    with pytest.raises(DataError, match=r"names that do not end in '_mask': 'b\.png'"):
        masked_split(root)
    with pytest.raises(DataError, match="is not inside"):
        read_split(
            images_in_folder(root, "images"),
            images_in_folder(root, "test"),
            masks=[("a", root / "a.png"), ("b", Path("/elsewhere/b.png"))],
            root=root,
        )


def test_a_mask_of_several_classes_names_what_to_type(tmp_path: Path) -> None:
    root = masked(tmp_path, a=[0, 1, 2, 255])
    (one,) = masked_split(root).train
    with pytest.raises(DataError, match=r"a_mask\.gif: a mask with the values 0, 1, 2, 255 .*type foreground=\(1,\)"):
        mask_picture(root, one)
    assert mask_picture(root, one, foreground=(1, 2)).classes.tolist() == [[0, 1, 1, 0]] * 2
    with pytest.raises(DataError, match="image a names 2 mask files"):
        mask_picture(root, Sample("a", (), (2, 4), ("x", "y")))


def test_columns_of_a_table_become_group_stratum_and_meta(tmp_path: Path) -> None:
    root = masked(tmp_path, a=[0, 255], b=[0, 255])
    path = table(tmp_path / "meta.csv", "name,car,look,time\na,c1,,9\nb,,dark,8\nt,c2,light,7\nz,,,\n")
    options = {"table": path, "id_column": "name", "group": "car", "stratum": "look", "meta": ("time",)}
    split = masked_split(root, **options)
    assert [(one.id, one.group, one.stratum, one.meta) for one in (*split.train, *split.test)] == [
        ("a", "c1", None, {"time": "9"}),
        ("b", None, "dark", {"time": "8"}),
        ("t", "c2", "light", {"time": "7"}),
    ]
    table(path, "name,car,look,time\na,c1,,9\na,c1,,9\n")
    with pytest.raises(DataError, match=r"value 'a': a second row; no row for the training image 'b'"):
        masked_split(root, **options)
    with pytest.raises(DataError, match="no column 'van'"):
        masked_split(root, table=path, id_column="name", group="van")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "car"}, "group=, stratum= and meta= are columns of a csv; give it as table="),
        ({"meta": "time", "table": Path("x.csv")}, r"meta='time': give a list of columns, as in meta=\['time'\]"),
        ({"stratum": "a", "stratum_of": str, "table": Path("x.csv")}, "one of them"),
        ({"root": None}, "masks= needs root="),
        ({"annotations": {}}, r"annotations= \(run-length codes\) or masks= \(files\), one of them"),
        ({"masks": None}, "one of them"),
    ],
)
def test_arguments_that_do_not_go_together_are_no_fault_of_medalist(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    root = masked(tmp_path, a=[0, 255])
    given: dict[str, Any] = {"masks": masks_in_folder(root, "masks", "_mask"), "root": root, **options}
    with pytest.raises(ConfigError, match=words):
        read_split(images_in_folder(root, "images"), images_in_folder(root, "test"), **given)


def test_a_misspelt_column_names_the_nearest(tmp_path: Path) -> None:
    path = table(tmp_path / "meta.csv", "id, sequence,kind\na,1,2\n")
    for name in ("sequence", "sequense"):
        with pytest.raises(DataError, match=r"no column '.*did you mean 'sequence'"):
            masked_split(masked(tmp_path, a=[0, 255]), table=path, group=name)
    with pytest.raises(ConfigError, match="meta='kind': give a list"):
        listed(path, "id", Path, meta="kind")


def test_sizes_are_those_of_the_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / part / f"{part}.png", exif=exif)
    train, test = images_in_folder(tmp_path, "train"), images_in_folder(tmp_path, "test")
    for orientation, size in (("shown", (6, 4)), ("stored", (4, 6))):
        split = read_split(train, test, {"train": ()}, orientation=orientation)  # type: ignore[arg-type]
        assert split.train[0].size == split.test[0].size == size
        assert with_sizes(train, orientation)[0].size == size  # type: ignore[arg-type]
        listing = table(tmp_path / "x.csv", "id\ntrain\n")
        one = listed(listing, "id", lambda name: tmp_path / "train" / "train.png", orientation=orientation)  # type: ignore[arg-type]
        assert one[0].size == size


def test_an_image_that_is_not_damaged_is_not_to_be_downloaded_again(tmp_path: Path) -> None:
    draw(tmp_path / "test" / "t.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(b"BM" + bytes(99))
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read: 'a': .*a BMP image.*convert it") as raised:
        read_split(images_in_folder(tmp_path, "train"), images_in_folder(tmp_path, "test"), {"a": ()})
    assert "download" not in str(raised.value)


def test_a_byte_order_mark_is_read_everywhere(case: Callable[[str], Path]) -> None:
    assert ids_in(case("sample_bom.csv"), "id") == ["upright"]
