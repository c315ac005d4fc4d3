"""The pages agree with the tree: named files exist, size limits are kept, and the example runs."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from medalist.cli.main import run

PROJECT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("src", "competitions", "benchmarks")
    for path in (PROJECT / folder).rglob("*.py")
    if "tests" not in path.relative_to(PROJECT).parts
)
ABOVE = sorted(
    path
    for room in ("cli", "engine", "ensemble", "planning", "report", "runs", "training", "workflows")
    for path in (PROJECT / "src" / "medalist" / room).rglob("*.py")
)
LONGEST_FILE, LONGEST_FUNCTION, LARGEST_COMPETITION = 330, 70, 200
LONGEST_PAGES = {"README.md": 150, "ARCHITECTURE.md": 245}
DOCS = sorted((PROJECT / "docs").rglob("*.md"))
PAGES = [*(PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")), *DOCS]


def test_every_file_that_the_architecture_names_exists() -> None:
    page = (PROJECT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:src|competitions|tests)/[\w./-]+)`", page))
    named |= {f"src/medalist/{name}" for name in re.findall(r"`((?:data|engine|formats|tasks)/[\w./-]+\.py)`", page)}
    walk = page[page.index("## Walk 1") : page.index("## Walk 2")]
    assert len(re.findall(r"`src/[\w/]+\.py`", walk)) >= 15
    assert [name for name in sorted(named - {"src/ann"}) if not (PROJECT / name).exists()] == []


def test_every_room_stands_in_the_list_of_rooms() -> None:
    page = (PROJECT / "ARCHITECTURE.md").read_text()
    block = page[page.index("## Rooms") :].split("```")[1]
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (PROJECT / "src" / "medalist").iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    }
    assert rooms == set(re.findall(r"\b\w+(?:\.py|/)", block))


KINDS = ("segment", "embed", "classify", "detect")


@pytest.mark.parametrize("path", ABOVE, ids=lambda path: str(path.relative_to(PROJECT / "src" / "medalist")))
def test_nothing_above_the_kinds_names_one(path: Path) -> None:
    """No import of a kind, no name of a kind, no check of the type of its settings: `kinds.py` has the only table."""
    name = str(path.relative_to(PROJECT / "src" / "medalist"))
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(module)):
                assert not re.match(rf"medalist\.tasks\.({'|'.join(KINDS)})\b", module), (name, module)
            case ast.Constant(value=str(value)) if value in KINDS:
                raise AssertionError((name, node.lineno, value))
            case ast.Call(func=ast.Name(id="isinstance"), args=[subject, _]):
                assert not ast.unparse(subject).endswith("settings"), (name, node.lineno)
            case ast.MatchClass(cls=kind):
                assert not ast.unparse(kind).endswith("Settings"), (name, ast.unparse(kind))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_of_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text()):
        to = page.parent / target if target else page
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), (target, anchor)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a link to a page may have: its headings, as GitHub writes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_page_of_the_docs_stands_in_the_index() -> None:
    index = PROJECT / "docs" / "README.md"
    named = {index.parent / target for target in re.findall(r"\]\((?!http)([^)#]+)", index.read_text())}
    assert [page for page in DOCS if page not in named | {index}] == []


@pytest.mark.parametrize(("page", "most"), LONGEST_PAGES.items())
def test_pages_keep_their_size(page: str, most: int) -> None:
    assert (PROJECT / page).read_text().count("\n") <= most


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_files_and_functions_keep_their_size(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_competitions_keep_their_size() -> None:
    for folder in (PROJECT / "competitions").iterdir():
        lines = sum(path.read_text().count("\n") for path in folder.glob("*.py"))
        assert lines <= LARGEST_COMPETITION, folder.name


def test_nothing_in_medalist_names_a_competition() -> None:
    names = [path.parent.name for path in (PROJECT / "competitions").glob("*/__init__.py")]
    assert names
    for path in (PROJECT / "src").rglob("*.py"):
        code = path.read_text().replace("configs/toy_nuclei/demo.yaml", "")  # the demo's default config
        # Only as a word in quotes or in a path, because "products" is also a word for results of multiplication.
        assert [name for name in names if re.search(rf"[\"'/]{name}[\"'./]", code)] == [], path


@pytest.mark.data
def test_the_worked_example_of_a_competition_passes_its_check(
    contest_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = contest_data("bsd_pitting")
    page = (PROJECT / "docs" / "competition.md").read_text()
    section = page[page.index("## A worked example") : page.index("## The fields of")]
    code = re.search(r"```python\n(.*?)```", section, re.S)
    config = re.search(r"```yaml\n(.*?)```", section, re.S)
    assert code and config
    for path, text in (("competitions/pits/__init__.py", code[1]), ("configs/pits/unet_lite0.yaml", config[1])):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    shutil.copytree(PROJECT / "configs" / "base", tmp_path / "configs" / "base")
    monkeypatch.chdir(tmp_path)
    assert run(["check", "pits", "--data", str(data)]) == 0
    assert "score 1.000000" in capsys.readouterr().out
    assert run(["folds", "configs/pits/unet_lite0.yaml", "--data", str(data)]) == 0
    assert run(["validate", str(data / "sample_submission.csv"), "--competition", "pits", "--data", str(data)]) == 0
