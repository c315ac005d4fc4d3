"""Layouts of contests of labels."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.layout import Layout, blank, ids, plain, rng_of, save, table

COLOURS = ("red", "green", "blue")


def _column(
    root: Path,
    name: str,
    header: str,
    labels: list[str],
    asked: str,
    suffix: str = ".png",
    folders: tuple[str, str] = ("train_images", "test_images"),
    ending: str = "",
) -> None:
    """A csv with a row for each image."""
    rng = rng_of(name)
    names = ids(name, len(labels))
    blank(root, folders[0], names, suffix, rng)
    rows = [(f"{one}{ending}", label) for one, label in zip(names, labels, strict=True)]
    table(root / "train.csv", header, rows)
    test = ids(f"{name} test", 5)
    blank(root, folders[1], test, suffix, rng)
    table(root / "sample_submission.csv", header, [(f"{one}{ending}", asked) for one in test])


def _grades(root: Path) -> None:
    """As APTOS: grades."""
    _column(root, "eyes", "id_code,diagnosis", [str(k % 5) for k in range(20)], "0")
    names = ids("eyes test", 5)
    table(root / "test.csv", "id_code", [(name,) for name in names])


def _numbers(root: Path) -> None:
    """As cassava: numbers that are names of classes, ids with suffix, names in a json."""
    _column(root, "cassava", "image_id,label", [str(k % 5) for k in range(20)], "4", ".jpg", ending=".jpg")
    (root / "label_num_to_disease_map.json").write_text(json.dumps({"0": "blight"}))


def _two(root: Path) -> None:
    """As histopathologic cancer: 0 and 1, TIFF."""
    _column(root, "cancer", "id,label", [str(k % 2) for k in range(16)], "0", ".tif", ("train", "test"))


def _chance(root: Path) -> None:
    """As many contests of two classes: the sample submission has 0.5."""
    _column(root, "cactus", "id,has_cactus", [str(k % 2) for k in range(16)], "0.5", ".jpg", ("train", "test"), ".jpg")


def _patients(root: Path) -> None:
    """As melanoma: several columns, of which one is asked for, and a patient."""
    rng = rng_of("skin")
    names, test = ids("skin", 20), ids("skin test", 5)
    blank(root, "train", names, ".jpg", rng)
    blank(root, "test", test, ".jpg", rng)
    header = "image_name,patient_id,sex,anatom_site,benign_malignant,target"
    sites = ("head", "torso", "leg")
    rows = [
        (name, f"IP_{k // 2}", "male" if k % 3 else "female", sites[k % 3], "malignant" if k % 4 == 0 else "benign",
         int(k % 4 == 0))
        for k, name in enumerate(names)
    ]  # fmt: skip
    table(root / "train.csv", header, rows)
    table(root / "sample_submission.csv", "image_name,target", [(name, 0) for name in test])


def _class_folders(root: Path) -> None:
    """As plant seedlings: a folder for each class, with spaces in the names."""
    rng = rng_of("seedlings")
    for label in ("Black-grass", "Loose Silky-bent", "Sugar beet"):
        blank(root, f"train/{label}", ids(label, 6), ".png", rng)
    test = [f"{one}.png" for one in ids("seedlings test", 5)]
    for name in test:
        save(root / "test" / name, plain(rng))
    table(root / "sample_submission.csv", "file,species", [(name, "Sugar beet") for name in test])


def _same_names(root: Path) -> None:
    """As State Farm: folders of classes in which names of files are repeated, a column of probabilities for each."""
    rng = rng_of("drivers")
    for label in ("c0", "c1", "c2"):
        blank(root, f"imgs/train/{label}", [f"img_{k}" for k in range(6)], ".jpg", rng)
    test = [f"img_{k}" for k in range(50, 55)]
    blank(root, "imgs/test", test, ".jpg", rng)
    table(root / "sample_submission.csv", "img,c0,c1,c2", [(f"{name}.jpg", 0.2, 0.3, 0.5) for name in test])


def _probabilities(root: Path) -> None:
    """As dog breeds: labels.csv, and a column for each breed in the submission."""
    rng = rng_of("breeds")
    names, test = ids("breeds", 18), ids("breeds test", 5)
    blank(root, "train", names, ".jpg", rng)
    blank(root, "test", test, ".jpg", rng)
    table(root / "labels.csv", "id,breed", [(name, COLOURS[k % 3]) for k, name in enumerate(names)])
    table(root / "sample_submission.csv", "id,blue,green,red", [(name, *[1 / 3] * 3) for name in test])


def _one_folder(root: Path) -> None:
    """As plant pathology 2020: one folder for both parts, a 0/1 column for each class, one 1 in a row."""
    rng = rng_of("leaves")
    train, test = [f"Train_{k}" for k in range(20)], [f"Test_{k}" for k in range(5)]
    blank(root, "images", [*train, *test], ".jpg", rng)
    header = "image_id,healthy,multiple_diseases,rust,scab"
    table(root / "train.csv", header, [(name, *(int(k % 4 == c) for c in range(4))) for k, name in enumerate(train)])
    table(root / "test.csv", "image_id", [(name,) for name in test])
    table(root / "sample_submission.csv", header, [(name, *[0.25] * 4) for name in test])


def _flags(root: Path) -> None:
    """As RANZCR: a 0/1 column for each finding, any number of ones, a patient."""
    rng = rng_of("tubes")
    names, test = ids("tubes", 20), ids("tubes test", 5)
    blank(root, "train", names, ".jpg", rng)
    blank(root, "test", test, ".jpg", rng)
    flags = "ETT - Abnormal,NGT - Normal,CVC - Normal"
    rows = [(name, k % 2, int(k % 3 == 0), int(k % 5 > 0), f"p{k // 2}") for k, name in enumerate(names)]
    table(root / "train.csv", f"StudyInstanceUID,{flags},PatientID", rows)
    table(root / "sample_submission.csv", f"StudyInstanceUID,{flags}", [(name, 0, 0, 0) for name in test])


def _numbers_in_cells(root: Path) -> None:
    """As the protein atlas: numbers in one cell, another name of the column in the submission."""
    rng = rng_of("proteins")
    names, test = ids("proteins", 24), ids("proteins test", 5)
    blank(root, "train", names, ".png", rng)
    blank(root, "test", test, ".png", rng)
    cells = ("0", "0 25", "25", "7 1", "1", "0 7 1")
    table(root / "train.csv", "Id,Target", [(name, cells[k % 6]) for k, name in enumerate(names)])
    table(root / "sample_submission.csv", "Id,Predicted", [(name, 0) for name in test])


def _tags(root: Path) -> None:
    """As planet: tags in one cell, ids without a suffix, `train_v2.csv`."""
    rng = rng_of("planet")
    names, test = [f"train_{k}" for k in range(24)], [f"test_{k}" for k in range(5)]
    blank(root, "train-jpg", names, ".jpg", rng)
    blank(root, "test-jpg", test, ".jpg", rng)
    cells = ("clear primary", "haze primary", "cloudy", "clear primary water", "haze primary water", "primary")
    table(root / "train_v2.csv", "image_name,tags", [(name, cells[k % 6]) for k, name in enumerate(names)])
    table(root / "sample_submission_v2.csv", "image_name,tags", [(name, "primary clear") for name in test])


def _names(root: Path) -> None:
    """As dogs vs. cats: the class is in the name."""
    rng = rng_of("pets")
    blank(root, "train", [f"{label}.{k}" for label in ("cat", "dog") for k in range(8)], ".jpg", rng)
    blank(root, "test", [str(k) for k in range(1, 6)], ".jpg", rng)
    table(root / "sample_submission.csv", "id,label", [(k, 0.5) for k in range(1, 6)])


def _marked(root: Path) -> None:
    """A table of a spreadsheet: a byte order mark, paths in place of names, upper-case suffixes."""
    rng = rng_of("marked")
    names = ids("marked", 18)
    blank(root, "photos/train", names, ".JPG", rng)
    lines = ["file,colour,label"]
    lines += [f"photos/train/{name}.JPG,x,{COLOURS[k % 3]}" for k, name in enumerate(names)]
    (root / "train.csv").write_text("\ufeff" + "".join(f"{line}\r\n" for line in lines), encoding="utf-8")
    blank(root, "photos/test", ids("marked test", 5), ".JPG", rng)


_SPLIT = ("train", "test")
LABELS = (
    Layout("eyes", _grades, "ordinal", "train.csv", "train_images", "test_images",
           ("quadratic_kappa(CLASSES)", 'LabelFormat(("id_code", "diagnosis"), classes=CLASSES)'), (20, 5)),
    Layout("cassava", _numbers, "label", "train.csv", "train_images", "test_images",
           ('LabelFormat(("image_id", "label"), classes=CLASSES)', 'data / "train_images" / name'), (20, 5)),
    Layout("cassava_as_grades", _numbers, "ordinal", "train.csv", "train_images", "test_images",
           ("quadratic_kappa(CLASSES)",), (20, 5), {"kind": "ordinal"}),
    Layout("cancer", _two, "label", "train.csv", *_SPLIT, ('LabelFormat(("id", "label")',), (16, 5)),
    Layout("cactus", _chance, "label", "train.csv", *_SPLIT,
           ('ProbabilityFormat(classes=CLASSES, positive="1", class_columns=("has_cactus",))', "certain_truth"),
           (16, 5)),
    Layout("skin", _patients, "label", "train.csv", *_SPLIT, ('"target"', 'group="patient_id"'), (20, 5)),
    Layout("seedlings", _class_folders, "label", "train/<class>", *_SPLIT,
           ('LabelFormat(("file", "species"), classes=CLASSES)', '"Loose Silky-bent"', 'data / "test" / name'),
           (18, 5)),
    Layout("drivers", _same_names, "label", "imgs/train/<class>", "imgs/train", "imgs/test",
           ('ProbabilityFormat("img", classes=CLASSES, total=1.0)', "folders_in"), (18, 5)),
    Layout("breeds", _probabilities, "label", "labels.csv", *_SPLIT,
           ('CLASSES = ("blue", "green", "red")', "ProbabilityFormat(classes=CLASSES, total=1.0)"), (18, 5)),
    Layout("leaves", _one_folder, "label", "train.csv", "images", "images",
           ("exactly_one=True", 'CLASSES = ("healthy", "multiple_diseases", "rust", "scab")'), (20, 5)),
    Layout("tubes", _flags, "labels", "train.csv", *_SPLIT,
           ("one_hot_labelled", "roc_auc(CLASSES)", 'group="PatientID"'), (20, 5)),
    Layout("proteins", _numbers_in_cells, "labels", "train.csv", *_SPLIT,
           ('LabelsFormat(("Id", "Predicted"), classes=CLASSES)', 'CLASSES = ("0", "1", "7", "25")'), (24, 5)),
    Layout("planet", _tags, "labels", "train_v2.csv", "train-jpg", "test-jpg",
           ('separator=" "', 'LabelsFormat(("image_name", "tags"), classes=CLASSES)', "sample_submission_v2.csv"),
           (24, 5)),
    Layout("pets", _names, "label", "train/<class>.<number>", *_SPLIT, ('positive="dog"',), (16, 5)),
    Layout("marked", _marked, "label", "train.csv", "photos/train", "photos/test",
           ("lambda name: data / name", 'CLASSES = ("blue", "green", "red")'), (18, 5)),
)  # fmt: skip
