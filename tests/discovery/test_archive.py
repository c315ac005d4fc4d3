"""Archives are unpacked whole or not at all, and hostile ones are refused with nothing left."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medalist.discovery import archive as archives
from medalist.discovery.archive import folder_beside, unpacked
from medalist.errors import DataError

Files = dict[str, bytes]
FILES: Files = {"train.csv": b"id\n", "train/a.png": b"1", "train/b c.png": b"22"}


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def inside(folder: Path) -> Files:
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def bytes_of(make: Callable[[Path, Files], Path], files: Files, folder: Path, name: str) -> bytes:
    path = make(folder / name, files)
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize(
    ("name", "make"), [("x.zip", zipped), ("x.tar", tarred), ("x.tar.gz", tarred), ("x.tgz", tarred)]
)
def test_an_archive_becomes_the_folder_beside_it(
    name: str, make: Callable[[Path, Files], Path], tmp_path: Path
) -> None:
    folder = unpacked(make(tmp_path / name, FILES))
    assert folder == tmp_path / "x" and inside(folder) == FILES
    with pytest.raises(DataError, match="is there already; type --data"):
        unpacked(tmp_path / name)


def test_archives_inside_are_unpacked_and_junk_is_left_out(tmp_path: Path) -> None:
    train = bytes_of(zipped, {"train/a.png": b"1", "__MACOSX/train/._a.png": b"x"}, tmp_path, "t.zip")
    test = bytes_of(zipped, {"c.png": b"3", ".DS_Store": b"x"}, tmp_path, "t.zip")
    table = bytes_of(zipped, {"train.csv": b"id\n"}, tmp_path, "t.zip")
    files = {"train.zip": train, "data/test.zip": test, "train.csv.zip": table, "__MACOSX/._train.zip": b"x"}
    assert inside(unpacked(zipped(tmp_path / "x.zip", files))) == {
        "train/a.png": b"1",
        "data/test/c.png": b"3",
        "train.csv": b"id\n",
    }


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "..\\out.png", "C:/out.png", "a\nb"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_lead_out_are_refused(name: str, make: Callable[[Path, Files], Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = make(home / ("x.zip" if make is zipped else "x.tar"), {"a.png": b"1", name: b"2"})
    with pytest.raises(DataError, match="would not lie inside the folder"):
        unpacked(path)
    assert [one.name for one in tmp_path.rglob("*")] == ["home", path.name]


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("train")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    with tarfile.open(tmp_path / "y.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE,):
            member = tarfile.TarInfo("train")
            member.type, member.linkname = kind, "/etc"
            archive.addfile(member)
    for name in ("x.zip", "y.tar"):
        with pytest.raises(DataError, match="'train' is a link or a device"):
            unpacked(tmp_path / name)
        assert not folder_beside(tmp_path / name).exists()


def test_an_archive_that_is_cut_short_leaves_nothing(tmp_path: Path) -> None:
    for name, make in (("x.zip", zipped), ("y.tar.gz", tarred)):
        path = make(tmp_path / name, {"a.png": bytes(range(256)) * 40, "b.png": b"1"})
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match="cut short, damaged or no such archive"):
            unpacked(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x.zip", "y.tar.gz"]


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.bin": bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match="download it again"):
        unpacked(path)
    assert not (tmp_path / "x").exists()


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_ALLOWED", 1024)
    path = zipped(tmp_path / "x.zip", {"a.csv": bytes(1_000_000)})
    with pytest.raises(DataError, match="larger than 200 times its size"):
        unpacked(path)
    nested = bytes_of(zipped, {"a.csv": bytes(1_000_000)}, tmp_path, "n.zip")
    with pytest.raises(DataError, match="larger than 200 times its size"):
        unpacked(zipped(tmp_path / "y.zip", {"n.zip": nested}))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x.zip", "y.zip"]


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a": bytes(np.random.default_rng(1).integers(0, 256, 9000, np.uint8))})
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(40):
            twin = zipfile.ZipInfo(f"b{number}")
            one = archive.infolist()[0]
            for key in ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "external_attr"):
                setattr(twin, key, getattr(one, key))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="share bytes"):
        unpacked(path)


def test_archives_that_lie_too_deep_are_refused(tmp_path: Path) -> None:
    data = b"1"
    for depth in range(5):
        data = bytes_of(zipped, {f"n{depth}.zip" if depth else "a.png": data}, tmp_path, "n.zip")
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match="deep in one another"):
        unpacked(tmp_path / "x.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["x.zip"]


def test_a_twin_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"2")
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(tmp_path / "x.zip")
    assert not (tmp_path / "x").exists()
