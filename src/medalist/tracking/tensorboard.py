"""Write event files for tensorboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextmanager
def board_rows(
    folder: Path, config: Mapping[str, Any], purge_step: int
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Open an event file as `board_writer` does and yield a function that writes one row of figures at its `step`."""
    with board_writer(folder, config, purge_step) as writer:

        def write(row: Mapping[str, float]) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
            writer.flush()

        yield write


@contextmanager
def board_writer(folder: Path, config: Mapping[str, Any], purge_step: int) -> Iterator[SummaryWriter]:
    """Open an event file in `folder/tensorboard`; write the config as text, and at the end how the training ended.

    purge_step: tensorboard ignores values that earlier event files in the folder hold for this step or a later one.
    """
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import

    with SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step) as writer:
        text = json.dumps(dict(config), indent=2, ensure_ascii=False)
        writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()), purge_step)
        try:
            yield writer
        except BaseException as error:
            writer.add_text("state", f"failed: {type(error).__name__}", purge_step)
            raise
        writer.add_text("state", "finished", purge_step)
