"""The source files that a result depends on: those that read, predict, decide and score, and the contest's folder.

Their hashes are kept with what they made, so that a result of other code is recognised. Names are `medalist/...` and
`competitions/...`, with slashes.

Of Python files in the contest's folder there is a second hash, of their code without comments, docstrings and layout,
so a change of these does not count. In medalist's own files it counts: to leave it out, each command would have to read
the tokens of all files.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from medalist.competition import source_folder
from medalist.contents import hash_bytes
from medalist.errors import MedalistError
from medalist.files import read_json
from medalist.runs.runs import Run

READING = (
    "codecs",
    "layouts",
    "data/items.py",
    "data/padding.py",
    "data/windows.py",
    "data/fitting.py",
    "data/preparing.py",
    "data/placing.py",
    "tasks/pixels.py",
    "records.py",
    "reading.py",
)
"""What in medalist turns files into the pixels and the truth that networks see."""

PREDICTING = (
    *READING,
    "data/fitted.py",
    "data/dataset.py",
    "data/contrast.py",
    "data/tiling.py",
    "models",
    "engine/views.py",
    "engine/view_settings.py",
    "tasks/networks.py",
)
"""What turns images into predictions; the kind's own folder belongs to it too."""

SCORING = ("layouts", "formats", "metrics", "postprocess", "retrieval", "contest.py", "tasks/scored.py", "records.py")
"""What turns predictions into answers and their score; the kind's own folder belongs to it too."""

UNUSED = frozenset(
    {
        "cost",
        "deploying",
        "page",
        "report",
        "query_pictures",
        "training",
        "predictor",
        "rehearsal",
        "losses",
        "view_trial",
        "exporting",
    }
)
"""Modules and folders of a kind that neither predict nor decide."""

IGNORED = frozenset({"__pycache__", "tests", "README.md"})
"""What in a contest's folder is no part of its code."""

LEFTOVER = re.compile(r"\..*|#.*#|.*(~|\.(bak|orig|rej|tmp|swp|pyc|md|ipynb)|submission.*\.csv)")
"""Names that editors, git, notebooks and `medalist submit` leave beside code."""

SHOWN = 3
LARGEST = 1_000_000
"""Bytes of the largest file of a contest's folder that counts as its code; larger ones are data."""

Sources = Mapping[str, str]
"""The hash of each source file, by name; of Python files in a contest's folder two hashes with a blank between them."""

_LAYOUT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER})
_F_BEGIN, _F_END = (getattr(tokenize, f"FSTRING_{name}", -1) for name in ("START", "END"))
_BEGIN = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})


def reading_sources(competition: str) -> dict[str, str]:
    """Return the sources that make the pixels and truths of a contest."""
    return {**_own(READING), **_contest(competition)}


def predicting_sources(competition: str, kind: str) -> dict[str, str]:
    """Return the sources that make predictions. kind: the name of the folder of the kind of contest."""
    return {**_own((*PREDICTING, f"tasks/{kind}")), **_contest(competition)}


def scoring_sources(competition: str, kind: str) -> dict[str, str]:
    """Return the sources that decide and score."""
    return {**_own((*SCORING, f"tasks/{kind}")), **_contest(competition)}


def changed(recorded: Sources, now: Sources) -> list[str]:
    """Return the names of files that differ, are new or are gone; none where no sources were recorded.

    A file is the same where one of its hashes is.
    """
    if not isinstance(recorded, dict) or not recorded:
        return []
    return sorted(
        name
        for name in recorded.keys() | now.keys()
        if not set(str(recorded.get(name, "")).split()) & set(now.get(name, "").split())
    )


