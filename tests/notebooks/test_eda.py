"""The notebook runs for any contest by name, holds no logic and no outputs."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NOTEBOOK = PROJECT / "notebooks" / "eda.ipynb"

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'medalist[notebooks]'")


def code_cells():
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


def parsed(cell) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))


def test_outputs_are_stripped():
    for cell in code_cells():
        assert cell.outputs == []
        assert cell.execution_count is None


def test_cells_hold_no_logic():
    logic = (
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Lambda,
        ast.For,
        ast.While,
        ast.Try,
        ast.comprehension,
    )
    for cell in code_cells():
        found = [type(node).__name__ for node in ast.walk(parsed(cell)) if isinstance(node, logic)]
        assert not found, f"{found} in: {cell.source}"
        statements = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.stmt)]
        assert len(statements) <= 6, cell.source


def test_it_names_no_contest():
    text = NOTEBOOK.read_text()
    for folder in (PROJECT / "competitions").glob("*/__init__.py"):
        assert folder.parent.name not in text


def test_it_imports_what_is_there_and_no_torch():
    nodes = [node for cell in code_cells() for node in ast.walk(parsed(cell))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    assert len(imports) >= 5
    lines = "\n".join(ast.unparse(node) for node in imports)
    code = f"{lines}\nimport sys\nassert 'torch' not in sys.modules, 'torch was imported'"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(importlib.util.find_spec("ipykernel") is None, reason="ipykernel is not installed")
@pytest.mark.filterwarnings("default")  # warnings of the notebook machinery are not ours
def test_it_runs_on_the_toy_contest_without_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    from medalist.competition import load_competition

    toy = load_competition("toy_nuclei", PROJECT / "competitions")
    assert toy.draw is not None
    toy.draw(tmp_path / "toy", 0)
    monkeypatch.setenv("MEDALIST_EDA_COMPETITION", "toy_nuclei")
    monkeypatch.setenv("MEDALIST_EDA_DATA", str(tmp_path / "toy"))
    monkeypatch.delenv("MEDALIST_EDA_RUN", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(PROJECT)}}
    ).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 4  # modalities, objects, areas, targets
    assert kinds.count("text/html") == 6  # six tables
    texts = "".join(output.get("text", "") for output in outputs)
    assert "toy_nuclei:" in texts
    assert "no run: set MEDALIST_EDA_RUN" in texts
    assert "Warning" not in texts
