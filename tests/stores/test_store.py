"""What all stores share: the index of a part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalist.errors import RunError
from medalist.stores.store import StoredPart, finish_part, read_part, start_part

PART = StoredPart(("body", "id", "é"), ("a", "b/c", 'x"\n'), {"fold0": "00ff", "predict": '{"tta": "none"}'})


@pytest.mark.parametrize("columns", ["channels", "columns"])
@pytest.mark.parametrize("part", [PART, StoredPart((), (), {})])
def test_an_index_comes_back(part: StoredPart, columns: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "oof"
    assert read_part(folder, "fold0", columns) is None
    finish_part(folder, "fold0", part, columns)
    assert read_part(folder, "fold0", columns) == part
    assert list(json.loads((folder / "fold0.json").read_bytes())) == ["format", columns, "ids", "made_by"]
    assert read_part(folder, "fold1", columns) is None


def test_a_part_that_is_begun_again_is_not_whole(tmp_path: Path) -> None:
    start_part(tmp_path / "not there", "fold0")  # no complaint
    finish_part(tmp_path, "fold0", PART, "columns")
    finish_part(tmp_path, "fold1", PART, "columns")
    start_part(tmp_path, "fold0")
    assert read_part(tmp_path, "fold0", "columns") is None
    assert read_part(tmp_path, "fold1", "columns") == PART


def test_what_a_killed_process_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = ["fold0.parquet", ".hidden", ".0123456-a", "0123abcd-a.png", "fold1.json"]
    for name in (".0123abcd-fold0.parquet", ".89ab4567-a.png", *kept):
        (tmp_path / name).write_text("{}")
    finish_part(tmp_path, "fold0", PART, "columns")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "fold0.json"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"columns": [], "ids": []}',
        '{"columns": [], "made_by": {}}',
        '{"ids": [], "made_by": {}}',
        '{"columns": 3, "ids": [], "made_by": {}}',
        '{"columns": [], "ids": null, "made_by": {}}',
        '{"columns": [], "ids": [], "made_by": 7}',
        '{"columns": [], "ids": [], "made_by": ["a"]}',
        '{"channels": [], "ids": [], "made_by": {}}',
    ],
)
def test_a_damaged_index_is_named_on_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "fold0.json").write_text(text)
    with pytest.raises(RunError, match=r"fold0\.json") as caught:
        read_part(tmp_path, "fold0", "columns")
    assert "\n" not in str(caught.value)
