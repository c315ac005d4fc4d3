"""COCO's json as a contest gives it: the reader is tested beside the other forms, in test_box_files."""

from __future__ import annotations

from pathlib import Path

from refusals import one_line

from medalist.errors import DataError
from medalist.layouts.coco_files import coco_images


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "not JSON" in one_line(DataError, lambda: coco_images(tmp_path / "deep.json"))
    assert "missing.json" in one_line(DataError, lambda: coco_images(tmp_path / "missing.json"))
