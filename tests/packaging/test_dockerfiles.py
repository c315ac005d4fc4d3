"""The Dockerfiles keep the rules of hadolint, and copy only what is there. No engine is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dockerfiles import faults, instructions

PROJECT = Path(__file__).parent.parent.parent
FILES = sorted((PROJECT / "docker").glob("*.Dockerfile"))
PINNED = frozenset(
    line.split("==")[0].lower().replace("_", "-")
    for line in (PROJECT / "constraints.txt").read_text().splitlines()
    if "==" in line
)
GOOD = """\
FROM python:3.11.14-slim-bookworm
USER 10001
HEALTHCHECK CMD ["true"]
CMD ["true"]
"""


def test_there_are_two() -> None:
    assert [path.name for path in FILES] == ["deploy.Dockerfile", "train.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_rule_is_broken(path: Path) -> None:
    assert faults(path.read_text(), PINNED) == []


def test_a_small_good_file_breaks_no_rule() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("python:3.11.14-slim-bookworm", "python", "DL3006"),
        ("python:3.11.14-slim-bookworm", "python:latest", "DL3007"),
        ("python:3.11.14-slim-bookworm", "python:3.11-slim", "M0002"),
        ("USER 10001", "USER root", "DL3002"),
        ("USER 10001", "USER 10001\nUSER 0:0", "DL3002"),
        ("USER 10001", "", "DL3002"),
        ('HEALTHCHECK CMD ["true"]', "", "DL3057"),
        ('HEALTHCHECK CMD ["true"]', "HEALTHCHECK CMD true", "DL3025"),
        ('\nCMD ["true"]', "\nCMD true", "DL3025"),
        ("USER", "ADD x /x\nUSER", "DL3020"),
        ("USER", "COPY x y\nUSER", "DL3045"),
        ("USER", "COPY --from=other /x /y\nUSER", "DL3022"),
        ("USER", "WORKDIR x\nUSER", "DL3000"),
        ("USER", "ENV KAGGLE_API_TOKEN=x\nUSER", "M0003"),
        ("USER", "ARG PASSWORD\nUSER", "M0003"),
        ("USER", "COPY kaggle.json /x\nUSER", "M0003"),
        ("USER", "RUN cd /x && ls\nUSER", "DL3003"),
        ("USER", "RUN sudo ls\nUSER", "DL3004"),
        ("USER", "RUN ls | sort\nUSER", "DL4006"),
        ("USER", "RUN apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*\nUSER", "DL3008"),
        ("USER", "RUN apt-get install -y --no-install-recommends g++=4\nUSER", "DL3009"),
        ("USER", "RUN apt-get install --no-install-recommends g++=4 && rm -rf /var/lib/apt/lists/*\nUSER", "DL3014"),
        ("USER", "RUN apt-get install -y g++=4 && rm -rf /var/lib/apt/lists/*\nUSER", "DL3015"),
        ("USER", "RUN apt-get upgrade\nUSER", "DL3005"),
        ("USER", "RUN pip install --no-cache-dir numpy\nUSER", "DL3013"),
        ("USER", "RUN pip install --no-cache-dir -c constraints.txt nothing-known\nUSER", "DL3013"),
        ("USER", "RUN pip install --no-cache-dir .\nUSER", "DL3013"),
        ("USER", "RUN pip install numpy==2.4.6\nUSER", "DL3042"),
        ("USER", "RUN python -m \\\n# a comment\n  pip install numpy==2.4.6\nUSER", "DL3042"),
        ("USER", "FORM x\nUSER", "M0001"),
    ],
)
def test_each_rule_finds_its_fault(old: str, new: str, code: str) -> None:
    assert old in GOOD
    assert code in faults(GOOD.replace(old, new, 1), frozenset({"numpy"}))


def test_only_what_a_build_reads_is_sent_to_the_engine() -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert all((PROJECT / name).exists() for name in kept)
    assert {"pyproject.toml", "constraints.txt", "CMakeLists.txt", "src", "README.md", "LICENSE"} <= set(kept)
    read = set(re.findall(r'"([\w.]+)"', (PROJECT / "pyproject.toml").read_text().split("[tool.scikit-build.wheel")[1]))
    assert {"competitions", "configs"} <= read and {"competitions", "configs"} <= set(kept)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_versions_are_those_of_the_project(path: Path) -> None:
    found = instructions(path.read_text())
    images = {one.rest.split()[0] for one in found if one.name == "FROM"}
    assert len(images) == 1  # what is built with one Python runs with the same
    (image,) = images
    least = re.search(r'requires-python = ">=(3\.\d+)"', (PROJECT / "pyproject.toml").read_text())
    assert least is not None and image.startswith(f"python:{least[1]}.")
