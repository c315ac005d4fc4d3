"""The code of contests of labels and of identities."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.discovery.code import CHOOSE, Code, constant, finder, listing, path, sample_field, text, texts
from medalist.discovery.finding import (
    Asked,
    ClassColumns,
    ClassFolders,
    ClassNames,
    Finding,
    Identities,
    LabelColumn,
)
from medalist.discovery.tables import as_numbers

_METRIC = f"{CHOOSE} the metric, which the files do not say:"
_FORM = f"{CHOOSE} the form of the submission: no sample submission says it."


def write_label_column(code: Code, finding: Finding, truth: LabelColumn) -> None:
    """Write the code of a contest with the labels in one cell of a csv."""
    _classes(code, truth.classes)
    code.use("medalist.layouts.label_tables", "labelled")
    words = [path(truth.file), text(truth.id_column), finder(finding.train, "train", code), text(truth.column)]
    words += [f"separator={text(truth.separator or '')}"] * (truth.separator is not None)
    _parted(code, finding, "labelled", [*words, "classes=CLASSES"])
    _labels(code, finding, truth.classes, truth.separator)


def write_class_columns(code: Code, finding: Finding, truth: ClassColumns) -> None:
    """Write the code of a contest with a 0/1 column for each class."""
    _classes(code, truth.classes)
    code.use("medalist.layouts.label_tables", "one_hot_labelled")
    words = [path(truth.file), text(truth.id_column), finder(finding.train, "train", code), "CLASSES"]
    _parted(code, finding, "one_hot_labelled", words + ["exactly_one=True"] * truth.exactly_one)
    separator = "|" if any(" " in name for name in truth.classes) else " "
    _labels(code, finding, truth.classes, None if truth.exactly_one else separator)


def write_class_folders(code: Code, finding: Finding, truth: ClassFolders) -> None:
    """Write the code of a contest with a folder of images for each class."""
    _classes(code, truth.classes)
    code.use("dataclasses", "replace")
    if truth.unique:
        code.read.append(f"    named = layouts.images_in_tree(data, {text(truth.folder)})")
    else:
        code.read += [
            "    named = [",
            '        (f"{label}/{name}", file)',
            f"        for label, folder in layouts.folders_in(data, {text(truth.folder)})",
            '        for name, file in layouts.images_in_folder(folder, ".")',
            "    ]",
        ]
    code.read += [
        "    train = tuple(",
        "        replace(one, annotation=(one.images[0].parent.name,), stratum=one.images[0].parent.name)",
        "        for one in layouts.with_sizes(named)",
        "    )",
    ]
    code.docs = "Read the samples; their label is the name of their folder. DataError names every bad file at once."
    _with_test(code, finding)
    _labels(code, finding, truth.classes, None)


def write_class_names(code: Code, finding: Finding, truth: ClassNames) -> None:
    """Write the code of a contest whose files are called by their class and a number."""
    _classes(code, truth.classes)
    code.use("dataclasses", "replace")
    code.use("medalist.records", "Sample")
    code.functions.append(
        "def _labelled(sample: Sample) -> Sample:\n"
        "    label = next(name for name in CLASSES if sample.id.startswith(name + " + text(truth.sign) + "))\n"
        "    return replace(sample, annotation=(label,), stratum=label)"
    )
    code.read.append(f"    train = tuple(_labelled(one) for one in layouts.with_sizes({listing(finding.train)}))")
    code.docs = "Read the samples; their label is the beginning of their name. DataError names every bad file at once."
    _with_test(code, finding)
    _labels(code, finding, truth.classes, None)


def write_identities(code: Code, finding: Finding, truth: Identities) -> None:
    """Write the code of a contest of identities."""
    code.use("medalist.competition", "Retrieval")
    code.use("medalist.retrieval", "splits")
    code.use("medalist.formats.rankings", "RankingFormat")
    words = [path(truth.file), text(truth.id_column), finder(finding.train, "train", code)]
    balanced = "group" if truth.samples else "stratum"
    words += [f"identity={text(truth.column)}", f"{balanced}={text(truth.column)}"]
    _parted(code, finding, "layouts.listed", words, gallery=truth.samples)
    code.set("read", "read")
    code.set("truth", "splits.identity")
    metric = "gap" if truth.confident else f"map_at({truth.depth})"
    code.use("medalist.metrics.retrieval", metric.partition("(")[0])
    code.set("score", metric, f"{_METRIC} map_at, recall_at, mrr or gap of medalist.metrics.retrieval.")
    asked = _of_two(finding.asked)
    columns = _columns(asked) if asked else (truth.id_column, truth.column)
    confident = ", confident=True" if truth.confident else ""
    empty = ', empty=""' if truth.confident else ""
    form = f"RankingFormat({texts(columns)}, {truth.depth}{confident}{empty})"
    code.set("submission", form, "" if asked else _FORM)
    sample_field(code, asked)
    names, way = ("samples", "leave_one_out") if truth.samples else ("identities", "against_training")
    new = f", new={text(truth.new)}" if truth.new and not truth.samples else ""
    code.set(
        "retrieval",
        f'Retrieval(names="{names}", depth={truth.depth}, splits=splits.{way}{new}{confident})',
        f"{CHOOSE} splits: against_training where test identities are known, with stratum= in `read`; leave_one_out "
        "where they are new, with group= there, so that a fold holds out whole identities.",
    )


# ------------------------------------------------------------------------------------------------- parts


def _classes(code: Code, classes: Sequence[str]) -> None:
    code.constants.append(constant("CLASSES", [text(name) for name in classes]))


def _parted(code: Code, finding: Finding, function: str, words: Sequence[str], gallery: bool = False) -> None:
    """Write the training part as a call, then the test part."""
    group = [f"group={text(finding.group.column)}"] if finding.group else []
    code.read += [f"    train = {function}(", *(f"        {word}," for word in (*words, *group)), "    )"]
    names = [line for line in code.read if line.startswith("    train = dict(")]
    if names:  # the dictionary of images must have another name than the samples
        code.read = [line.replace("    train = dict(", "    images = dict(") for line in code.read]
        code.read = [line.replace("lambda name: train.get(", "lambda name: images.get(") for line in code.read]
    _with_test(code, finding, gallery)


def _with_test(code: Code, finding: Finding, gallery: bool = False) -> None:
    asked = finding.asked
    if finding.test is None:
        code.read.append("    return Split(train=train, test=())")
        return
    if asked is not None and asked.match is not None and not asked.match.joiner:
        words = f"{path(asked.table.file)}, {text(asked.id_column)}, {finder(finding.test, 'test_images', code)}"
        code.read.append(f"    test = layouts.listed({words})")
    else:
        code.read.append(f"    test = layouts.with_sizes({listing(finding.test)})")
    asked_all = asked is None or asked.match is None or asked.match.of == len(finding.test.ids)
    if gallery and not asked_all:
        code.read += [
            "    queries = {sample.id for sample in test}",
            f"    others = [one for one in {listing(finding.test)} if one[0] not in queries]",
            "    return layouts.parted(train, test, layouts.with_sizes(others))",
        ]
    elif gallery:
        code.read.append("    return Split(train=train, test=test, gallery=test)")
    else:
        code.read.append("    return layouts.parted(train, test)")


def _labels(code: Code, finding: Finding, classes: tuple[str, ...], separator: str | None) -> None:
    """Write the fields of the Competition of labels, with the format that the sample submission shows."""
    code.set("read", "read")
    asked = finding.asked
    several = separator is not None
    form = _probability_form(asked, classes, several)
    if form:
        code.use("medalist.formats.probabilities", "ProbabilityFormat")
        code.use("medalist.layouts.label_tables", "certain_truth")
        code.set("truth", "certain_truth(CLASSES)")
        metric = "roc_auc" if several else "log_loss"
        code.use("medalist.metrics.labels", metric)
        code.set("score", f"{metric}(CLASSES)", f"{_METRIC} log_loss, mean_column_log_loss, roc_auc or "
                 "average_precision of medalist.metrics.labels.")  # fmt: skip
        doubt = f"{CHOOSE} positive=: the class whose probability is asked for."
        code.set("submission", form, doubt if "positive=" in form and classes != ("0", "1") else "")
        sample_field(code, asked)
        return
    code.use("medalist.layouts.label_tables", "label_truth")
    code.set("truth", "label_truth")
    two = _of_two(asked)
    columns = _columns(two) if two else ("id", "label")
    if several:
        metric, others = 'f1(CLASSES, "samples")', "f1 over samples, macro or micro, or f_beta"
        form = f"LabelsFormat({texts(columns)}, classes=CLASSES" + (
            f", separator={text(separator or ' ')})" if separator != " " else ")"
        )
    elif finding.kind == "ordinal":
        metric, others = "quadratic_kappa(CLASSES)", "quadratic_kappa or accuracy"
        form = f"LabelFormat({texts(columns)}, classes=CLASSES)"
    else:
        metric, others = "accuracy", "accuracy, balanced_accuracy or f1"
        form = f"LabelFormat({texts(columns)}, classes=CLASSES)"
    code.use("medalist.metrics.labels", metric.partition("(")[0])
    code.use("medalist.formats.labels", form.partition("(")[0])
    code.set("score", metric, f"{_METRIC} {others} of medalist.metrics.labels.")
    code.set("submission", form, "" if two else _FORM)
    sample_field(code, two)


def _probability_form(asked: Asked | None, classes: tuple[str, ...], several: bool) -> str:
    """The format of probabilities that the sample submission shows; "" where it shows labels."""
    if asked is None:
        return ""
    others = asked.table.others(asked.id_column)
    first = "" if asked.id_column == "id" else text(asked.id_column) + ", "
    if len(others) == len(classes) > 1:
        numbers = [as_numbers([row[name] for name in others]) for row in asked.table.rows[:200]]
        if any(one is None for one in numbers):
            return ""
        one = all(abs(sum(row) - 1) < 1e-3 for row in numbers if row) and not several
        order = "" if tuple(others) == classes else f", class_columns={texts(_in_order(others, classes))}"
        return f"ProbabilityFormat({first}classes=CLASSES{order}{', total=1.0' if one else ''})"
    if len(others) == 1 and len(classes) == 2 and not several:
        numbers = [as_numbers([cell]) for cell in asked.table.cells(others[0])[:200]]
        fractions = all(numbers) and any(not one[0].is_integer() for one in numbers if one)
        if fractions or (all(numbers) and not all(name.isdigit() for name in classes)):
            positive = classes[1]
            column = f", class_columns={texts(others)}"
            return f"ProbabilityFormat({first}classes=CLASSES, positive={text(positive)}{column})"
    return ""


def _in_order(columns: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The columns in the order of the classes: by name where they have the names, else as they stand."""
    return tuple(classes) if set(columns) == set(classes) else tuple(columns)


def _of_two(asked: Asked | None) -> Asked | None:
    return asked if asked is not None and len(asked.table.columns) == 2 else None


def _columns(asked: Asked) -> tuple[str, str]:
    return asked.id_column, asked.table.others(asked.id_column)[0]
