"""The versions that made a run: the commit of the project, and those of the installed packages."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path

NAME, VERSION = re.compile(r"^Name:[ \t]*(\S+)", re.MULTILINE), re.compile(r"^Version:[ \t]*(\S+)", re.MULTILINE)


def commit() -> str:
    """Return the project's git commit, with `+` where tracked files differ from it; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def packages() -> dict[str, str]:
    """Return the version of every installed distribution by its name, sorted by name."""
    named = (_named(dist) for dist in distributions())
    return dict(sorted(dict(pair for pair in named if pair).items()))


def canonical(name: str) -> str:
    """Return the normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(dist: Distribution) -> tuple[str, str] | None:
    """Return the name and version of a distribution; None for a broken one, which lacks them.

    Only the headers are read, because the library parses the whole description for each of the two, which takes a third
    of a second for two hundred packages.
    """
    # As the library, which has the last of the three for old packages that are one file.
    head = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or dist.read_text("") or "").partition("\n\n")[0]
    name, version = NAME.search(head), VERSION.search(head)
    return (name[1], version[1]) if name and version else None
