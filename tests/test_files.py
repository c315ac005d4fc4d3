from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from medalist import __version__
from medalist.errors import DataError, MedalistError, RunError
from medalist.files import (
    MOST_COLUMNS,
    read_json,
    read_table,
    refuse_newer,
    refuse_unwritable,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
    written,
)


def one_line(error: pytest.ExceptionInfo[MedalistError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# written, write_text, write_json


def test_written_puts_the_file_in_place_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "scores.npy"
    with written(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".npy"
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("flush", [True, False])
def test_a_result_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: bool
) -> None:
    """After a power cut there is the old file or the new one, and no empty one."""
    path, done, honest = tmp_path / "scores.json", [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda place: done.append(Path(f"/proc/self/fd/{place}").readlink()))

    def replace(old: Path, new: Path) -> Path:
        done.append(new)
        return honest(old, new)

    monkeypatch.setattr(Path, "replace", replace)
    write_text(path, "new", flush=flush)
    assert [each.name for each in done[-2:]] == ([path.name, tmp_path.name] if flush else [path.name])
    assert len(done) == (3 if flush else 1) and (not flush or done[0].name.endswith("-scores.json"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_written_leaves_the_old_file_and_nothing_else_after_an_exception(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")
    with pytest.raises(error), written(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "checkpoint.bin"
    with pytest.raises(MedalistError) as raised, written(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert one_line(raised) == f"disk full while writing {path}; free space and run the command again"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_by_the_device_that_is_always_full(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with pytest.raises(MedalistError, match="disk full while writing"), written(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("anything")
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_not_about_writing_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written(tmp_path / "x"):
        (tmp_path / "not there").read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MedalistError) as raised:
        write_text(tmp_path / "file" / "scores.json", "{}")
    assert one_line(raised).startswith(f"cannot write {tmp_path / 'file' / 'scores.json'}: ")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MedalistError, match=r"cannot write .*folder: Is a directory"):
        write_text(tmp_path / "folder", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_disk_that_is_read_only_is_told_of_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)  # there the temporary file cannot be deleted either
    with pytest.raises(MedalistError) as raised, written(tmp_path / "scores.json") as temporary:
        refuse(temporary)
    line = f"cannot write {tmp_path / 'scores.json'}: Read-only file system; make this disk writable, or name a place"
    assert one_line(raised).startswith(line)


def test_a_long_name_is_written_and_a_longer_one_refused_by_its_length(tmp_path: Path) -> None:
    """The temporary name beside it is no longer than a name may be."""
    for name in ("y" * 251 + ".csv", "é" * 100, "x"):
        write_text(tmp_path / name, "a")
        assert (tmp_path / name).read_text() == "a"
    with pytest.raises(MedalistError) as raised:
        write_text(tmp_path / ("x" * 300), "a")
    assert one_line(raised) == "cannot write a file of 300 letters: File name too long"
    assert len(list(tmp_path.iterdir())) == 3


def test_json_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"b": [1, 2.5, None], "a": "ü"})
    assert read_json(path) == {"b": [1, 2.5, None], "a": "ü"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"score": float("nan")})
    assert read_json(path)["a"] == "ü"
    for content in (b"", b"{", b"\xff\xff\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"run\.json: not JSON") as raised:
            read_json(path)
        one_line(raised)
    with pytest.raises(DataError, match="No such file"):
        read_json(tmp_path / "other.json", DataError)


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ({}, 1),
        ({"format": 2}, 2),
        ({"format": "2"}, 2),
        ({"format": "medalist gallery 2"}, "medalist gallery 2"),
        ({"format": "medalist embeddings 9"}, "medalist gallery 2"),  # another thing: its reader says so
        *[({"format": odd}, 1) for odd in (0, -3, None, 1.5, "x", [2], True, "9" * 5000)],
        ([], 1),
        (None, 1),
    ],
)
def test_a_format_that_is_known_or_none_is_left_to_the_reader(tmp_path: Path, value: object, known: int | str) -> None:
    refuse_newer(value, tmp_path / "x.json", known)


@pytest.mark.parametrize(("found", "known"), [(2, 1), ("3", 2), ("medalist gallery 12", "medalist gallery 2")])
def test_a_newer_format_is_one_line(tmp_path: Path, found: object, known: int | str) -> None:
    with pytest.raises(DataError) as raised:
        refuse_newer({"format": found}, tmp_path / "x.json", known, DataError)
    number = str(found).rpartition(" ")[2]
    assert one_line(raised) == (
        f"{tmp_path / 'x.json'} is of format {number}, which this version of medalist ({__version__}) does not know; "
        "install a newer medalist"
    )


# read_table


def table(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_is_text_as_it_stands(tmp_path: Path) -> None:
    path = table(tmp_path, '\ufeffId,Pixels,Note\r\n007,,NaN\r\n"a,b","1 3\n10 5"," x "\r\n')
    assert read_table(path, ("Pixels", "Id")) == [
        {"Id": "007", "Pixels": "", "Note": "NaN"},
        {"Id": "a,b", "Pixels": "1 3\n10 5", "Note": " x "},
    ]
    assert read_table(table(tmp_path, "Id,Pixels\n"), ("Id",)) == []


def test_a_cell_may_be_long_and_the_limit_of_csv_is_put_back(tmp_path: Path) -> None:
    import csv

    before = csv.field_size_limit()
    rows = read_table(table(tmp_path, "Id,Pixels\na," + "1 " * 200_000 + "\n"), ("Id",))
    assert len(rows[0]["Pixels"]) == 400_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty; expected a csv with the columns Id,Pixels"),
        ("id,Pixels\n", "row 1: no column 'Id' in id,Pixels; expected Id,Pixels"),
        ("\nId,Pixels\n", "row 1: no column 'Id' in an empty line"),
        ("Id,Pixels,Id\n", "row 1: column 'Id' is there twice"),
        ("Id,Pixels\na,1\nb\n", "row 3: 1 cells (b); expected 2: Id,Pixels"),
        ("Id,Pixels\na,1,2\n", "row 2: 3 cells (a,1,2); expected 2: Id,Pixels"),
        ("Id,Pixels\na,1\n\nb,2\n", "row 3: an empty line; expected 2: Id,Pixels"),
        ('Id,Pixels\na,1\n"b,2\n', "row 3: malformed csv"),
        ('Id,Pixels\n"a"b,1\n', "row 2: malformed csv"),
        (b"Id,Pixels\na,1\nb,\xff\n", "row 3: byte 0xff is not UTF-8"),
        (b"PK\x03\x04\x14\x00\x00\x00", "row 1: no column 'Id'"),
    ],
)
def test_a_malformed_table_is_refused_with_its_row(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(DataError) as raised:
        read_table(path, ("Id", "Pixels"))
    assert one_line(raised).startswith(str(path))
    assert words in one_line(raised)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        read_table(tmp_path / "none.csv", ("Id",))
    with pytest.raises(DataError, match="a folder, not a file"):
        read_table(tmp_path, ("Id",))


# hashes


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == known
    with pytest.raises(DataError, match="No such file"):
        sha256_file(tmp_path / "y")
    assert sha256_json({"b": 1, "a": [1.5, "ü"]}) == sha256_json({"a": [1.5, "ü"], "b": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])
    text = json.dumps({"a": 1}).replace(" ", "")
    assert sha256_json({"a": 1}) == hashlib.sha256(text.encode()).hexdigest()


# bounds


def test_a_wide_header_is_read_in_linear_time_up_to_a_limit(tmp_path: Path) -> None:
    """A header was compared with itself column by column: 2 million columns took over 40 seconds."""
    path = tmp_path / "wide.csv"
    names = [f"c{number}" for number in range(MOST_COLUMNS)]
    path.write_text(",".join(names) + "\n" + "," * (MOST_COLUMNS - 1) + "\n")
    (row,) = read_table(path, names)
    assert len(row) == MOST_COLUMNS
    path.write_text(",".join([*names, "c5"]) + "\n")
    with pytest.raises(DataError, match="row 1: 100,001 columns; a csv may have at most 100,000"):
        read_table(path, names)
    path.write_text(",".join([*names[:-1], "c5"]) + "\n")
    with pytest.raises(DataError, match="column 'c5' is there twice") as caught:
        read_table(path, names[:2])
    assert len(str(caught.value)) < 250
    with pytest.raises(DataError, match="no column 'd'") as caught:
        read_table(path, ["d", *names])
    assert len(str(caught.value)) < 1000


def test_a_row_of_another_width_in_a_wide_csv_is_a_short_line(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{number}" for number in range(5000)) + "\n" + "," * 6000 + "\n")
    with pytest.raises(DataError, match="row 2: 6001 cells") as caught:
        read_table(path, ["c0"])
    assert len(str(caught.value)) < 300


def test_a_quote_that_is_never_closed_ends_at_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.files.LONGEST_CELL", 1000)
    path = tmp_path / "open.csv"
    path.write_text('id,text\na,b\nc,"never closed\n' + "d,e\n" * 1000)
    with pytest.raises(DataError, match=r"row 3: malformed csv .a cell has more than 1,000 letters; is a quote opened"):
        read_table(path, ["id"])


def test_the_limit_on_the_size_of_files_is_told(tmp_path: Path) -> None:
    """`ulimit -f` is no bug, and no full disk."""
    with pytest.raises(MedalistError, match="ulimit -f"), written(tmp_path / "a") as temporary:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(temporary))
    with pytest.raises(MedalistError, match="ulimit -f"), written(tmp_path / "a"):
        raise RuntimeError(f"I/O error: {os.strerror(errno.EFBIG)} (os error 27)")


def test_a_device_or_a_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MedalistError, match="a device or a pipe, not a file"):
        write_text(pipe, "x")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in {
        tmp_path: "it is a folder; name a file",
        file / "new" / "a.csv": f"{file} is a file, not a folder",
        tmp_path / ("n" * 300): "File name too long",
        pipe: "a device or a pipe",
    }.items():
        with pytest.raises(MedalistError) as error:
            refuse_unwritable(path)
        message = one_line(error)
        assert message.startswith("cannot write ") and words in message
    for path in (file, tmp_path / "new", tmp_path / "new" / "folder" / "a.csv", Path("a.csv")):
        refuse_unwritable(path)


def test_a_folder_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(MedalistError) as error:
        refuse_unwritable(tmp_path / "new" / "a.csv")
    assert one_line(error).endswith(f"no permission to write into {tmp_path}")
