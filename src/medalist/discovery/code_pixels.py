"""The code of contests of masks and objects."""

from __future__ import annotations

from collections import Counter

from medalist.discovery.code import CHOOSE, Code, comment, constant, path, sample_field, split_call, text, texts
from medalist.discovery.finding import Asked, ClassCodes, Codes, Finding, MaskFiles, ObjectMasks
from medalist.discovery.tables import EMPTY
from medalist.formats.rle import EMPTY_LIKE

_METRIC = f"{CHOOSE} the metric, which the files do not say:"
_FORM = f"{CHOOSE} the form of the submission: no sample submission says it."
_ORDER = f'{CHOOSE} order="column" or "row" of the codes in a submission, which mask files do not say.'


def write_codes(code: Code, finding: Finding, truth: Codes) -> None:
    """Write the code of a contest whose masks or objects are run-length codes."""
    one = finding.kind == "mask"
    per = truth.row_per if truth.row_per == "object" else "image"
    more = ', row_per="image"' if per == "image" else ""
    more += f", empty={text(truth.empty)}" if truth.empty else ""
    columns = ", ".join(map(text, truth.columns))
    arguments = [f"annotations=layouts.read_annotations({path(truth.file)}, {columns}{more})"]
    arguments += ['missing="background"'] * truth.partial
    split_call(code, finding, arguments)
    call = f"layouts.{'mask' if one else 'instances'}({path(truth.file)}, sample{_reading(truth)})"
    _truth(code, "Mask" if one else "Instances", call)
    _metric_of(code, one)
    _rle_format(code, finding, truth, one)


def write_class_codes(code: Code, finding: Finding, truth: ClassCodes) -> None:
    """Write the code of a contest with a run-length code for each image and class."""
    code.constants.append(constant("CLASSES", [text(name) for name in truth.classes]))
    more = f", empty={text(truth.empty)}" if truth.empty else ""
    split_call(
        code,
        finding,
        [
            "annotations=layouts.read_annotations_by_class("
            f"{path(truth.file)}, {texts(truth.columns)}, CLASSES[1:]{more})",
            *['missing="background"'] * truth.partial,
        ],
    )
    later = ', overlap="later"' if truth.overlap else ""
    _truth(code, "Mask", f"layouts.mask_by_class({path(truth.file)}, sample{_reading(truth)}{later})")
    code.use("medalist.metrics.classes", "mean_class_dice")
    code.set("score", "mean_class_dice(CLASSES)", f"{_METRIC} mean_class_dice, mean_iou or pixel_accuracy of "
             "medalist.metrics.classes.")  # fmt: skip
    code.use("medalist.formats.class_rle", "ClassRleFormat")
    asked = finding.asked
    words, note = _class_format(finding, truth, asked)
    code.set("submission", f"ClassRleFormat(CLASSES, {', '.join(words)})", note)
    sample_field(code, asked)
    code.set("classes", "CLASSES")


def _class_format(finding: Finding, truth: ClassCodes, asked: Asked | None) -> tuple[list[str], str]:
    """The arguments of the format after the classes, and a note where they are a guess."""
    columns, cells, note = truth.columns, [], _FORM
    words: list[str] = []
    if asked is not None:
        table, ids = asked.table, asked.id_column
        joined = bool(asked.match and asked.match.joiner)
        code_column = next((one for one in reversed(table.columns) if one in truth.columns[-1:]), table.columns[-1])
        if joined and len(table.columns) == 2:
            columns, note = (ids, table.others(ids)[0]), ""
            code_column = columns[1]
        elif len(table.columns) == 3 and len(truth.columns) == 3:
            class_column = next((one for one in table.others(ids) if one in truth.columns[1:2]), None)
            class_column = class_column or table.others(ids, code_column)[0]
            columns, note = (ids, class_column, code_column), ""
            if table.columns.index(class_column) > table.columns.index(code_column):
                words.append("class_last=True")
                columns = (ids, code_column, class_column)
        cells = [(ids, code_column)] if not note else []
    words.insert(0, f"columns={texts(columns)}")
    if truth.classes[1:] != tuple(str(number) for number in range(1, len(truth.classes))):
        words.append("class_ids=CLASSES[1:]")
    if asked is not None and cells and finding.test is not None:
        per_image = len(asked.table.rows) == len(finding.test.ids) * (len(truth.classes) - 1)
        words += ['absent="left_out"'] * (not per_image)
        times = Counter(
            (asked.match.name(row[asked.id_column]) if asked.match else "", row[cells[0][1]])
            for row in asked.table.rows
        )
        shared = any(count > 1 and code.strip() not in EMPTY for (_, code), count in times.items())
        words += ['overlap="later"'] * (shared or truth.overlap)
        empty = _empty(asked, cells[0][1], truth.empty)
    else:
        words += ['overlap="later"'] * truth.overlap
        empty = truth.empty
    words += _order_words(truth.order, truth.base)
    words += [f"empty={text(empty)}"] * bool(empty)
    return words, note


