from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.errors import AuthenticationError, CommError
from wandb.proto import wandb_internal_pb2 as records

from medalist.errors import RunError
from medalist.tracking import tracking as module
from medalist.tracking import wandb as tracking_wandb
from medalist.tracking.mark import Mark, read_mark, write_mark
from medalist.tracking.tracking import system_use, tracking
from medalist.tracking.wandb import _logged_in, _mode

KEY = "0123456789abcdef" * 2 + "01234567"
CONFIG = {"train": {"lr": 0.1}, "model": {"encoder": "tiny"}}
ROWS = [{"epoch": float(n), "step": 3.0 * n, "lr": 0.1, "loss": 1 / n, "val_loss": 2 / n} for n in range(1, 6)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a netrc file, and no variable of wandb or of the network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC", "MEDALIST_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """The folder of a fold."""
    (tmp_path / "fold0").mkdir()
    return tmp_path / "fold0"


def written(path: Path) -> dict[str, list[Any]]:
    """The records of a .wandb file by kind: a log in the format of LevelDB, each record a protocol buffer."""
    data, at, whole, found = path.read_bytes(), 7, b"", dict[str, list[Any]]()
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # the rest of a block is padding
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = records.Record()
            record.ParseFromString(whole)
            name, whole = record.WhichOneof("record_type"), b""
            found.setdefault(name, []).append(getattr(record, name))
    return found


def finished(path: Path) -> dict[str, list[Any]]:
    """The records of a file that wandb's process may still be writing the end of."""
    for _ in range(600):
        if "exit" in (found := written(path)):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows_of(found: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """The rows of history, without what wandb adds and what the machine was used for."""
    return [
        {name: value for name, value in values(row.item).items() if not name.startswith(("_", "system/"))}
        for row in found.get("history", [])
    ]


def config_of(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: value for name, value in values(found["run"][0].config.update).items() if name != "_wandb"}


def alone(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that does not share the service of wandb with this one."""
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    command = [sys.executable, "-c", text, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=own)


def netrc(path: Path, host: str, rights: int = 0o600) -> None:
    path.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    path.chmod(rights)


# ------------------------------------------------------------------------------------------------ who is logged in


def test_nobody_is_logged_in_without_a_key() -> None:
    assert not _logged_in()
    assert _mode() == "offline"


def test_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert _logged_in()
    assert _mode() == "online"
    for mode, chosen in (("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("online", "online")):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert _logged_in() is (mode == "online")
        assert _mode() == chosen


def test_a_key_that_login_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(home / ".netrc", "example.org")
    assert not _logged_in()
    for host in (str(wandb.Settings().base_url).removeprefix("https://"), "api.wandb.ai"):
        netrc(home / ".netrc", host)
        assert _logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org:8080")
    assert not _logged_in()
    netrc(home / ".netrc", "wandb.example.org:8080")
    assert _logged_in()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not _logged_in()


def test_a_netrc_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path / "keys", "api.wandb.ai")
    monkeypatch.setenv("NETRC", str(tmp_path / "keys"))
    assert _logged_in()


@pytest.mark.parametrize("text", ["machine", "nonsense here", "machine api.wandb.ai password"])
def test_a_malformed_netrc_file_is_no_key(home: Path, text: str) -> None:
    (home / ".netrc").write_text(text)
    assert not _logged_in()


# ------------------------------------------------------------------------------------------------------- the mark


def test_none_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fold0"
    with tracking("none", folder, "toy", "run", 0, {}) as log:
        log({"step": 1.0, "loss": 0.5})
    assert not folder.exists()


def test_a_mark_is_read_back(fold: Path) -> None:
    mark = Mark("wandb", "0123456789abcdef", 7)
    write_mark(fold, mark)
    assert read_mark(fold, "wandb") == mark
    other = read_mark(fold, "tensorboard")
    assert (other.kind, other.step) == ("tensorboard", -1) and other.id != mark.id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"kind": "wandb"}',
        '{"kind": "wandb", "id": 3, "step": 1}',
        '{"kind": "wandb", "id": "../../0123456789", "step": 1}',
        '{"kind": "wandb", "id": "0123456789abcdef", "step": "1"}',
    ],
    ids=["empty", "list", "cut", "no id", "number", "path", "word"],
)
def test_a_damaged_mark_is_none(fold: Path, text: str) -> None:
    (fold / "tracking.json").write_text(text)
    mark = read_mark(fold, "wandb")
    assert mark.step == -1 and len(mark.id) == 16 and mark.id != "0123456789abcdef"


# --------------------------------------------------------------------------------------------------- wandb offline


def test_the_offline_file_has_config_curves_system_use_and_the_end(fold: Path) -> None:
    with tracking("wandb", fold, "toy", "run", 2, CONFIG) as log:
        run = wandb.run
        assert run is not None and (run.project, run.group, run.name) == ("toy", "run", "run-fold2")
        for row in ROWS:
            log(row)
    assert wandb.run is None
    (file,) = offline_files(fold)
    found = finished(file)
    assert config_of(found) == CONFIG
    assert rows_of(found) == ROWS
    assert [row.step.num for row in found["history"]] == [3, 6, 9, 12, 15]
    last = values(found["history"][-1].item)
    assert last["system/resident_mb"] > 10 and 0 <= last["system/processors_percent"] <= 100
    assert any("memory" in item.key for stats in found["stats"] for item in stats.item)  # wandb's own looks
    summary: dict[str, Any] = {}
    for update in found["summary"]:
        summary |= values(update.update)
    assert summary["loss"] == ROWS[-1]["loss"] and summary["val_loss"] == ROWS[-1]["val_loss"]
    assert found["exit"][0].exit_code == 0


def test_a_training_that_fails_is_a_failed_run(fold: Path) -> None:
    with pytest.raises(ValueError, match="nan"), tracking("wandb", fold, "toy", "run", 0, {}) as log:
        log(ROWS[0])
        raise ValueError("nan")
    (file,) = offline_files(fold)
    assert finished(file)["exit"][0].exit_code == 1


def test_a_resumed_fold_goes_on_in_the_same_run_without_a_row_twice(fold: Path) -> None:
    with tracking("wandb", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS[:3]:
            log(row)
    (first,) = offline_files(fold)
    # its state is older than its last row: the training logs rows again that the tracker has, and then new ones
    (fold / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    with tracking("wandb", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS[2:]:
            log(row)
    (second,) = set(offline_files(fold)) - {first}
    one, two = finished(first), finished(second)
    assert one["run"][0].run_id == two["run"][0].run_id == read_mark(fold, "wandb").id
    assert rows_of(one) + rows_of(two) == ROWS


def test_rows_from_before_the_tracker_are_logged_first(fold: Path) -> None:
    lines = [json.dumps(row) for row in ROWS[:3]]
    (fold / "metrics.jsonl").write_text("\n".join([*lines, '{"step": "x"', json.dumps(ROWS[3])]))
    with tracking("wandb", fold, "toy", "run", 0, CONFIG) as log:
        log(ROWS[4])
    (file,) = offline_files(fold)
    found = finished(file)
    assert rows_of(found) == [*ROWS[:3], ROWS[4]]
    used = ["system/resident_mb" in values(row.item) for row in found["history"]]
    assert used == [False, False, False, True]  # nobody knows what was used then


def test_rows_stay_as_they_are(fold: Path) -> None:
    row = dict(ROWS[0])
    with tracking("tensorboard", fold, "toy", "run", 0, {}) as log:
        log(row)
    assert row == ROWS[0]


def test_no_process_of_wandb_is_left(tmp_path: Path) -> None:
    """In a process of its own: here wandb keeps one process until the tests end."""
    text = (
        "import sys; from pathlib import Path; from medalist.tracking.wandb import wandb_rows; import psutil\n"
        "with wandb_rows(Path(sys.argv[1]), project='toy', id='x') as log:\n"
        "    log({'step': 1.0})\n"
        "    print(*(one.pid for one in psutil.Process().children(recursive=True)))\n"
    )
    ended = alone(text, tmp_path)
    left = [int(word) for word in ended.stdout.split()]
    assert left and not ended.stderr
    assert psutil.wait_procs([psutil.Process(pid) for pid in left if psutil.pid_exists(pid)], timeout=20)[1] == []


def test_a_training_outlives_the_process_of_wandb(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys, time, warnings; from pathlib import Path; import psutil\n"
        "from medalist.tracking.wandb import wandb_rows\n"
        "warnings.simplefilter('always')\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    with wandb_rows(Path(sys.argv[1]), project='toy', id='x') as log:\n"
        "        log({'step': 1.0})\n"
        "        core = psutil.Process().children()\n"
        "        [one.kill() for one in core]; psutil.wait_procs(core, 20)\n"
        "        for step in range(2, 50): log({'step': float(step)}); time.sleep(0.001)\n"
        "print(*{str(one.message) for one in said})\n"
    )
    ended = alone(text, tmp_path)
    assert ended.stdout.startswith("wandb stopped (") and "metrics.jsonl has all rows" in ended.stdout


# ------------------------------------------------------------------------------------------ a server on this machine


class Server:
    """Answers what a start asks; `reluctant` ones never answer, nor does anyone once the run has begun."""

    def __init__(self, reluctant: bool) -> None:
        self.reluctant, self.let_go, self.asked = reluctant, threading.Event(), threading.Event()
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                outer.bodies.append(body)
                answer = None if outer.reluctant else outer.answer(body)
                if answer is None:
                    outer.asked.set()
                    outer.let_go.wait(120)
                text = json.dumps({"data": answer or {}}).encode()
                try:
                    self.send_response(200 if answer is not None else 503)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    pass  # the other side has given up

            do_GET = do_PUT = do_POST  # noqa: N815

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @staticmethod
    def answer(body: bytes) -> dict[str, Any] | None:
        try:
            name = json.loads(body)["operationName"]
        except (ValueError, KeyError):
            return None
        if name == "RunResumeStatus":
            return {"model": {"id": "2", "name": "toy", "entity": {"id": "3", "name": "e"}, "bucket": None}}
        if name == "UpsertBucket":
            project = {"id": "2", "name": "toy", "entity": {"id": "3", "name": "e"}}
            bucket = {"id": "1", "name": "x", "displayName": "n", "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        if name in ("CreateRunFiles", "RunUploadUrls"):
            return None
        return {}

    def close(self) -> None:
        self.let_go.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Server]]:
    """Starts a server and says to wandb that it is the one to send to."""
    made: list[Server] = []

    def start(reluctant: bool) -> Server:
        made.append(Server(reluctant))
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{made[-1].http.server_port}")
        wandb.teardown()  # it reads the environment once
        return made[-1]

    yield start
    for one in made:
        one.close()
    wandb.teardown()


def test_the_loop_waits_for_no_server_and_online_has_what_offline_has(
    fold: Path, tmp_path: Path, server: Callable[[bool], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_wandb, "UPLOAD_SECONDS", 1.0)
    there = server(False)
    many = [{**ROWS[0], "step": float(step)} for step in range(100)]
    with tracking("wandb", fold, "toy", "run", 0, CONFIG) as log:
        assert wandb.run is not None and not wandb.run.settings._offline
        for row in many[:50]:
            log(row)
        assert there.asked.wait(60)  # curves are on their way, and stay there
        for row in many[50:]:
            log(row)
        assert not there.let_go.is_set()
    # The end has given up; what was not sent is in the file.
    assert not there.let_go.is_set()
    (file,) = fold.glob("wandb/run-*/*.wandb")
    online = finished(file)
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "other").mkdir()
    with tracking("wandb", tmp_path / "other", "toy", "run", 0, CONFIG) as log:
        for row in many:
            log(row)
    (file,) = offline_files(tmp_path / "other")
    offline = finished(file)
    assert rows_of(online) == rows_of(offline) == many
    assert config_of(online) == config_of(offline) == CONFIG
    for part in ("project", "run_group", "display_name", "job_type"):
        assert getattr(online["run"][0], part) == getattr(offline["run"][0], part)
    assert online["stats"] and offline["stats"]


def test_a_server_that_accepts_and_never_answers_is_left_behind(
    fold: Path, server: Callable[[bool], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_wandb, "SERVER_SECONDS", 1.0)
    there = server(True)
    with tracking("wandb", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS:
            log(row)
    assert there.asked.is_set() and not there.let_go.is_set()
    (file,) = offline_files(fold)
    assert rows_of(finished(file)) == ROWS


# ------------------------------------------------------------------------------------------------------ tensorboard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_has_config_curves_and_system_use(fold: Path) -> None:
    with tracking("tensorboard", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS:
            log(row)
    found = scalars(fold)
    assert found["loss"] == [(int(row["step"]), pytest.approx(row["loss"])) for row in ROWS]
    assert {"lr", "val_loss", "epoch", "system/processors_percent", "system/resident_mb"} <= found.keys()
    assert "step" not in found
    events = EventAccumulator(str(fold / "tensorboard"))
    events.Reload()
    (text,) = events.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert json.loads("".join(line[4:] for line in shown.splitlines())) == CONFIG
    (state,) = events.Tensors("state/text_summary")
    assert state.tensor_proto.string_val[0] == b"finished"


def test_a_resumed_fold_has_no_row_twice_in_tensorboard(fold: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracking("tensorboard", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS[:3]:
            log(row)
        raise KeyboardInterrupt
    (fold / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:4]))
    with tracking("tensorboard", fold, "toy", "run", 0, CONFIG) as log:
        for row in ROWS[2:]:
            log(row)
    assert [step for step, _ in scalars(fold)["loss"]] == [3, 6, 9, 12, 15]


def test_a_worker_that_ends_meanwhile_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def memory_info(self) -> None:
            raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [Gone()])
    assert system_use()["system/resident_mb"] > 1


# -------------------------------------------------------------------------------------------------- starts and ends


class Fake:
    """What wandb.init gives, without its service."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, Any], int]] = []
        self.finished: list[int | None] = []

    def log(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((row, step))

    def finish(self, exit_code: int | None = None) -> None:
        self.finished.append(exit_code)


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()], ids=["ends", "fails", "interrupted"])
def test_the_tracker_is_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    fake = Fake()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    monkeypatch.setattr(module, "system_use", lambda: {"system/x": 1.0})
    if error is None:
        with tracking("wandb", tmp_path, "toy", "run", 0, {}) as log:
            log({"step": 7.0, "loss": 1.0})
        assert fake.rows == [({"step": 7.0, "loss": 1.0, "system/x": 1.0}, 7)]
        assert fake.finished == [None]
    else:
        with pytest.raises(type(error)), tracking("wandb", tmp_path, "toy", "run", 0, {}):
            raise error
        assert fake.finished == [1]


def test_without_an_answer_of_the_server_it_goes_on_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    modes: list[str] = []

    def init(*, mode: str, settings: wandb.Settings, **what: Any) -> Fake:
        modes.append(mode)
        assert settings.init_timeout == tracking_wandb.SERVER_SECONDS <= 30
        assert settings.finish_timeout == tracking_wandb.UPLOAD_SECONDS <= 120
        assert what["resume"] == "allow"
        if mode == "online":
            raise CommError("Timed out\nwhile retrying")
        return fake

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", init)
    with tracking("wandb", tmp_path, "toy", "run", 0, {}) as log:
        log({"step": 1.0})
    assert modes == ["online", "offline"]
    assert len(fake.rows) == 1


def test_a_key_that_is_refused_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise AuthenticationError("invalid\nkey")

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", init)
    said = r"^wandb does not start \(invalid key\); set WANDB_MODE=offline, or tracking=none$"
    with pytest.raises(RunError, match=said), tracking("wandb", tmp_path, "toy", "run", 0, {}):
        pass
