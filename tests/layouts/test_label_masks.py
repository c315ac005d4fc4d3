from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medalist.errors import ConfigError, DataError
from medalist.layouts import (
    images_in_folder,
    images_in_tree,
    label_masks,
    mask_by_class,
    masks_in_folder,
    masks_per_object,
    object_masks,
    read_annotations_by_class,
    read_split,
)
from medalist.records import Mask, Sample

CLASSES = ("background", "road", "car")
COLOURS = {(0, 0, 0): "background", (128, 64, 128): "road", (0, 0, 142): "car"}


def picture(path: Path, values: object, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)
    return path


def sample(*files: str, size: tuple[int, int] = (1, 4), name: str = "a") -> Sample:
    return Sample(name, (), size, files)


def parts(mask: Mask) -> tuple[list[list[int]], list[list[bool]] | None]:
    return mask.classes.tolist(), None if mask.void is None else mask.void.tolist()


def refusal(root: Path, one: Sample, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        label_masks(root, one, CLASSES, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ one picture a sample


def test_the_numbers_of_a_palette_are_the_classes(case: Callable[[str], Path]) -> None:
    path = case("ids_palette.png")
    ids: NDArray[np.uint8] = np.load(case("ids.npy"))
    one = Sample("a", (), (ids.shape[0], ids.shape[1]), (path.name,))
    found = label_masks(path.parent, one, ("0", "1", "2", "3"), ignore=(255,))
    assert found.void is not None
    assert np.array_equal(found.void, ids == 255)
    assert np.array_equal(found.classes, np.where(ids == 255, 0, ids))


def test_a_gif_has_the_numbers_of_its_palette(case: Callable[[str], Path]) -> None:
    found = []
    for name, ids in (("mask.png", {0: 0, 255: 1}), ("mask.gif", None)):
        with Image.open(case(name)) as image:
            size = image.size[::-1]
        one = Sample("a", (), size, (name,))
        found.append(label_masks(case(name).parent, one, ("background", "thing"), ids=ids))
    assert np.array_equal(found[0].classes, found[1].classes) and found[0].classes.any()


def test_gray_numbers_are_the_classes_and_void_is_0(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[0, 1, 2, 255]])
    one = sample("m.png")
    assert parts(label_masks(tmp_path, one, CLASSES, ignore=(255,))) == (
        [[0, 1, 2, 0]],
        [[False, False, False, True]],
    )
    text = refusal(tmp_path, one)
    assert "sample a: " in text and "m.png: the value 255 (1 pixel) is no class; the contest has 3, 0..2" in text
    assert "ignore=(255,)" in text
    picture(tmp_path / "m.png", [[0, 1, 2, 2]])
    assert label_masks(tmp_path, one, CLASSES, ignore=(255,)).void is None


def test_values_that_are_no_class_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[7, 7, 9, 1]])
    assert "the values 7 (2 pixels), 9 (1 pixel) are no class" in refusal(tmp_path, sample("m.png"))
    assert "of `ids`; give the class of each there, or make them void: ignore=(7, 9,)" in refusal(
        tmp_path, sample("m.png"), ids={1: "road"}
    )
    picture(tmp_path / "m.png", np.arange(20)[np.newaxis])
    assert "8 (1 pixel) and 11 more are no class" in refusal(tmp_path, sample("m.png", size=(1, 20)))


def test_black_and_white_asks_what_white_is(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[0, 255, 255, 0]])
    with pytest.raises(DataError, match=r"type ids=\{0: 0, 255: 1\} where it is 'salt', or ignore=\(255,\)"):
        label_masks(tmp_path, sample("m.png"), ("background", "salt"))
    found = label_masks(tmp_path, sample("m.png"), ("background", "salt"), ids={0: 0, 255: "salt"})
    assert parts(found) == ([[0, 1, 1, 0]], None)


def test_raw_ids_are_mapped_by_name_or_number(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.array([[0, 26, 700, 1000]], np.uint16))
    ids = {0: 0, 26: "car", 700: 1}
    assert parts(label_masks(tmp_path, sample("m.png"), CLASSES, ids=ids, ignore=(1000,))) == (
        [[0, 2, 1, 0]],
        [[False, False, False, True]],
    )
    with pytest.raises(ConfigError, match=r"no class 'cat'.*did you mean 'car'"):
        label_masks(tmp_path, sample("m.png"), CLASSES, ids={26: "cat"})


