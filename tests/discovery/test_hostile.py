"""Names in a download may be hostile: the written code is valid, reads them back, and runs nothing of them."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest
from corpus.layout import blank, ids, rng_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalist.competition import load_competition
from medalist.discovery.choose import Answers
from medalist.discovery.code import comment, constant, text
from medalist.discovery.writing import code_of, readme_of
from medalist.errors import DataError, MedalistError
from medalist.reporter import SilentReporter
from medalist.workflows.new import checked, create, propose

EVIL = ('a"b', "a'b", 'x"); raise SystemExit(1) #', "{name}", "\\", '"""', "a\\nb", "ä😀", "#", "%s")


@given(st.text(min_size=1))
def test_a_text_is_one_literal(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert ast.literal_eval(text(value)) == value


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=40))
def test_a_constant_is_a_tuple(values: list[str]) -> None:
    (assigned,) = ast.parse(constant("NAMES", [text(value) for value in values])).body
    assert isinstance(assigned, ast.Assign) and ast.literal_eval(assigned.value) == tuple(values)


@given(st.text())
def test_a_comment_is_only_a_comment(value: str) -> None:
    assert ast.parse("\n".join(comment(f"CHOOSE {value}", "    "))).body == []


def test_classes_columns_and_folders_with_signs_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "competitions").mkdir()
    data, rng, folder = tmp_path / "data'\"{}", rng_of("evil"), "train {x}\"'#"
    names = ids("evil", 2 * len(EVIL))
    blank(data, folder, names, ".png", rng)
    with (data / "train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(['the "id"\n#', 'class {0}"'])
        rows.writerows((name, EVIL[k % len(EVIL)]) for k, name in enumerate(names))
    proposal = propose("evil", data, Answers())
    create(proposal)
    assert proposal.finding.kind == "label"
    list(checked(proposal, tmp_path / "runs", SilentReporter()))
    split = load_competition("evil", tmp_path / "competitions").read(data)
    assert [sample.annotation[0] for sample in split.train] == [EVIL[k % len(EVIL)] for k in range(len(names))]
    ast.parse((proposal.places.folder / "tests" / "test_evil.py").read_text(encoding="utf-8"))
    evidence = readme_of("evil", proposal.finding, proposal.shapes).partition("## Evidence")[2]
    assert all(line.startswith("- ") for line in evidence.partition("\n## ")[0].splitlines() if line)
    assert code_of("evil", proposal.finding).count("\nCOMPETITION = ") == 1


def test_classes_that_no_format_takes_are_refused(tmp_path: Path) -> None:
    blank(tmp_path, "train", ["a", "b"], ".png", rng_of("odd"))
    (tmp_path / "train.csv").write_text("id,label\na,\u202eabc\nb,x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"the class '\\u202eabc' is empty, has white space"):
        propose("odd", tmp_path, Answers())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(cells=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(st.characters(codec="utf-8"))), max_size=12))
def test_any_table_is_read_or_refused_in_one_line(cells: list[tuple[str, str]], tmp_path: Path) -> None:
    data = tmp_path / "data"
    if not data.exists():
        blank(data, "train", list("abcdefgh"), ".png", rng_of("any"))
    with (data / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "value"), *cells])
    try:
        finding = propose("any", data, Answers()).finding
    except MedalistError as error:
        assert "\n" not in str(error)
    else:
        ast.parse(code_of("any", finding))