def write_mask_files(code: Code, finding: Finding, truth: MaskFiles) -> None:
    """Write the code of a contest whose masks are files."""
    masks = _mask_listing(truth)
    arguments = [f"masks={masks}", "root=data", *['missing="background"'] * truth.partial]
    split_call(code, finding, arguments)
    if finding.kind == "mask":
        call = "layouts.mask_picture(data, sample" + (f", threshold={truth.threshold}" if truth.threshold else "") + ")"
        if truth.partial:
            # mask_picture needs a file; label_masks can take none as background
            code.constants.append(constant("CLASSES", ['"background"', '"foreground"']))
            more = f", threshold={truth.threshold}" if truth.threshold else ""
            call = f'layouts.label_masks(data, sample, CLASSES, files=("foreground",), missing="background"{more})'
        _truth(code, "Mask", call)
        _metric_of(code, one=True)
        _rle_format(code, finding, Codes("", ("id", "rle_mask"), "image"), one=True, known=False)
        return
    classes = truth.names
    code.constants += comment(f"{CHOOSE} the names of the classes: the masks have numbers or colours alone.")
    code.constants.append(constant("CLASSES", [text(name) for name in classes]))
    more = ""
    if truth.colours:
        pairs = [f"{colour}: {text(name)}" for colour, name in zip(truth.colours, classes, strict=True)]
        code.constants.append("COLOURS = {\n" + "".join(f"    {pair},\n" for pair in pairs) + "}")
        more = ", colours=COLOURS"
    elif truth.values != tuple(range(len(truth.values))):
        code.constants.append(f"IDS = dict(zip({truth.values}, CLASSES, strict=True))")
        more = ", ids=IDS"
    if truth.void:
        more += f", ignore={truth.void}"
    if truth.partial:
        more += ', missing="background"'
    _truth(code, "Mask", f"layouts.label_masks(data, sample, CLASSES{more})")
    code.use("medalist.metrics.classes", "mean_iou")
    code.set("score", "mean_iou(CLASSES)", f"{_METRIC} mean_iou, mean_class_dice or pixel_accuracy of "
             "medalist.metrics.classes.")  # fmt: skip
    code.use("medalist.formats.label_pictures", "LabelPictureFormat")
    ids = ", ids=tuple(IDS)" if more.startswith(", ids") else ""
    code.set("submission", f"LabelPictureFormat(CLASSES{ids})", f"{_FORM} A picture of numbers for each image, or "
             "ClassRleFormat of medalist.formats.class_rle.")  # fmt: skip
    code.set("sample_submission", "None")
    code.set("classes", "CLASSES")


def _mask_listing(truth: MaskFiles) -> str:
    images = truth.images
    ending = f", {text(truth.ending)}" if truth.ending else ""
    function = "images_in_tree" if images.form == "tree" or images.apart or truth.ending else "masks_in_folder"
    return f"layouts.{function}(data, {text(images.folder)}{ending})"


def write_object_masks(code: Code, finding: Finding, truth: ObjectMasks) -> None:
    """Write the code of a contest with a mask file for each object."""
    inside = "" if truth.inside == "masks" else f", {text(truth.inside)}"
    split_call(code, finding, [f"masks=layouts.masks_per_object(data, {text(truth.folder)}{inside})", "root=data",
                               'missing="background"'])  # fmt: skip
    _truth(code, "Instances", "layouts.object_masks(data, sample)")
    _metric_of(code, one=False)
    _rle_format(code, finding, Codes("", ("ImageId", "EncodedPixels"), "object"), one=False, known=False)


def _truth(code: Code, answer: str, call: str) -> None:
    code.use("medalist.records", answer, "Sample")
    docs = "Return the truth of a training sample. Raises DataError, which names what cannot be read."
    code.functions.append(f'def truth(data: Path, sample: Sample) -> {answer}:\n    """{docs}"""\n    return {call}')
    code.set("read", "read")
    code.set("truth", "truth")


def _reading(truth: Codes | ClassCodes) -> str:
    return "".join(f", {word}" for word in _order_words(truth.order, truth.base))


def _order_words(order: str, base: int) -> list[str]:
    return [f'order="{order}"'] * (order != "column") + [f"base={base}"] * (base != 1)


def _metric_of(code: Code, one: bool) -> None:
    if one:
        code.use("medalist.metrics.masks", "mean_dice")
        code.set("score", "mean_dice", f"{_METRIC} mean_dice, global_dice or mean_precision_over_iou of "
                 "medalist.metrics.masks.")  # fmt: skip
    else:
        code.use("medalist.metrics.instances", "nuclei_map")
        code.set("score", "nuclei_map", f"{_METRIC} nuclei_map or f_beta_over_iou(2) of medalist.metrics.instances.")


def _rle_format(code: Code, finding: Finding, truth: Codes, one: bool, known: bool = True) -> None:
    """Write the format of run-length codes. known: whether the order of the codes is known from the truths."""
    code.use("medalist.formats.rle", "RleFormat")
    asked = finding.asked
    if asked is not None and len(asked.table.columns) != 2:
        asked = None
    columns, empty, note = truth.columns, truth.empty, _FORM
    if asked is not None:
        columns, note = (asked.id_column, asked.table.others(asked.id_column)[0]), "" if known else _ORDER
        empty = _empty(asked, columns[1], truth.empty)
    words = [texts(columns), *_order_words(truth.order, truth.base)]
    words += [f"empty={text(empty)}"] * bool(empty)
    words += ['row_per="image"'] * one
    code.set("submission", f"RleFormat({', '.join(words)})", note)
    sample_field(code, asked)
    if one and any("CLASSES" in block for block in code.constants):
        code.set("classes", "CLASSES")


def _empty(asked: Asked, column: str, otherwise: str) -> str:
    """The cell of an image without anything in the sample submission; the truths' own where it does not say."""
    cells = Counter(cell for cell in asked.table.cells(column) if cell.strip().lower() in EMPTY_LIKE[:-2])
    return cells.most_common(1)[0][0] if cells else otherwise
