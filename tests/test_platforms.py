"""What macOS and Windows lack is not used at import, nor anywhere that a type checker can see."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "medalist"

IMPORTS = """\
import builtins, importlib, os, pkgutil, signal, sys, types
import medalist

def modules():
    found = (one.name for one in pkgutil.walk_packages(medalist.__path__, 'medalist.'))
    return [name for name in found if not name.endswith('__main__')]

# All at once, as other libraries that this system's branches need come along with them.
for name in modules():
    importlib.import_module(name)
compiled = sys.modules['medalist.search._ann']
for name in [name for name in sys.modules if name.partition('.')[0] == 'medalist']:
    del sys.modules[name]
sys.modules['medalist.search._ann'] = compiled  # it can be loaded once

platform, missing, gone = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
real = builtins.__import__

def without(name, globals=None, *rest):
    asking = (globals or {}).get('__name__') or ''
    if asking.startswith('medalist') and name.partition('.')[0] in missing:
        raise ModuleNotFoundError(f'{asking} imports {name}, which {platform} does not have')
    return real(name, globals, *rest)

builtins.__import__ = without
for place in (os, signal):
    for name in gone:
        if hasattr(place, name):
            delattr(place, name)
if platform == 'win32':
    sys.modules['msvcrt'] = types.ModuleType('msvcrt')
sys.platform = platform
import medalist
found = modules()
for name in found:
    importlib.import_module(name)
from medalist import system
assert system.WINDOWS == (platform == 'win32') and not system.FORKS
print(len(found))
"""

UNIX = "fcntl grp pty pwd resource syslog termios tty"
OF_LINUX = "sched_getaffinity sched_setaffinity memfd_create posix_fadvise fdatasync"
OF_UNIX = f"{OF_LINUX} fork forkpty setsid getuid geteuid getpgid killpg mkfifo chown sysconf pread pwrite uname wait"
SIGNALS = "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGCHLD SIGALRM SIGQUIT alarm setitimer pthread_kill sigwait"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "missing", "gone"),
    [("win32", UNIX, f"{OF_UNIX} {SIGNALS}"), ("darwin", "msvcrt winreg", OF_LINUX)],
    ids=["Windows", "macOS"],
)
def test_every_module_can_be_imported(platform: str, missing: str, gone: str) -> None:
    """With the modules, calls and signals gone that the system does not have."""
    words = [sys.executable, "-W", "ignore", "-c", IMPORTS, platform, missing, gone]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert int(ended.stdout.splitlines()[-1]) > 200


def test_what_only_some_systems_have_is_imported_in_one_module() -> None:
    special = {*UNIX.split(), "msvcrt", "winreg", "_winapi", "posix", "nt"}
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found |= {(path.name, name) for name in names if name.partition(".")[0] in special}
    assert found == {("system.py", name) for name in ("fcntl", "msvcrt", "resource")}