def shown(names: Sequence[str]) -> str:
    """Return the first names as text for one line, and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def stored_parts(run: Run, split: str) -> dict[str, Sources]:
    """Return the recorded sources of each stored part of `oof` or `test`, by its path in the run without suffix.

    They are empty for parts that were stored before sources were recorded.
    """
    found: dict[str, Sources] = {}
    for path in sorted((run.folder / split).glob("*.json")):
        try:
            value: Any = read_json(path)
        except MedalistError:
            continue  # whoever uses the part names the damage
        recorded = value.get("sources") if isinstance(value, dict) else None
        found[f"{split}/{path.stem}"] = recorded if isinstance(recorded, dict) else {}
    return found


def stale_parts(run: Run, split: str, now: Sources) -> dict[str, list[str]]:
    """Return the parts of `oof` or `test` that other sources have predicted, with the files that differ."""
    parts = {name: changed(recorded, now) for name, recorded in stored_parts(run, split).items()}
    return {name: files for name, files in parts.items() if files}


@cache
def _own(places: tuple[str, ...]) -> dict[str, str]:
    """Return the hashes of files of medalist. A process reads them once, because it does not load them again either."""
    home = Path(__file__).resolve().parent.parent
    found = {}
    for place in places:
        path = home / place
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []
        for file in files:
            parts = file.relative_to(home).parts
            # tasks/KIND/...: the modules for training, reports and plans are left out
            if not (parts[0] == "tasks" and len(parts) > 2 and {*parts[2:-1], file.stem} & UNUSED):
                found["/".join(("medalist", *parts))] = hash_bytes(file.read_bytes())
    return found


def _contest(competition: str) -> dict[str, str]:
    folder = source_folder(competition)
    if folder is None:
        return {}
    beside = [path for path in folder.parent.glob("*.py") if path.is_file() and path.name != "conftest.py"]
    return {
        "/".join(("competitions", *path.relative_to(folder.parent).parts)): _hashes(path)
        for path in (*_files(folder), *sorted(beside))
    }


def _hashes(path: Path) -> str:
    """Return the hash of a file's bytes, and after a blank that of its code, where it is Python."""
    data = path.read_bytes()
    code = code_tokens(data) if path.suffix == ".py" else None
    return hash_bytes(data) if code is None else f"{hash_bytes(data)} {hash_bytes(code)}"


def code_tokens(data: bytes) -> bytes | None:
    """Return the tokens of Python code without comments, docstrings, blank lines and the width of indents.

    None where the code uses docstrings, or cannot be read.
    """
    if b"__doc__" in data:
        return None
    try:
        tokens = [one for one in tokenize.tokenize(io.BytesIO(data).readline) if one.type not in _LAYOUT]
    except (tokenize.TokenError, SyntaxError, UnicodeError):
        return None
    kept: list[str] = []
    docstring = -2  # the place of the last one
    inside = 0  # blanks count in an f-string, which is several tokens since Python 3.12: f"{x = }" prints them
    for at, one in enumerate(tokens):
        is_line = at + 1 == len(tokens) or tokens[at + 1].type == tokenize.NEWLINE
        if one.type == tokenize.STRING and is_line and (at == 0 or tokens[at - 1].type in _BEGIN):
            docstring = at
            continue
        if docstring == at - 1 and one.type == tokenize.NEWLINE:
            continue  # the docstring's own
        before = tokens[at - 1].end if inside else one.start
        inside += (one.type == _F_BEGIN) - (one.type == _F_END)
        text = tokenize.tok_name[one.type] if one.type in _BEGIN else one.string
        kept.append(f"{one.type in _BEGIN:d} {one.start[0] - before[0]} {one.start[1] - before[1]} {text}")
    return "\0".join(kept).encode("utf-8", "surrogatepass")


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a contest's code. A linked folder counts where it is a package; others hold data or loop."""
    for path in sorted(folder.iterdir()):
        if path.name in IGNORED or LEFTOVER.fullmatch(path.name):
            continue
        if path.is_dir():
            is_above = path.is_symlink() and path.resolve() in (folder.resolve(), *folder.resolve().parents)
            if not path.is_symlink() or ((path / "__init__.py").is_file() and not is_above):
                yield from _files(path)
        elif path.is_file() and path.stat().st_size <= LARGEST:
            yield path
