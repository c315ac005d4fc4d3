"""The code of contests of boxes."""

from __future__ import annotations

from collections import Counter

from medalist.codecs.boxes import PIXELS, VOC, XYWH, YOLO, BoxCoordinates
from medalist.discovery.code import (
    CHOOSE,
    Code,
    constant,
    listing,
    order_of,
    path,
    sample_field,
    split_call,
    text,
    texts,
)
from medalist.discovery.finding import Asked, BoxFiles, BoxTable, CocoFile, Finding

_METRIC = (
    f"{CHOOSE} the metric, which the files do not say: coco_map, voc_map or box_map of medalist.metrics.boxes, or "
)
_OTHERS = "box_precision_over_iou and box_f_beta of medalist.metrics.box_counts."
_FORM = f"{CHOOSE} the parts of a box and its coordinates in the submission:"


def write_box_files(code: Code, finding: Finding, truth: BoxFiles) -> None:
    """Write the code of a contest with an xml or a txt of boxes for each image."""
    _classes(code, truth.classes)
    folder = text(truth.folder)
    if truth.form == "voc":
        code.use("medalist.layouts.box_files", "voc_boxes")
        files = f'layouts.images_in_folder(data, {folder}, (".xml",))'
        call = f"voc_boxes({files}, CLASSES{_coordinates(code, truth.coordinates, VOC)})"
    else:
        code.use("medalist.layouts.box_files", "yolo_boxes")
        code.read += [
            f"    train = {listing(finding.train)}",
            "    sizes = {sample.id: sample.size for sample in layouts.with_sizes(train)}",
            f'    files = [one for one in layouts.images_in_folder(data, {folder}, (".txt",)) if one[0] in sizes]',
        ]
        call = f"yolo_boxes(files, CLASSES, sizes{_coordinates(code, truth.coordinates, YOLO)})"
    split_call(code, finding, [f"annotations={call}", *['missing="background"'] * truth.partial])
    _finish(code, finding, BoxCoordinates("xyxy"))


def write_box_table(code: Code, finding: Finding, truth: BoxTable) -> None:
    """Write the code of a contest with a csv of boxes."""
    _classes(code, truth.classes)
    code.use("medalist.layouts.box_files", "csv_boxes")
    columns = text(truth.columns) if isinstance(truth.columns, str) else texts(truth.columns)
    words = [f"data / {text(truth.file)}" if "/" not in truth.file else path(truth.file), text(truth.id_column)]
    words += [columns, "CLASSES"]
    named = {"label_column": truth.label_column, "annotator": truth.annotator, "nothing": truth.nothing}
    words += [f"{key}={text(value)}" for key, value in named.items() if value is not None]
    words += [_coordinates(code, truth.coordinates, PIXELS).removeprefix(", ")] * (truth.coordinates != PIXELS)
    if truth.coordinates.normalised:
        code.read.append(f"    train = layouts.with_sizes({listing(finding.train)})")
        words.append("sizes={sample.id: sample.size for sample in train}")
    code.read += ["    boxes = csv_boxes(", *(f"        {word}," for word in words), "    )"]
    split_call(code, finding, ["annotations=boxes", *['missing="background"'] * truth.partial])
    _finish(code, finding, truth.coordinates)


def write_coco(code: Code, finding: Finding, truth: CocoFile) -> None:
    """Write the code of a contest in the form of COCO."""
    _classes(code, truth.classes)
    code.use("medalist.layouts.coco_files", "coco_boxes")
    asked = None if truth.test else finding.asked
    of_csv = asked is not None and asked.match is not None and asked.match.key in ("stem", "name")
    key = asked.match.key if asked is not None and asked.match is not None and of_csv else "id"
    key = "stem" if key == "id" and finding.test is not None and not truth.test else key
    base = "" if truth.base == "." else f" / {text(truth.base)}"
    code.read.append(f'    part = coco_boxes({path(truth.file)}, CLASSES, key="{key}", unknown="left_out")')
    lines = [f"train=[(name, data{base} / file) for name, file in part.images]"]
    if truth.test:
        code.use("medalist.layouts.coco_files", "coco_images")
        code.read.append(f'    test = coco_images({path(truth.test)}, key="id")')
        base = "" if truth.test_base == "." else f" / {text(truth.test_base)}"
        lines.append(f"test=[(name, data{base} / file) for name, file in test]")
        lines += ["annotations=part.annotations", "order=[name for name, _ in test]"]
    else:
        lines.append(f"test={listing(finding.test) if finding.test else '[]'}")
        lines.append("annotations=part.annotations")
        order = order_of(finding, code)
        lines += [f"order={order}"] * (order is not None)
    code.read += ["    return layouts.read_split(", *(f"        {line}," for line in lines), "    )"]
    if of_csv:
        _finish(code, finding, PIXELS)
        return
    code.constants.append(constant("CATEGORIES", list(map(str, truth.categories))))
    code.use("medalist.formats.coco_boxes", "CocoBoxesFormat")
    _common(code)
    numbers = "" if key == "id" else ", numbers=False"
    code.set(
        "submission",
        f"CocoBoxesFormat(classes=CLASSES, categories=CATEGORIES{numbers})",
        f"{_FORM} COCO's own json, or BoxesFormat of medalist.formats.boxes for a csv.",
    )
    code.set("sample_submission", "None")


