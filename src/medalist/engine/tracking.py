"""Where curves go besides metrics.jsonl."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import urlparse

from medalist.engine.settings import Tracking

Log = Callable[[Mapping[str, float]], None]
"""Takes one row of figures; its `step` is the x axis."""


@contextmanager
def tracking(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any]
) -> Iterator[Log]:
    """Open the tracker of one fold, give its `log`, and close it whatever happens.

    wandb: project = competition, group = run, one wandb run a fold; offline (files under `folder`, `wandb sync`
    uploads them) unless an API key is at hand. Nothing waits for the network.
    """
    match kind:
        case "none":
            yield lambda row: None
        case "wandb":
            import wandb

            tracked = wandb.init(
                project=competition,
                group=run,
                name=f"{run}-fold{fold}",
                config=dict(config),
                dir=folder,
                mode="online" if _logged_in() else "offline",
                settings=wandb.Settings(silent=True, console="off"),
            )
            try:
                yield lambda row: tracked.log(dict(row), step=int(row["step"]))
            except BaseException:
                tracked.finish(exit_code=1)
                raise
            tracked.finish()
        case _:
            assert_never(kind)


def _logged_in() -> bool:
    """Whether the user has given wandb a key, by its variable or by `wandb login` (which writes the netrc file)."""
    if os.environ.get("WANDB_MODE", "online") != "online":
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc().authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False