def test_colours_stand_for_classes(tmp_path: Path) -> None:
    pixels = [[(0, 0, 0), (128, 64, 128), (0, 0, 142), (255, 255, 255)]]
    picture(tmp_path / "m.png", pixels)
    one = sample("m.png")
    found = label_masks(tmp_path, one, CLASSES, colours=COLOURS, ignore=[(255, 255, 255)])
    assert parts(found) == ([[0, 1, 2, 0]], [[False, False, False, True]])
    text = refusal(tmp_path, one, colours=COLOURS)
    assert "the colour (255, 255, 255) (1 pixel, the nearest is (128, 64, 128)) is not in the table" in text
    assert "4 colours" in refusal(tmp_path, one)


def test_colours_of_a_palette_are_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[3, 5, 3, 5]], np.uint8), mode="P")
    colours = [0] * 768
    colours[9:12], colours[15:18] = (128, 64, 128), (0, 0, 142)
    image.putpalette(colours)
    image.save(tmp_path / "m.png")
    assert parts(label_masks(tmp_path, sample("m.png"), CLASSES, colours=COLOURS)) == ([[1, 2, 1, 2]], None)


def test_the_most_frequent_unknown_colour_is_named_first(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[(1, 1, 1), (9, 9, 9), (9, 9, 9), (0, 0, 0)]])
    text = refusal(tmp_path, sample("m.png"), colours=COLOURS)
    assert text.index("(9, 9, 9) (2 pixels") < text.index("(1, 1, 1) (1 pixel")


def test_16_bit_colours_and_jpegs_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((1, 4, 3), np.uint16))
    assert "16-bit values, where colours of 8 bits" in refusal(tmp_path, sample("m.png"), colours=COLOURS)
    picture(tmp_path / "m.jpg", [[0, 0, 0, 0]])
    for options in ({}, {"colours": COLOURS}):
        assert "a JPEG does not keep" in refusal(tmp_path, sample("m.jpg"), **options)


def test_another_size_names_both(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[0, 1], [0, 1], [0, 1]])
    text = refusal(tmp_path, sample("m.png", size=(4, 5)))
    assert "sample a: " in text and "is 2x3 pixels, its image 5x4 (width x height)" in text


def test_a_turned_image_is_a_hint(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "i.jpg", exif=exif)
    picture(tmp_path / "m.png", [[0, 1, 0], [0, 1, 0]])
    text = refusal(tmp_path, Sample("a", (tmp_path / "i.jpg",), (3, 2), ("m.png",)))
    assert "the image has an EXIF orientation" in text


def test_a_missing_file_is_background_only_where_that_is_said(tmp_path: Path) -> None:
    assert "must be one, or type missing='background'" in refusal(tmp_path, sample())
    assert "No such file" in refusal(tmp_path, sample("m.png"))
    for one in (sample(), sample("m.png")):
        assert parts(label_masks(tmp_path, one, CLASSES, missing="background")) == ([[0, 0, 0, 0]], None)
    assert "names 2 mask files" in refusal(tmp_path, sample("m.png", "n.png"), missing="background")


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", [[0, 1, 2, 0]])
    one = sample("m.png")
    for options in (
        {"ids": {0: 0}, "colours": COLOURS},
        {"files": ("road",), "ignore": (255,)},
        {"ignore": [(1, 2, 3)]},
        {"colours": COLOURS, "ignore": (255,)},
    ):
        with pytest.raises(ConfigError, match="label_masks: "):
            label_masks(tmp_path, one, CLASSES, **options)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- one file a class


def test_files_of_single_classes_are_joined(tmp_path: Path) -> None:
    picture(tmp_path / "road.png", [[0, 255, 0, 0]])
    picture(tmp_path / "car.png", [[0, 0, 1, 1]])
    picture(tmp_path / "void.png", [[1, 0, 0, 1]])
    one = sample("road.png", "car.png", "void.png")
    found = label_masks(tmp_path, one, CLASSES, files=("road", "car", "void"))
    assert parts(found) == ([[0, 1, 2, 0]], [[True, False, False, True]])
    assert "names 3 mask files, and label_masks has files of 1 classes: road" in refusal(tmp_path, one, files=("road",))


def test_classes_that_share_pixels_are_refused_or_the_later_counts(tmp_path: Path) -> None:
    picture(tmp_path / "road.png", [[0, 255, 255, 0]])
    picture(tmp_path / "car.png", [[0, 0, 255, 255]])
    one = sample("road.png", "car.png")
    text = refusal(tmp_path, one, files=("road", "car"))
    assert "car.png: 1 pixel of 'car' are 'road' too" in text and "overlap='later'" in text
    assert parts(label_masks(tmp_path, one, CLASSES, files=("road", "car"), overlap="later")) == ([[0, 1, 2, 2]], None)
    turned = sample("car.png", "road.png")
    assert parts(label_masks(tmp_path, turned, CLASSES, files=("car", "road"), overlap="later"))[0] == [[0, 1, 1, 2]]


