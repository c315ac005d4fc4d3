"""Read a Dockerfile and check it by the rules of hadolint that matter here, and by some of our own.

There is no engine and no hadolint in the tests. The codes are hadolint's (https://github.com/hadolint/hadolint#rules);
those that begin with M are ours.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

KNOWN = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
]

SECRETS = re.compile(r"(token|passw|secret|api_?key|credential|private_?key)", re.IGNORECASE)


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals and the rest, with continued lines joined."""

    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile. Comments are left out, also between continued lines."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    found = []
    for line in joined.split("\n"):
        name, _, rest = line.strip().partition(" ")
        found.append(Instruction(name, " ".join(rest.split())))
    return found


def faults(text: str, pinned: frozenset[str] = frozenset()) -> list[str]:
    """Return the codes of the broken rules, each once, sorted. pinned: the packages that constraints.txt has."""
    found = instructions(text)
    return sorted({*_of_file(found), *(code for one in found for code in _of_one(one, pinned))})


def _of_file(found: list[Instruction]) -> Iterator[str]:
    names = [one.name for one in found]
    if not names or names[0] not in ("FROM", "ARG"):
        yield "DL3061"  # begins with FROM or ARG
    if any(name not in KNOWN for name in names):
        yield "M0001"  # no instruction at all, or not in capitals
    last = found[max((at for at, name in enumerate(names) if name == "FROM"), default=0) :]
    users = [one.rest for one in last if one.name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        yield "DL3002"  # the last user is not root
    checks = [one for one in last if one.name == "HEALTHCHECK"]
    if not checks:
        yield "DL3057"
    for name, code in (("CMD", "DL4003"), ("ENTRYPOINT", "DL4004"), ("HEALTHCHECK", "DL3012")):
        if sum(one.name == name for one in last) > 1:
            yield code
    stages = [one.rest.split(" AS ")[1] for one in found if one.name == "FROM" and " AS " in one.rest]
    if len(stages) != len(set(stages)):
        yield "DL3024"
    for one in found:
        source = re.search(r"--from=(\S+)", one.rest)
        if one.name == "COPY" and source and source[1] not in stages:
            yield "DL3022"
    workdir = False
    for one in found:
        workdir = one.name == "WORKDIR" or (workdir and one.name != "FROM")
        target = one.rest.split()[-1] if one.rest else ""
        if one.name == "COPY" and not workdir and not target.startswith("/"):
            yield "DL3045"
    piped = any(one.name == "SHELL" and "pipefail" in one.rest for one in found)
    if any(one.name == "RUN" and re.search(r"[^|]\|[^|]", one.rest) for one in found) and not piped:
        yield "DL4006"


def _of_one(one: Instruction, pinned: frozenset[str]) -> Iterator[str]:
    rest = one.rest
    match one.name:
        case "FROM":
            image = rest.split()[0]
            if ":" not in image and "@" not in image:
                yield "DL3006"
            if image.endswith(":latest"):
                yield "DL3007"
            if not re.search(r":\d+\.\d+\.\d+|@sha256:[0-9a-f]{64}$", image):
                yield "M0002"  # pinned to a whole version
        case "MAINTAINER":
            yield "DL4000"
        case "ADD":
            yield "DL3020"
        case "WORKDIR" if not rest.startswith("/"):
            yield "DL3000"
        case "CMD" | "ENTRYPOINT" if not _is_list(rest):
            yield "DL3025"
        case "HEALTHCHECK" if not _is_list(rest.partition("CMD ")[2]):
            yield "DL3025"
        case "ENV" | "ARG" if SECRETS.search(rest):
            yield "M0003"  # no secrets
        case "COPY" if SECRETS.search(rest) or "kaggle.json" in rest or ".env" in rest:
            yield "M0003"
        case "RUN":
            yield from _of_run(rest, pinned)


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _of_run(rest: str, pinned: frozenset[str]) -> Iterator[str]:
    if SECRETS.search(rest):
        yield "M0003"
    for command in re.split(r"\s*(?:&&|;|\|\|?)\s*", rest):
        words = shlex.split(command)
        if not words:
            continue
        if words[0] == "sudo":
            yield "DL3004"
        if words[0] == "cd":
            yield "DL3003"
        if words[0] in ("apt-get", "apt"):
            yield from _of_apt(words, rest)
        pip = words[0].rsplit("/", 1)[-1] in ("pip", "pip3") or words[1:3] == ["-m", "pip"]
        if pip and ("install" in words or "wheel" in words):
            yield from _of_pip(words, pinned)


def _of_apt(words: list[str], rest: str) -> Iterator[str]:
    if words[0] == "apt":
        yield "DL3027"
    if {"upgrade", "dist-upgrade"} & set(words):
        yield "DL3005"
    if "install" in words:
        names = [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]
        if any("=" not in name for name in names):
            yield "DL3008"
        if "--no-install-recommends" not in words:
            yield "DL3015"
        if not {"-y", "--yes", "-qy"} & set(words):
            yield "DL3014"
        if "rm -rf /var/lib/apt/lists/*" not in rest:
            yield "DL3009"


def _of_pip(words: list[str], pinned: frozenset[str]) -> Iterator[str]:
    if "--no-cache-dir" not in words:
        yield "DL3042"
    start = words.index("install" if "install" in words else "wheel") + 1
    constrained, names, skip = False, [], False
    for word in words[start:]:
        if skip:
            skip = False
        elif word in ("-c", "--constraint", "-r", "--requirement"):
            constrained = skip = True
        elif word in ("-w", "--wheel-dir"):
            skip = True
        elif not word.startswith("-"):
            names.append(word)
    for name in names:
        own = name.startswith((".", "/"))
        plain = re.split(r"[\[<>=!~ ]", name)[0].lower().replace("_", "-")
        if not own and "==" not in name and not (constrained and plain in pinned):
            yield "DL3013"
        if own and not constrained and "--no-deps" not in words:
            yield "DL3013"
