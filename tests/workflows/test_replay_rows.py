from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.workflows.replay_rows import row_difference


def pair(folder: Path, was: bytes, now: bytes, suffix: str = ".csv") -> tuple[Path, Path]:
    paths = folder / f"was{suffix}", folder / f"now{suffix}"
    for path, data in zip(paths, (was, now), strict=True):
        path.write_bytes(data)
    return paths


def test_the_first_row_is_named_and_the_others_counted(tmp_path: Path) -> None:
    found = row_difference(*pair(tmp_path, b"id,x\na,1\nb,2\nc,3\n", b"id,x\na,1\nb,5\nc,4\n"))
    assert found.what == "rows"
    assert found.told == "first differing row 3: 'b,2' in the file, 'b,5' in the replay; 2 rows differ"


def test_a_row_that_is_missing_is_nothing(tmp_path: Path) -> None:
    found = row_difference(*pair(tmp_path, b"id\na\n", b"id\n"))
    assert found.told == "first differing row 2: 'a' in the file, nothing in the replay; 1 row differs"


def test_long_rows_are_shown_around_the_difference(tmp_path: Path) -> None:
    found = row_difference(*pair(tmp_path, b"1 " * 5000 + b"7\n", b"1 " * 5000 + b"8\n"))
    assert "'…" in found.told and "7' in the file" in found.told and "8' in the replay" in found.told
    assert len(found.told) < 250


def test_line_ends_alone_are_bytes(tmp_path: Path) -> None:
    assert row_difference(*pair(tmp_path, b"id\r\na\r\n", b"id\na\n")).what == "bytes"


def test_layout_of_json_alone_is_bytes(tmp_path: Path) -> None:
    assert row_difference(*pair(tmp_path, b'[{"a": 1, "b": 2}]', b'[{"b":2,"a":1}]', ".json")).what == "bytes"
    found = row_difference(*pair(tmp_path, b'[{"a": 1}, {"a": 2}]', b'[{"a": 1}, {"a": 3}]', ".json"))
    assert found.told.startswith("first differing object 2: ")


@pytest.mark.parametrize("suffix", [".json", ".zip"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, suffix: str) -> None:
    assert "cannot be read" in row_difference(*pair(tmp_path, b"{", b"[[" * 5, suffix)).told


def test_files_of_an_archive_are_compared_by_their_contents(tmp_path: Path) -> None:
    for name, text in (("was", "1"), ("now", "2")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("a.png", "same")
            archive.writestr("b.png", text)
    found = row_difference(tmp_path / "was.zip", tmp_path / "now.zip")
    assert found.told.startswith("first differing file 2: 'b.png (CRC ")


LINES = st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=5), max_size=6)


@given(LINES, LINES)
def test_it_is_the_first_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, was: list[str], now: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    texts = ["".join(f"{line}\n" for line in lines).encode() for lines in (was, now)]
    found = row_difference(*pair(folder, texts[0], texts[1]))
    longest = max(len(was), len(now))
    differing = [at for at in range(longest) if was[at : at + 1] != now[at : at + 1]]
    if not differing:
        assert found.what == "bytes"
    else:
        assert found.told.startswith(f"first differing row {differing[0] + 1}: ")
        assert f"; {len(differing)} row" in found.told
