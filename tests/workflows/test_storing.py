"""Runs, folders and files go into a store and come back; what is missing says who has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.errors import RunError
from medalist.files import read_json, sha256_file, write_json
from medalist.reporter import SilentReporter
from medalist.runs import pointers
from medalist.runs.blob_store import make_store, open_store
from medalist.runs.pointers import Target, add_to_pointer, is_plain, read_pointer
from medalist.workflows.storing import pull, push, status, targets_of, verify


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with one run; nothing of it is read but its bytes."""
    run = tmp_path / "runs" / "toys" / "first"
    for name, text in (
        ("config.yaml", "a"),
        ("lock.json", "{}"),
        ("fold0/last.safetensors", "weights 0"),
        ("fold1/last.safetensors", "weights 1"),
        ("fold0/state-3.safetensors", "only while it trains"),
        ("test/test.json", "[]"),
        (".hidden", "x"),
    ):
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "runs"


@pytest.fixture
def team(tmp_path: Path) -> Path:
    return tmp_path / "team"


@pytest.fixture
def pushed(runs: Path, team: Path, quiet: SilentReporter) -> Target:
    (target,) = targets_of(["toys/first"], runs)
    push([target], team, None, quiet)
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_from_its_pointer_alone(runs: Path, pushed: Target, team: Path, quiet: SilentReporter) -> None:
    before = contents(pushed.path)
    assert pushed.pointer == runs / "toys" / "first.stored.json"
    shutil.rmtree(pushed.path)
    (line,) = pull(targets_of([], runs), [], False, quiet)
    assert line.endswith("5 files brought back, 0 were here")
    left_out = {".hidden", "fold0/state-3.safetensors"}
    assert contents(pushed.path) == {name: data for name, data in before.items() if name not in left_out}
    assert pull(targets_of(["toys/first"], runs), [team], True, quiet)[0].endswith("0 files brought back, 5 were here")


def test_data_and_single_files_have_pointers_too(tmp_path: Path, runs: Path, team: Path, quiet: SilentReporter) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "images" / "state-1.png").write_bytes(b"an image, not a state of a training")
    (data / "linked.csv").symlink_to(runs / "toys" / "first" / "config.yaml")
    weights = tmp_path / "resnet.safetensors"
    weights.write_bytes(b"pretrained")
    push(targets_of([str(data), str(weights)], runs), team, None, quiet)
    shutil.rmtree(data)
    weights.unlink()
    pull(targets_of([str(data), f"{weights}.stored.json"], runs), [], False, quiet)
    assert (data / "images" / "state-1.png").read_bytes().startswith(b"an image")
    assert (data / "linked.csv").read_text() == "a" and not (data / "linked.csv").is_symlink()
    assert weights.read_bytes() == b"pretrained"


def test_what_is_pushed_again_is_not_stored_again(
    runs: Path, pushed: Target, team: Path, quiet: SilentReporter
) -> None:
    pointer = pushed.pointer.read_bytes()
    assert "0 of them new" in push([pushed], team, None, quiet)[0]
    assert pushed.pointer.read_bytes() == pointer
    (pushed.path / "fold1" / "last.safetensors").unlink()
    push([pushed], team, None, quiet)  # a file that is gone here stays in the pointer
    assert pushed.pointer.read_bytes() == pointer


def test_a_file_that_changed_is_only_where_it_was_pushed_since(
    runs: Path, pushed: Target, tmp_path: Path, quiet: SilentReporter
) -> None:
    push([pushed], tmp_path / "nas", "archive", quiet)
    (pushed.path / "fold1" / "last.safetensors").write_text("weights 1, trained again")
    push([pushed], tmp_path / "nas", None, quiet)
    pointer = read_pointer(pushed)
    assert pointer is not None
    assert pointer.files["fold0/last.safetensors"].stores == ("archive", "team")
    assert pointer.files["fold1/last.safetensors"].stores == ("archive",)
    assert set(pointer.stores) == {"archive", "team"}


# ------------------------------------------------------------------------------------------------- what is missing


def test_a_missing_file_says_who_has_it(
    runs: Path, pushed: Target, team: Path, tmp_path: Path, quiet: SilentReporter
) -> None:
    lost = pushed.path / "fold1" / "last.safetensors"
    digest = sha256_file(lost)
    lost.unlink()
    (pushed.path / "fold0" / "last.safetensors").unlink()
    team.rename(tmp_path / "away")
    message = one_line(RunError, lambda: pull([pushed], [], False, quiet))
    assert "fold0/last.safetensors (9 bytes, SHA-256 " in message and "no store, for none is reachable" in message
    assert f"stores that have had it: team ({team})" in message and "1 more files are missing" in message
    assert message.endswith("then type: --from DIR")
    store = open_store(tmp_path / "away")
    store.path(digest).unlink()
    message = one_line(RunError, lambda: pull([pushed], [tmp_path / "away"], False, quiet))
    assert f"{lost} (9 bytes" in message and "is not in team" in message
    assert (pushed.path / "fold0" / "last.safetensors").exists()  # what could be had is here


def test_a_damaged_blob_is_taken_from_another_store(
    runs: Path, pushed: Target, team: Path, tmp_path: Path, quiet: SilentReporter
) -> None:
    push([pushed], tmp_path / "nas", None, quiet)
    path = pushed.path / "fold1" / "last.safetensors"
    blob = open_store(team).path(sha256_file(path))
    blob.chmod(0o644)
    blob.write_text("weights 2")
    path.unlink()
    message = one_line(RunError, lambda: pull([pushed], [team], False, quiet))
    assert "is damaged: its bytes have another hash" in message and "nas (" in message
    pull([pushed], [], False, quiet)
    assert path.read_text() == "weights 1"
    assert verify(tmp_path / "nas", quiet) == (5, [])
    count, found = verify(team, quiet)
    assert count == 5 and len(found) == 1 and str(blob) in found[0]


