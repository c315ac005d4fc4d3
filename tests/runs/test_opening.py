from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.errors import ConfigError, DataError, RunError
from medalist.runs.opening import open_contest, open_run_contest


def test_the_data_lies_where_it_is_said_to(
    drawn: Path, at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_contest("toy_nuclei", str(drawn), tmp_path).data == drawn
    (tmp_path / "contests").mkdir()
    (tmp_path / "contests" / "toy_nuclei").symlink_to(drawn)
    monkeypatch.setenv("MEDALIST_DATA", str(tmp_path / "contests"))
    assert open_contest("toy_nuclei", None, tmp_path).data == tmp_path / "contests" / "toy_nuclei"
    assert open_contest("toy_nuclei", drawn, tmp_path).data == drawn  # what is said counts more
    monkeypatch.setenv("HOME", str(tmp_path / "contests"))
    assert open_contest("toy_nuclei", "~/toy_nuclei", tmp_path).data == tmp_path / "contests" / "toy_nuclei"


def test_the_data_lies_where_the_newest_run_found_it(toy: Any) -> None:
    assert open_contest("toy_nuclei", None, toy.runs).data == toy.data


def test_nowhere_to_look_is_told_with_the_remedy(
    at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = one_line(DataError, lambda: open_contest("toy_nuclei", None, tmp_path))
    assert "the data of toy_nuclei is not found; type --data DIR, or set MEDALIST_DATA" in message
    message = one_line(DataError, lambda: open_contest("toy_nuclei", tmp_path / "no", tmp_path))
    assert f"no data folder {tmp_path / 'no'} (from --data" in message
    monkeypatch.setenv("MEDALIST_DATA", str(tmp_path))
    message = one_line(DataError, lambda: open_contest("toy_nuclei", None, tmp_path))
    assert f"no data folder {tmp_path / 'toy_nuclei'} (from MEDALIST_DATA)" in message


def test_the_folder_of_a_run_that_moved_is_told(toy: Any, tmp_path: Path) -> None:
    lock = toy.run.folder / "lock.json"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "data_folder": str(tmp_path / "gone")}))
    assert "(from the run tiny); type --data DIR" in one_line(
        DataError, lambda: open_contest("toy_nuclei", None, toy.runs)
    )


def test_an_unknown_contest_is_given_the_nearest(drawn: Path, at_home: Path, tmp_path: Path) -> None:
    message = one_line(ConfigError, lambda: open_contest("toy_nuclie", drawn, tmp_path))
    assert "no competition 'toy_nuclie'" in message and "did you mean 'toy_nuclei'?" in message


def test_the_contest_of_a_run_lies_where_it_lay(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_run_contest(toy.run, "toy_nuclei", None, toy.runs).data == toy.data
    lock = toy.run.folder / "lock.json"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "data_folder": str(tmp_path / "gone")}))
    assert "type --data DIR" in one_line(DataError, lambda: open_run_contest(toy.run, "toy_nuclei", None, toy.runs))
    assert open_run_contest(toy.run, "toy_nuclei", str(toy.data), toy.runs).data == toy.data
    (tmp_path / "contests").mkdir()
    (tmp_path / "contests" / "toy_nuclei").symlink_to(toy.data)
    monkeypatch.setenv("MEDALIST_DATA", str(tmp_path / "contests"))
    assert open_run_contest(toy.run, "toy_nuclei", None, toy.runs).data == tmp_path / "contests" / "toy_nuclei"


def test_other_data_is_refused(toy: Any, own_data: Path) -> None:
    labels = own_data / "stage1_train_labels.csv"
    rows = labels.read_text().splitlines()
    labels.write_text("\n".join(rows[:1] + rows[:0:-1]) + "\n")
    message = one_line(RunError, lambda: open_run_contest(toy.run, "toy_nuclei", str(own_data), toy.runs))
    assert "is not the data that tiny was trained on: ids, truths or images differ; after the run was made, " in message
    assert "stage1_train_labels.csv was written; put the files back, give the folder" in message
    # The images' order in the csv is no difference, that of one image's objects is.
    by_image: dict[str, list[str]] = {}
    for row in rows[1:]:
        by_image.setdefault(row.partition(",")[0], []).append(row)
    labels.write_text("\n".join(rows[:1] + [row for name in sorted(by_image)[::-1] for row in by_image[name]]) + "\n")
    assert open_run_contest(toy.run, "toy_nuclei", str(own_data), toy.runs).data == own_data
