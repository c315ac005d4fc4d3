"""What surrounds a result beside the project's own files: commit, Python, packages and machine. Torch-free.

They are recorded with each submission, so that a replay that differs can name a version or a machine as the cause.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from medalist.runs.versions import canonical, commit, packages

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the driver of NVIDIA names its GPUs; other systems name none without torch."""

SHOWN = 4


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of a result. packages: version by name. machine: what may change the last digits, in words."""

    commit: str
    python: str
    packages: Mapping[str, str]
    machine: Mapping[str, str]


def surroundings() -> Surroundings:
    """Return the surroundings of this process."""
    return Surroundings(commit(), sys.version.split()[0], packages(), machine_facts())


def machine_facts() -> dict[str, str]:
    """Return system, processor, GPUs and the number of threads. The build of torch stands in its version (`+cu124`)."""
    # Not every system can say which processors this process may use.
    allowed = getattr(os, "sched_getaffinity", None)
    count = len(allowed(0)) if allowed is not None else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "system": platform.platform(),
        "processor": processor(),
        "GPUs": _gpus(),
        "threads": f"{count}{f', OMP_NUM_THREADS={limit}' if limit else ''}",
    }


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gpus() -> str:
    names: list[str] = []
    try:
        for path in sorted(GPUS.glob("*/information")):
            found = re.search(r"^Model:\s*(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
            names.append(found[1].strip() if found else "unknown")
    except OSError:
        return "unknown"
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"


def version_changes(was: Surroundings, now: Surroundings) -> list[str]:
    """Return a text for Python and each package of another version, such as `numpy 1.26.4 -> 2.1.0`.

    Packages that medalist itself asks for come first, because they are the likely causes. Packages that were added
    since are left out: they change nothing where the others are the same.
    """
    before = {canonical(name): (name, version) for name, version in was.packages.items()}
    here = {canonical(name): version for name, version in now.packages.items()}
    changed = [key for key, (_, version) in before.items() if here.get(key) != version and key != "medalist"]
    asked = _asked()
    changed.sort(key=lambda key: (key not in asked, key))
    python = [] if was.python == now.python else [f"Python {was.python} -> {now.python}"]
    told = (f"{before[key][0]} {before[key][1]} -> {here.get(key, 'not installed')}" for key in changed)
    return [*python, *told]


def machine_changes(was: Surroundings, now: Surroundings) -> list[str]:
    """Return a text for each property of the machine that differs."""
    names = sorted(was.machine.keys() | now.machine.keys())
    pairs = [(name, was.machine.get(name, "unknown"), now.machine.get(name, "unknown")) for name in names]
    return [f"{name} {before} -> {after}" for name, before, after in pairs if before != after]


def listed(changes: list[str]) -> str:
    """Return the first changes as text, and the number of the others."""
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return ", ".join(changes[:SHOWN]) + more


def _asked() -> set[str]:
    """Return the normalised names of the packages that medalist asks for, without those of its extras."""
    try:
        wanted = requires("medalist") or []
    except PackageNotFoundError:
        return set()
    used = (one for one in wanted if "extra ==" not in one)
    return {canonical(re.split(r"[^\w.-]", one, maxsplit=1)[0]) for one in used}