def test_a_class_without_a_file_is_background_only_where_that_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "car.png", [[0, 0, 255, 255]])
    one = sample("", "car.png")
    assert "image a has no mask file of 'road'" in refusal(tmp_path, one, files=("road", "car"))
    found = label_masks(tmp_path, one, CLASSES, files=("road", "car"), missing="background")
    assert parts(found) == ([[0, 0, 2, 2]], None)
    assert not label_masks(tmp_path, sample(), CLASSES, files=("road", "car"), missing="background").classes.any()
    gone = sample("gone.png", "car.png")
    assert "No such file" in refusal(tmp_path, gone, files=("road", "car"))
    assert label_masks(tmp_path, gone, CLASSES, files=("road", "car"), missing="background").classes.any()


def test_soft_edges_need_a_threshold(tmp_path: Path) -> None:
    picture(tmp_path / "road.png", [[0, 100, 200, 255]])
    assert "type " in refusal(tmp_path, sample("road.png"), files=("road",))
    found = label_masks(tmp_path, sample("road.png"), CLASSES, files=("road",), threshold=128)
    assert parts(found) == ([[0, 0, 1, 1]], None)


# --------------------------------------------------------------------------------------------------- one file an object


def test_objects_are_numbered_by_their_files(tmp_path: Path) -> None:
    picture(tmp_path / "1.png", [[255, 0, 0, 0]])
    picture(tmp_path / "2.png", [[0, 0, 255, 255]])
    assert object_masks(tmp_path, sample("1.png", "2.png")).labels.tolist() == [[1, 0, 2, 2]]
    assert object_masks(tmp_path, sample("2.png", "1.png")).labels.tolist() == [[2, 0, 1, 1]]
    assert object_masks(tmp_path, sample()).count == 0


def test_objects_that_overlap_or_are_empty_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "1.png", [[255, 255, 255, 0]])
    picture(tmp_path / "2.png", [[0, 255, 255, 255]])
    picture(tmp_path / "3.png", [[0, 0, 0, 0]])
    with pytest.raises(DataError, match=r"sample a: .*2\.png shares 2 pixels with 1\.png; objects must not overlap"):
        object_masks(tmp_path, sample("1.png", "2.png"))
    with pytest.raises(DataError, match=r"3\.png: no pixel of an object"):
        object_masks(tmp_path, sample("1.png", "3.png"))
    with pytest.raises(DataError, match="is 4x1 pixels, its image 5x1"):
        object_masks(tmp_path, sample("1.png", size=(1, 5)))


# --------------------------------------------------------------------------------------------- masks joined with images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("train/a", "train/b", "test/t"):
        picture(tmp_path / f"{name}.png", np.zeros((1, 4)))
    return tmp_path


def test_masks_by_class_are_joined_in_their_order(root: Path) -> None:
    picture(root / "roads" / "a_m.png", [[0, 255, 0, 0]])
    picture(root / "roads" / "b_m.png", [[0, 255, 0, 0]])
    picture(root / "cars" / "b_m.png", [[0, 0, 255, 0]])
    masks = {name: masks_in_folder(root, folder, "_m") for name, folder in (("road", "roads"), ("car", "cars"))}
    train, test = images_in_folder(root, "train"), images_in_folder(root, "test")
    with pytest.raises(DataError, match=r"'a' is a train image without a mask of 'car'.*missing='background'"):
        read_split(train, test, masks=masks, root=root)
    split = read_split(train, test, masks=masks, root=root, missing="background")
    assert [one.annotation for one in split.train] == [("roads/a_m.png", ""), ("roads/b_m.png", "cars/b_m.png")]
    found = [
        label_masks(root, one, CLASSES, files=tuple(masks), missing="background").classes.tolist()
        for one in split.train
    ]
    assert found == [[[0, 1, 0, 0]], [[0, 1, 2, 0]]]


def test_an_image_without_a_mask_is_background_only_where_that_is_said(root: Path) -> None:
    picture(root / "masks" / "b.png", [[0, 1, 0, 0]])
    train, test = images_in_folder(root, "train"), images_in_folder(root, "test")
    with pytest.raises(DataError, match=r"images and masks do not fit: 'a' is a train image without a mask"):
        read_split(train, test, masks=masks_in_folder(root, "masks"), root=root)
    split = read_split(train, test, masks=masks_in_folder(root, "masks"), root=root, missing="background")
    assert [one.annotation for one in split.train] == [(), ("masks/b.png",)]
    picture(root / "masks" / "c.png", [[0, 1, 0, 0]])
    with pytest.raises(DataError, match="'c' has a mask but no train image"):
        read_split(train, test, masks=masks_in_folder(root, "masks"), root=root, missing="background")


