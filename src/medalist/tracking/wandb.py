"""Logging to wandb: offline and online use the same code, so that both log the same rows. Torch-free.

All rows are handed to wandb's own process. It writes them to a file and, when online, uploads them in the background.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlparse

from medalist.errors import RunError
from medalist.system import offline

if TYPE_CHECKING:
    from wandb import Run

SERVER_SECONDS = 20.0
"""How long the start of a run waits for the server before the run continues offline."""

UPLOAD_SECONDS = 60.0
"""How long the end of a run waits for the upload; rows that are not uploaded by then stay in the files for
`wandb sync`."""

STATS_SECONDS = 5.0
"""Seconds between wandb's own measurements of processors, memory, disk, network and GPUs."""

FLUSH_SECONDS = 1.0
"""Seconds between two writes of the offline file; a killed process loses at most the rows since the last write."""

OLD_SERVER = "https://api.wandb.ai"
"""The former name of the public server; older versions of wandb wrote their keys under this name."""


@contextmanager
def wandb_rows(folder: Path, **what: Any) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Open a run as `wandb_run` does and yield a function that logs one row of figures at its `step`.

    Where wandb's process dies, rows are no longer logged and one warning is given. The training continues.
    """
    wandb = import_wandb()
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

    what: project, group, name, id, config, job_type, as wandb.init takes them. A run with a known id is continued:
    online in the same run, offline in a new folder, which `wandb sync` uploads into the same run. Raises RunError where
    wandb does not start.
    """
    run = _start(dir=folder, resume="allow", **what)
    try:
        yield run
    except BaseException:
        _finish(run, 1)
        raise
    _finish(run, None)


def import_wandb() -> ModuleType:
    """Import wandb. Where MEDALIST_OFFLINE forbids the network, wandb's processes report no errors to its makers.

    They read this from the environment when they start, and wandb's Python part when it is imported.
    """
    if offline():
        os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    return wandb


def forget_superseded(folder: Path, run: Run) -> None:
    """Delete the offline files of earlier runs with the id of this run that no `wandb sync` has uploaded.

    It is for runs that log all again: each new run replaces the one before it.
    """
    own = Path(run.dir).parent
    for path in (folder / "wandb").glob(f"offline-run-*-{run.id}"):
        if path.name != own.name and not any(path.glob("*.synced")):
            shutil.rmtree(path, ignore_errors=True)


def _start(**what: Any) -> Run:
    wandb = import_wandb()
    from wandb.errors import AuthenticationError, CommError

    away = {"x_disable_machine_info": True, "x_disable_viewer": True} if offline() else {}
    settings = wandb.Settings(
        **away,
        silent=True,
        console="off",
        init_timeout=SERVER_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
        x_stats_sampling_interval=STATS_SECONDS,
        x_transaction_log_flush_interval=FLUSH_SECONDS,
    )
    mode, init = _mode(), cast("Callable[..., Run]", wandb.init)
    try:
        try:
            return init(**what, mode=mode, settings=settings)
        except CommError as error:
            if mode != "online" or isinstance(error, AuthenticationError):
                raise
            wandb.teardown()  # because wandb's process still holds the run's id
            return init(**what, mode="offline", settings=settings)
    except wandb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"wandb does not start ({reason}); set WANDB_MODE=offline, or tracking=none") from error


def _finish(run: Run, exit_code: int | None) -> None:
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError  # `finish` raises it where wandb's process has died

    try:
        run.finish(exit_code=exit_code)
    except (wandb.Error, OSError, HandleAbandonedError) as error:
        _warn(error)


def _warn(error: Exception) -> None:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    warnings.warn(f"wandb stopped ({reason}); metrics.jsonl has all rows", RuntimeWarning, stacklevel=2)


def _mode() -> Literal["online", "offline", "disabled"]:
    """Return the mode from WANDB_MODE; where it is not set (or `online`), online only for users who have logged in.

    MEDALIST_OFFLINE counts more than WANDB_MODE=online.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return "disabled"
    if offline():
        return "offline"
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    """Return whether wandb may go online and has a key.

    The key comes from WANDB_API_KEY or from `wandb login`, which writes the netrc file.
    """
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
