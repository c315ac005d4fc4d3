from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from medalist.cli.queue_display import LiveDisplay
from medalist.kinds import parse_settings
from medalist.runs.runs import Run
from medalist.training.queue_status import JobEnd, QueueJob, QueueWatch
from medalist.training.request import TrainRequest

CONFIG = """\
competition: toy
model: {kind: unet, encoder: test_resnet, channels: [body]}
loss: {bce: 1.0}
decide: {kind: threshold}
"""
SETTINGS = parse_settings(CONFIG, "a.yaml")


def test_a_terminal_has_a_table(tmp_path: Path) -> None:
    request = TrainRequest(SETTINGS, Path("a.yaml"), (), None, (3,), "a[b]", tmp_path)
    watch = QueueWatch([QueueJob(request, Run(tmp_path / "toy" / "a[b]"))], 2)
    file = io.StringIO()
    with LiveDisplay(Console(file=file, width=100, force_terminal=True)) as shown:
        shown.show(watch.status)
        assert "a[b]" in file.getvalue() and "waiting" in file.getvalue() and "0/1" in file.getvalue()
        watch.ends[0] = JobEnd(2, "[b]no[/b]", 1.0)
        shown.end(watch.jobs[0], watch.ends[0])
        assert "a[b] fold 3: failed: [b]no[/b]" in file.getvalue()
    assert "1/1" in file.getvalue()  # the table as it is in the end
