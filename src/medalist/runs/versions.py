"""The versions that made a run: the commit of the project, and those of the installed packages."""

from __future__ import annotations

import subprocess
from importlib.metadata import distributions
from pathlib import Path


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
    found = {dist.name: dist.version for dist in distributions() if dist.name}  # a broken distribution has no name
    return dict(sorted(found.items()))
