"""Where curves go besides metrics.jsonl."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never
from urllib.parse import urlparse

from medalist.engine.settings import Tracking
from medalist.errors import RunError

if TYPE_CHECKING:
    from wandb import Run

SERVER_SECONDS = 20.0
OLD_SERVER = "https://api.wandb.ai"
"""The public server's former name; keys that older versions wrote stand under it."""

Log = Callable[[Mapping[str, float]], None]
"""Takes one row of figures; its `step` is the x axis."""


@contextmanager
def tracking(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any]
) -> Iterator[Log]:
    """Open the tracker of one fold, give its `log`, and close it whatever happens.

    wandb: project = competition, group = run, one wandb run a fold; offline (files under `folder`, `wandb sync`
    uploads them) unless an API key is at hand and the server answers within SERVER_SECONDS. RunError where it does
    not start at all, as with a key that the server refuses.
    """
    match kind:
        case "none":
            yield lambda row: None
        case "wandb":
            tracked = _start(project=competition, group=run, name=f"{run}-fold{fold}", config=dict(config), dir=folder)
            try:
                yield lambda row: tracked.log(dict(row), step=int(row["step"]))
            except BaseException:
                tracked.finish(exit_code=1)
                raise
            tracked.finish()
        case _:
            assert_never(kind)


def _start(**what: Any) -> Run:
    import wandb
    from wandb.errors import AuthenticationError, CommError

    settings = wandb.Settings(silent=True, console="off", init_timeout=SERVER_SECONDS)
    mode = _mode()
    try:
        try:
            return wandb.init(**what, mode=mode, settings=settings)
        except CommError as error:
            if mode != "online" or isinstance(error, AuthenticationError):
                raise
            return wandb.init(**what, mode="offline", settings=settings)
    except wandb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"wandb does not start ({reason}); set WANDB_MODE=offline, or say tracking=none") from error


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
