"""Measure how much of the project a command needs: imported files and lines of `medalist`, and its seconds.

python benchmarks/reach.py                     the imports of train, score and board
python benchmarks/reach.py --runs DIR [--run RUN --config FILE --data DIR]    and the seconds of commands that do little

Imports are counted in new processes after the modules of the command are imported: `training.train` and the kind's
`training`, or `workflows.score` and the kind's `answering`. Files without a line of code (a package's `__init__`) do
not count. Each command is timed seven times in processes of its own; the commands take turns. The medians are printed.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SUBJECTS = {
    "train (segment)": (
        "medalist.training.train",
        "medalist.tasks.segment.training",
        "medalist.tasks.segment.settings",
    ),
    "score (segment)": (
        "medalist.workflows.score",
        "medalist.tasks.segment.answering",
        "medalist.tasks.segment.settings",
    ),
    "train (classify)": (
        "medalist.training.train",
        "medalist.tasks.classify.training",
        "medalist.tasks.classify.settings",
    ),
    "train (embed)": ("medalist.training.train", "medalist.tasks.embed.training", "medalist.tasks.embed.settings"),
    "board": ("medalist.workflows.board",),
}
WANTED = {"train (segment)": (60, 8500), "score (segment)": (30, 4500)}
TURNS = 7


def reached(modules: tuple[str, ...]) -> list[Path]:
    """Return the files of `medalist` that a new process has imported after it has imported these modules."""
    code = (
        f"import importlib, json, sys\n[importlib.import_module(name) for name in {modules!r}]\n"
        "print(json.dumps([sys.modules[name].__file__ for name in sys.modules if name.startswith('medalist')]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    paths = [Path(name) for name in json.loads(ended.stdout) if name.endswith(".py")]
    return [path for path in paths if len(ast.parse(path.read_text()).body) > 1]


def seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "medalist", *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", help="a folder of runs, for the board")
    parser.add_argument("--run", help="a trained run, to be scored")
    parser.add_argument("--config", help="its config, whose training has nothing left to do")
    parser.add_argument("--data", help="its contest's folder")
    options = parser.parse_args()
    for name, modules in SUBJECTS.items():
        files = reached(modules)
        lines = sum(path.read_text().count("\n") for path in files)
        most = WANTED.get(name)
        wanted = f"   (wanted: at most {most[0]} files, {most[1]:,} lines)" if most else ""
        print(f"{name:18} {len(files):4} files {lines:6,} lines{wanted}")
    commands: dict[str, list[str]] = {}
    if options.runs:
        first = ["--runs", options.runs]
        commands["board"] = [*first, "board"]
        if options.run and options.config and options.data:
            name = ["--name", options.run.rpartition("/")[2]]
            commands["train, nothing to do"] = [*first, "train", options.config, "--data", options.data, *name]
            commands["score"] = [*first, "score", options.run, "--data", options.data]
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, words in commands.items():
            taken[name].append(seconds(words))
    for name, found in taken.items():
        print(f"{name:22} {median(found):.2f} s")


if __name__ == "__main__":
    main()
