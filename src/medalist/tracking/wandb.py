"""wandb: one code path for offline and online, so that what is logged is the same. Torch-free.

Everything is handed to wandb's own process, which writes it to a file and, online, sends it in the background.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlparse

from medalist.errors import RunError

if TYPE_CHECKING:
    from wandb import Run

SERVER_SECONDS = 20.0
"""How long a start waits for the server before it goes on offline."""

UPLOAD_SECONDS = 60.0
"""How long an end waits for the rest to be sent; what is not sent then stays in the files for `wandb sync`."""

STATS_SECONDS = 5.0
"""Seconds between wandb's own looks at processors, memory, disk, network and GPUs."""

FLUSH_SECONDS = 1.0
"""What a killed process may lose of the offline file."""

OLD_SERVER = "https://api.wandb.ai"
"""The public server's former name; keys that older versions wrote stand under it."""


@contextmanager
def wandb_rows(folder: Path, **what: Any) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Open a run as `wandb_run` does and give what logs one row of figures at its `step`.

    Where wandb's process dies, rows are no longer logged and a warning says so once: a training does not end for that.
    """
    import wandb

    with wandb_run(folder, **what) as run:
        alive = True

        def write(row: Mapping[str, float]) -> None:
            nonlocal alive
            if not alive:
                return
            try:
                run.log(dict(row), step=int(row["step"]))
            except (wandb.Error, OSError) as error:
                alive = False
                _warn(error)

        yield write


@contextmanager
def wandb_run(folder: Path, **what: Any) -> Iterator[Run]:
    """Start a run with its files under `folder/wandb`, and finish it, as failed after any exception.

    what: project, group, name, id, config, job_type, as wandb.init takes them. A run of the same id goes on: online in
    the same run, offline in another folder, which `wandb sync` sends into the same run. RunError where it does not
    start.
    """
    run = _start(dir=folder, resume="allow", **what)
    try:
        yield run
    except BaseException:
        _finish(run, 1)
        raise
    _finish(run, None)


def _start(**what: Any) -> Run:
    import wandb
    from wandb.errors import AuthenticationError, CommError

    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=SERVER_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
        x_stats_sampling_interval=STATS_SECONDS,
        x_transaction_log_flush_interval=FLUSH_SECONDS,
    )
    mode = _mode()
    try:
        try:
            return wandb.init(**what, mode=mode, settings=settings)
        except CommError as error:
            if mode != "online" or isinstance(error, AuthenticationError):
                raise
            wandb.teardown()  # its process holds on to the run's id
            return wandb.init(**what, mode="offline", settings=settings)
    except wandb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"wandb does not start ({reason}); set WANDB_MODE=offline, or say tracking=none") from error


def _finish(run: Run, exit_code: int | None) -> None:
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError  # what a finish raises where wandb's process is gone

    try:
        run.finish(exit_code=exit_code)
    except (wandb.Error, OSError, HandleAbandonedError) as error:
        _warn(error)


def _warn(error: Exception) -> None:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    warnings.warn(f"wandb stopped ({reason}); metrics.jsonl has all rows", RuntimeWarning, stacklevel=2)


def _mode() -> Literal["online", "offline", "disabled"]:
    """What WANDB_MODE says; where it says nothing (or `online`), online for users who have logged in."""
    if os.environ.get("WANDB_MODE") == "disabled":
        return "disabled"
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    """Whether the user has given wandb a key, by its variable or by `wandb login` (which writes the netrc file)."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    own = os.environ.get("WANDB_BASE_URL")
    servers = [own] if own else [wandb.Settings().base_url, OLD_SERVER]
    try:
        keys = netrc(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):
        return False
    return any(keys.authenticators(urlparse(server).netloc) for server in servers)
