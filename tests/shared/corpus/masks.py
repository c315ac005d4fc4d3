"""Layouts of contests of masks and objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from corpus.layout import SIZE, Layout, blank, ids, objects, picture, rng_of, save, table
from medalist.codecs.rle import encode_labels, encode_mask

SQUARE = (64, 64)


def _codes_an_image(root: Path) -> None:
    """As TGS salt: square images without suffix in the csv, an empty cell, a table of depths, and masks beside."""
    rng = rng_of("salt")
    rows = []
    for number, name in enumerate(ids("salt", 12)):
        labels = objects(rng, SQUARE) * (number % 4 > 0)
        save(root / "train" / "images" / f"{name}.png", picture(rng, labels))
        save(root / "train" / "masks" / f"{name}.png", ((labels > 0) * 255).astype(np.uint8))
        rows.append((name, encode_mask(labels > 0)))
    table(root / "train.csv", "id,rle_mask", rows)
    test = ids("salt test", 5)
    blank(root, "test/images", test, ".png", rng)
    table(root / "sample_submission.csv", "id,rle_mask", [(name, "1 1") for name in test])
    table(root / "depths.csv", "id,z", [(name, 100 + 7 * n) for n, name in enumerate([row[0] for row in rows] + test)])


def _rows_an_object(root: Path) -> None:
    """As Airbus: a row for each ship, ids with a suffix, an older csv beside, images without ships."""
    rng = rng_of("ships")
    rows, old = [], []
    for number, name in enumerate(ids("ships", 12, 9)):
        labels = objects(rng) * (number % 4 > 0)
        save(root / "train_v2" / f"{name}.jpg", picture(rng, labels), quality=92)
        codes = encode_labels(labels) or [""]
        rows += [(f"{name}.jpg", code) for code in codes]
        old += [(f"{name}.jpg", code) for code in codes[:1]]
    table(root / "train_ship_segmentations_v2.csv", "ImageId,EncodedPixels", rows)
    table(root / "train_ship_segmentations.csv", "ImageId,EncodedPixels", old)
    test = ids("ships test", 5, 9)
    blank(root, "test_v2", test, ".jpg", rng)
    table(root / "sample_submission_v2.csv", "ImageId,EncodedPixels", [(f"{name}.jpg", "1 2") for name in test])


def _codes_by_row(root: Path) -> None:
    """As Carvana: codes along the rows, names with a suffix, masks as GIF beside."""
    rng = rng_of("cars")
    rows = []
    for car in ids("cars", 4, 12):
        for angle in range(1, 4):
            labels = objects(rng, count=1)
            name = f"{car}_{angle:02d}"
            save(root / "train" / f"{name}.jpg", picture(rng, labels))
            save(root / "train_masks" / f"{name}_mask.gif", labels > 0)
            rows.append((f"{name}.jpg", encode_mask(labels > 0, "row")))
    table(root / "train_masks.csv", "img,rle_mask", rows)
    test = ids("cars test", 5)
    blank(root, "test", test, ".jpg", rng)
    table(root / "sample_submission.csv", "img,rle_mask", [(f"{name}.jpg", "") for name in test])


def _codes_from_zero(root: Path) -> None:
    """Codes that count from 0, `-1` where there is nothing, and a patient for several images."""
    rng = rng_of("lungs")
    rows, patients = [], []
    for number, name in enumerate(ids("lungs", 15)):
        labels = objects(rng)
        labels[:4, :9] = 1  # an object at the first pixel
        labels *= number % 5 > 0
        save(root / "train" / f"{name}.png", picture(rng, labels))
        rows.append((name, encode_mask(labels > 0, base=0) or "-1"))
        patients.append((name, f"p{number // 3}"))
    table(root / "train-rle.csv", "ImageId,EncodedPixels", rows)
    table(root / "patients.csv", "image,patient_id", patients)
    test = ids("lungs test", 5)
    blank(root, "test", test, ".png", rng)
    table(root / "sample_submission.csv", "ImageId,EncodedPixels", [(name, "-1") for name in test])


def _classes_joined(root: Path, joined: str, names: tuple[str, ...], header: str) -> None:
    rng = rng_of(joined)
    rows = []
    for name in ids(joined, 12, 9):
        labels = objects(rng, count=4)
        save(root / "train_images" / f"{name}.jpg", picture(rng, labels, 4), quality=95)
        codes = dict(enumerate(encode_labels(labels), start=1))
        rows += [(f"{name}.jpg_{label}", codes.get(number, "")) for number, label in enumerate(names, start=1)]
    table(root / "train.csv", header, rows)
    test = ids(f"{joined} test", 5, 9)
    blank(root, "test_images", test, ".jpg", rng)
    asked = [(f"{name}.jpg_{label}", "1 1") for name in test for label in names]
    table(root / "sample_submission.csv", header, asked)


def _steel(root: Path) -> None:
    """As Severstal: image and number of the class in one cell."""
    _classes_joined(root, "steel", ("1", "2", "3", "4"), "ImageId_ClassId,EncodedPixels")


def _clouds(root: Path) -> None:
    """As Understanding Clouds: image and name of the class in one cell."""
    _classes_joined(root, "clouds", ("Fish", "Flower", "Gravel", "Sugar"), "Image_Label,EncodedPixels")


def _classes_apart(root: Path) -> None:
    """As UW-Madison: a row for each image and class, with the class in a column of its own."""
    rng = rng_of("tract")
    names = ("large_bowel", "small_bowel", "stomach")
    rows = []
    for name in ids("tract", 12):
        labels = objects(rng)
        save(root / "train" / f"{name}.png", picture(rng, labels, 3))
        codes = dict(enumerate(encode_labels(labels), start=1))
        rows += [(name, label, codes.get(number, "")) for number, label in enumerate(names, start=1)]
    table(root / "train.csv", "id,class,segmentation", rows)
    test = ids("tract test", 5)
    blank(root, "test", test, ".png", rng)
    table(root / "sample_submission.csv", "id,class,predicted", [(t, label, "") for t in test for label in names])


def _stages(root: Path, csv: bool) -> None:
    rng = rng_of("nuclei")
    rows = []
    for name in ids("nuclei", 12, 64):
        labels = objects(rng, count=5)
        folder = root / "stage1_train" / name
        save(folder / "images" / f"{name}.png", picture(rng, labels))
        for number in range(1, labels.max() + 1):
            save(folder / "masks" / f"{name[::-1]}{number}.png", ((labels == number) * 255).astype(np.uint8))
        rows += [(name, code) for code in encode_labels(labels)]
    if csv:
        table(root / "stage1_train_labels.csv", "ImageId,EncodedPixels", rows)
    test = ids("nuclei test", 5, 64)
    for name in test:
        save(root / "stage1_test" / name / "images" / f"{name}.png", picture(rng, objects(rng)))
    table(root / "stage1_sample_submission.csv", "ImageId,EncodedPixels", [(name, "") for name in test])


def _stages_with_codes(root: Path) -> None:
    """As the Data Science Bowl of 2018."""
    _stages(root, csv=True)


def _stages_with_masks(root: Path) -> None:
    """The same without the csv of codes: a mask file for each object."""
    _stages(root, csv=False)


def _mask_folder(root: Path, suffix: str) -> None:
    rng = rng_of("polyps")
    for name in ids("polyps", 12):
        labels = objects(rng, count=1)
        save(root / "Kvasir-SEG" / "images" / f"{name}.jpg", picture(rng, labels))
        save(root / "Kvasir-SEG" / "masks" / f"{name}{suffix}", ((labels > 0) * 255).astype(np.uint8))


def _masks_png(root: Path) -> None:
    """Masks as PNG, a test folder and a sample submission of codes."""
    rng = rng_of("png")
    for name in ids("png", 12):
        labels = objects(rng, count=1)
        save(root / "train_images" / f"{name}.PNG", picture(rng, labels))
        save(root / "train_masks" / f"{name}.png", ((labels > 0) * 255).astype(np.uint8))
    test = ids("png test", 5)
    blank(root, "test_images", test, ".png", rng)
    table(root / "sample_submission.csv", "id,rle", [(name, "") for name in test])


def _masks_jpeg(root: Path) -> None:
    """As Kvasir: masks as JPEG, no test part."""
    _mask_folder(root, ".jpg")


def _masks_beside(root: Path) -> None:
    """As the MRI of TCGA: a folder for each patient, masks beside their images."""
    rng = rng_of("mri")
    for patient in range(3):
        for number in range(4):
            labels = objects(rng, count=1)
            name = f"TCGA_{patient}_{number}"
            save(root / "kaggle_3m" / f"TCGA_{patient}" / f"{name}.tif", picture(rng, labels))
            save(root / "kaggle_3m" / f"TCGA_{patient}" / f"{name}_mask.tif", ((labels > 0) * 255).astype(np.uint8))


def _palette(root: Path) -> None:
    """As Pascal VOC: masks with a palette, and 255 as void."""
    rng = rng_of("voc")
    for name in ids("voc", 12):
        labels = objects(rng).astype(np.uint8)
        save(root / "VOC2012" / "JPEGImages" / f"{name}.jpg", picture(rng, labels.astype(np.int32), 3), quality=95)
        labels[:2] = 255
        mask = Image.fromarray(labels)
        mask.putpalette([*(value for k in range(255) for value in (k * 37 % 256, k * 91 % 256, 99)), 224, 224, 192])
        (root / "VOC2012" / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        mask.save(root / "VOC2012" / "SegmentationClass" / f"{name}.png")


def _colours(root: Path) -> None:
    """As CamVid: colours stand for classes, masks end in _L."""
    rng = rng_of("camvid")
    colours = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128), (192, 128, 0)], np.uint8)
    for name in ids("camvid", 12):
        labels = objects(rng)
        save(root / "train" / f"{name}.png", picture(rng, labels, 3))
        save(root / "train_labels" / f"{name}_L.png", colours[labels])
    blank(root, "test", ids("camvid test", 5), ".png", rng)


def _tree(root: Path) -> None:
    """As Cityscapes: folders of cities, several files of labels for each image."""
    rng = rng_of("streets")
    for city in ("aachen", "bremen"):
        for number in range(6):
            labels, name = objects(rng), f"{city}_{number:06d}"
            save(root / "leftImg8bit" / "train" / city / f"{name}_leftImg8bit.png", picture(rng, labels, 3))
            save(root / "gtFine" / "train" / city / f"{name}_gtFine_labelIds.png", labels.astype(np.uint8))
            save(root / "gtFine" / "train" / city / f"{name}_gtFine_instanceIds.png", (labels * 7).astype(np.uint8))
    for number in range(5):
        labels = objects(rng)
        save(root / "leftImg8bit" / "test" / "berlin" / f"berlin_{number}_leftImg8bit.png", picture(rng, labels, 3))


def _slides(root: Path) -> None:
    """As HuBMAP: TIFF images, another name of the column in the submission."""
    rng = rng_of("slides")
    rows = []
    for name in ids("slides", 6, 9):
        labels = objects(rng, (96, 128), 4)
        save(root / "train" / f"{name}.tif", picture(rng, labels))
        rows.append((name, encode_mask(labels > 0)))
    table(root / "train.csv", "id,encoding", rows)
    test = ids("slides test", 3, 9)
    blank(root, "test", test, ".tif", rng)
    table(root / "sample_submission.csv", "id,predicted", [(name, "") for name in test])


_V2 = {"labels": "train_ship_segmentations_v2.csv"}
MASKS = (
    Layout("salt", _codes_an_image, "mask", "train.csv", "train/images", "test/images",
           ('RleFormat(("id", "rle_mask"), row_per="image")', 'read_annotations(data / "train.csv", "id", "rle_mask"'),
           (12, 5)),
    Layout("ships", _rows_an_object, "instances", "train_ship_segmentations_v2.csv", "train_v2", "test_v2",
           ('RleFormat(("ImageId", "EncodedPixels"))', '"sample_submission_v2.csv"', "path.name"), (12, 5), _V2),
    Layout("ships_as_mask", _rows_an_object, "mask", "train_ship_segmentations_v2.csv", "train_v2", "test_v2",
           ('RleFormat(("ImageId", "EncodedPixels"), row_per="image")',), (12, 5), {**_V2, "kind": "mask"}),
    Layout("cars", _codes_by_row, "mask", "train_masks.csv", "train", "test",
           ('order="row")\n', 'RleFormat(("img", "rle_mask"), order="row", row_per="image")'), (12, 5)),
    Layout("lungs", _codes_from_zero, "mask", "train-rle.csv", "train", "test",
           ('base=0, empty="-1"', 'group="patient_id"', 'id_column="image"'), (15, 5)),
    Layout("steel", _steel, "classes", "train.csv", "train_images", "test_images",
           ('CLASSES = ("background", "1", "2", "3", "4")', 'columns=("ImageId_ClassId", "EncodedPixels")',
            'overlap="later"'), (12, 5)),
    Layout("clouds", _clouds, "classes", "train.csv", "train_images", "test_images",
           ('CLASSES = ("background", "Fish", "Flower", "Gravel", "Sugar")', "class_ids=CLASSES[1:]"), (12, 5)),
    Layout("tract", _classes_apart, "classes", "train.csv", "train", "test",
           ('columns=("id", "class", "predicted")', '("id", "class", "segmentation")'), (12, 5)),
    Layout("nuclei", _stages_with_codes, "instances", "stage1_train_labels.csv", "stage1_train", "stage1_test",
           ("layouts.instances(", 'folder_per_image(data, "stage1_train")'), (12, 5)),
    Layout("nuclei_masks", _stages_with_masks, "instances", "stage1_train/<id>/masks", "stage1_train", "stage1_test",
           ("layouts.object_masks(", "masks_per_object"), (12, 5)),
    Layout("png", _masks_png, "mask", "train_masks", "train_images", "test_images",
           ("layouts.mask_picture(data, sample)", 'RleFormat(("id", "rle"), row_per="image")'), (12, 5)),
    Layout("polyps", _masks_jpeg, "mask", "Kvasir-SEG/masks", "Kvasir-SEG/images", None,
           ("layouts.mask_picture(data, sample)", "test=[]"), (12, 0)),
    Layout("mri", _masks_beside, "mask", "kaggle_3m/*_mask", "kaggle_3m", None,
           ('images_in_tree(data, "kaggle_3m", "_mask")', 'if not one[0].endswith("_mask")'), (12, 0)),
    Layout("voc_masks", _palette, "classes", "VOC2012/SegmentationClass", "VOC2012/JPEGImages", None,
           ("ignore=(255,)", "mean_iou(CLASSES)"), (12, 0)),
    Layout("camvid", _colours, "classes", "train_labels", "train", "test",
           ("colours=COLOURS", "(0, 0, 0): \"background\""), (12, 5)),
    Layout("streets", _tree, "classes", "gtFine/train", "leftImg8bit/train", "leftImg8bit/test",
           ('"_gtFine_labelIds"', '"_leftImg8bit"'), (12, 5)),
    Layout("slides", _slides, "mask", "train.csv", "train", "test", ('RleFormat(("id", "predicted")',), (6, 3)),
)  # fmt: skip
assert SIZE != SQUARE