def test_what_is_here_is_never_overwritten(runs: Path, pushed: Target, quiet: SilentReporter) -> None:
    path = pushed.path / "config.yaml"
    path.write_text("edited")
    (pushed.path / "test" / "test.json").unlink()
    message = one_line(RunError, lambda: pull([pushed], [], False, quiet))
    assert f"{path}: other contents here than were stored; nothing was overwritten" in message
    assert path.read_text() == "edited" and (pushed.path / "test" / "test.json").exists()


def test_the_status_counts(runs: Path, pushed: Target, team: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    (pushed.path / "config.yaml").write_text("b")
    (pushed.path / "test" / "test.json").unlink()
    shutil.copytree(pushed.path, runs / "toys" / "second")
    push([pushed], tmp_path / "nas", None, quiet)
    team.rename(tmp_path / "away")
    one, two = status(targets_of([], runs), [])
    assert (one.files, one.here, one.changed, one.missing) == (5, 4, 0, 1)
    assert one.stores == "nas 4/5, team not reachable"
    assert two.stores == "never pushed"
    (line,) = status([pushed], [tmp_path / "away"])
    assert line.stores == "nas 4/5, team 4/5"


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a//b", "", "C:x", "a\\b", ".hidden", "a/.ssh", "a\0b"]
)
def test_a_pointer_cannot_lead_out_of_its_target(
    pushed: Target, runs: Path, tmp_path: Path, quiet: SilentReporter, name: str
) -> None:
    assert not is_plain(name)
    value = read_json(pushed.pointer)
    value["files"][name] = value["files"]["config.yaml"]
    write_json(pushed.pointer, value)
    shutil.rmtree(pushed.path)
    assert "is not inside of" in one_line(RunError, lambda: pull([pushed], [], False, quiet))
    assert not pushed.path.exists()


def test_nor_does_a_link(pushed: Target, tmp_path: Path, quiet: SilentReporter) -> None:
    shutil.rmtree(pushed.path / "fold1")
    (tmp_path / "outside").mkdir()
    (pushed.path / "fold1").symlink_to(tmp_path / "outside")
    assert "leads out of" in one_line(RunError, lambda: pull([pushed], [], False, quiet))
    assert list((tmp_path / "outside").iterdir()) == []
    message = one_line(RunError, lambda: push([pushed], tmp_path / "team", None, quiet))
    assert "is a link to a folder, which is not followed" in message


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"format": "medalist pointer 7"}', '{"format": "medalist pointer 1", "files": 3}', "hash"]
)
def test_a_damaged_pointer_is_named(pushed: Target, quiet: SilentReporter, damage: str) -> None:
    value = read_json(pushed.pointer)
    value["files"]["config.yaml"]["sha256"] = "../../x"
    pushed.pointer.write_text(json.dumps(value) if damage == "hash" else damage)
    assert str(pushed.pointer) in one_line(RunError, lambda: pull([pushed], [], False, quiet))


def test_what_is_no_target_is_refused(runs: Path, pushed: Target, team: Path, quiet: SilentReporter) -> None:
    assert "no run 'toys/frist'" in one_line(RunError, lambda: targets_of(["toys/frist"], runs))
    pushed.pointer.unlink()
    assert "was never pushed" in one_line(RunError, lambda: pull([pushed], [], False, quiet))
    assert "is not here" in one_line(RunError, lambda: push([Target(runs / "toys" / "none")], team, None, quiet))


def test_two_pushes_at_once_lose_no_store(runs: Path, pushed: Target, tmp_path: Path) -> None:
    stores = [make_store(tmp_path / f"store{number}") for number in range(6)]
    files = {"config.yaml": (sha256_file(pushed.path / "config.yaml"), 1)}
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda store: add_to_pointer(pushed, True, files, store), stores))
    pointer = read_pointer(pushed)
    assert pointer is not None and pointer.files["config.yaml"].stores == (*(f"store{n}" for n in range(6)), "team")


def test_a_folder_that_stays_locked_is_said(
    runs: Path, pushed: Target, team: Path, monkeypatch: pytest.MonkeyPatch, quiet: SilentReporter
) -> None:
    monkeypatch.setattr(pointers, "WAIT_SECONDS", 0.0)
    with pointers.held_folder(pushed.pointer.parent):
        assert "another process writes into" in one_line(RunError, lambda: push([pushed], team, None, quiet))


def test_the_commands(runs: Path, tmp_path: Path, medalist: Callable[..., Any]) -> None:
    def command(*words: object) -> Any:
        return medalist("--runs", runs, "store", *words)

    assert command("push", "--to", tmp_path / "team").code == 0
    shutil.rmtree(runs / "toys" / "first")
    assert "5 files brought back" in command("pull", "toys/first", "--link").out
    ended = command("status")
    assert ended.code == 0 and "team 5/5" in ended.out
    assert "5 blobs, nothing is wrong" in command("verify", tmp_path / "team").out
    blob = next((tmp_path / "team").glob("??/*"))
    blob.chmod(0o644)
    blob.write_text("!")
    ended = command("verify", tmp_path / "team")
    assert ended.code == 2 and "1 of 5 blobs damaged" in ended.line