def _classes(code: Code, classes: tuple[str, ...]) -> None:
    code.constants.append(constant("CLASSES", [text(name) for name in classes]))


def _coordinates(code: Code, coordinates: BoxCoordinates, default: BoxCoordinates) -> str:
    """The argument that says the coordinates, with its import; "" where they are the default."""
    if coordinates == default:
        return ""
    return f", coordinates={_named(code, coordinates)}"


def _named(code: Code, coordinates: BoxCoordinates) -> str:
    names = {"PIXELS": PIXELS, "XYWH": XYWH, "VOC": VOC, "YOLO": YOLO}
    for name, known in names.items():
        if coordinates == known:
            code.use("medalist.codecs.boxes", name)
            return name
    code.use("medalist.codecs.boxes", "BoxCoordinates")
    return (
        f'BoxCoordinates("{coordinates.form}"'
        + ", normalised=True)" * coordinates.normalised
        + ")" * (not coordinates.normalised)
    )


def _common(code: Code) -> None:
    code.use("medalist.layouts.box_files", "box_truth")
    code.use("medalist.metrics.boxes", "coco_map")
    code.set("read", "read")
    code.set("truth", "box_truth(CLASSES)")
    code.set("score", "coco_map(CLASSES)", _METRIC + _OTHERS)


def _finish(code: Code, finding: Finding, coordinates: BoxCoordinates) -> None:
    """Write the fields of the Competition, with the format that the sample submission shows."""
    _common(code)
    asked = finding.asked
    if asked is not None and len(asked.table.columns) != 2:
        asked = None
    code.use("medalist.formats.boxes", "BoxesFormat")
    classes = finding.truth.classes if isinstance(finding.truth, BoxFiles | BoxTable | CocoFile) else ()
    columns = ("image_id", "PredictionString") if asked is None else _columns(asked)
    words = [texts(columns), "classes=CLASSES"]
    parts, empty = _parts(asked, classes)
    if parts != ("label", "score", "box"):
        words.append(f"parts={texts(parts)}")
    if "label" in parts and any(" " in name for name in classes):
        words.append('labels=tuple(name.replace(" ", "_") for name in CLASSES)')
    if coordinates != PIXELS:
        words.append(f"coordinates={_named(code, coordinates)}")
    words += [f"empty={text(empty)}"] * bool(empty)
    code.set("submission", f"BoxesFormat({', '.join(words)})",
             f"{_FORM} they are guessed from the truths and the length of cells of the sample submission.")  # fmt: skip
    sample_field(code, asked)


def _columns(asked: Asked) -> tuple[str, str]:
    return asked.id_column, asked.table.others(asked.id_column)[0]


def _parts(asked: Asked | None, classes: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The parts of a box by the words of the sample submission's cells, and the cell of an image without boxes."""
    usual = ("label", "score", "box") if len(classes) > 1 else ("score", "box")
    if asked is None:
        return usual, ""
    cells = Counter(asked.table.cells(_columns(asked)[1]))
    cell, _ = cells.most_common(1)[0]
    words = cell.split()
    if words and len(words) % 6 == 0:
        return ("label", "score", "box"), "" if words[0] in classes or len(cells) > 1 else cell
    if words and len(words) % 5 == 0:
        label = words[0] in classes and len(classes) > 1
        return ("label", "box") if label else ("score", "box"), ""
    return usual, ""