def test_masks_of_objects_are_joined(root: Path) -> None:
    picture(root / "train" / "a" / "masks" / "2.png", [[0, 0, 0, 255]])
    picture(root / "train" / "a" / "masks" / "1.png", [[255, 0, 0, 0]])
    (root / "train" / "b" / "masks").mkdir(parents=True)
    masks = masks_per_object(root, "train")
    assert [(name, path.name) for name, path in masks] == [("a", "1.png"), ("a", "2.png")]
    train, test = images_in_folder(root, "train"), images_in_folder(root, "test")
    split = read_split(train, test, masks=masks, root=root, missing="background")
    assert [object_masks(root, one).labels.tolist() for one in split.train] == [[[1, 0, 0, 2]], [[0, 0, 0, 0]]]
    with pytest.raises(DataError, match="no images in"):
        masks_per_object(root, "test")


def test_files_of_a_tree_are_listed_by_their_ending(tmp_path: Path) -> None:
    for name in ("val/ulm/a_ids.png", "val/ulm/a_color.png", "val/jena/b_ids.png", "val/_ids.png", "val/c_ids.txt"):
        picture(tmp_path / name.replace(".txt", ".png"), [[0]])
    (tmp_path / "val" / "c_ids.png").rename(tmp_path / "val" / "c_ids.txt")
    found = images_in_tree(tmp_path, "val", "_ids")
    assert [(name, path.parent.name) for name, path in found] == [("a", "ulm"), ("b", "jena")]
    picture(tmp_path / "val" / "jena" / "a_ids.png", [[0]])
    with pytest.raises(DataError, match="have the same id"):
        images_in_tree(tmp_path, "val", "_ids")
    with pytest.raises(DataError, match=r"no images in .*; expected <folder>/<id>_x\.png"):
        images_in_tree(tmp_path, "val", "_x")
    with pytest.raises(DataError, match="no folder 'test'"):
        images_in_tree(tmp_path, "test")


# ------------------------------------------------------------------------------------------------------- codes by class


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (("id", "class", "code"), "id,class,code\na,2,2 1\nb,1,1 2\na,1,1 1\nb,2,\n"),
        (("id", "class", "code"), "id,code,class\na,2 1,2\nb,1 2,1\na,1 1,1\n"),
        (("both", "code"), "both,code\na_2,2 1\nb_1,1 2\na_1,1 1\nb_2,\n"),
    ],
)
def test_codes_by_class_are_read_in_the_order_of_the_classes(
    tmp_path: Path, columns: tuple[str, ...], text: str
) -> None:
    path = table(tmp_path / "x.csv", text)
    found = read_annotations_by_class(path, columns, ("1", "2"))
    assert found == {"a": ("1 1", "2 1"), "b": ("1 2", "")}
    assert mask_by_class(path, sample(*found["a"])).classes.tolist() == [[1, 2, 0, 0]]
    assert mask_by_class(path, sample(*found["b"])).classes.tolist() == [[1, 1, 0, 0]]
    assert mask_by_class(path, sample()).classes.tolist() == [[0, 0, 0, 0]]


def test_rows_of_no_class_and_second_rows_are_named(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "id,class,code\na,3,2 1\nb,1,1 2\nb,1,1 1\n")
    with pytest.raises(DataError) as caught:
        read_annotations_by_class(path, ("id", "class", "code"), ("1", "2"))
    assert "row 2, column class, value '3': no class; there are 1, 2" in str(caught.value)
    assert "row 4, column id, value 'b': a second row of class 1" in str(caught.value)
    with pytest.raises(DataError, match=r"value 'a_9': no class"):
        read_annotations_by_class(table(path, "both,code\na_9,\n"), ("both", "code"), ("1", "2"))


def test_codes_that_share_pixels_are_refused_or_the_later_counts() -> None:
    one = sample("1 2", "2 2")
    with pytest.raises(DataError, match=r"x\.csv: image a: 1 pixels of class 2 are of class 1 too"):
        mask_by_class(Path("x.csv"), one)
    assert mask_by_class(Path("x.csv"), one, overlap="later").classes.tolist() == [[1, 2, 2, 0]]
    with pytest.raises(DataError, match=r"x\.csv: image a: class 1: run 3 9 ends at 11"):
        mask_by_class(Path("x.csv"), sample("3 9"))


def test_images_without_a_row_are_background_only_where_that_is_said(root: Path) -> None:
    train, test = images_in_folder(root, "train"), images_in_folder(root, "test")
    with pytest.raises(DataError, match="'a' is a train image without a row in the annotations"):
        read_split(train, test, {"b": ("1 2", "")})
    split = read_split(train, test, {"b": ("1 2", "")}, missing="background")
    assert [one.annotation for one in split.train] == [(), ("1 2", "")]
