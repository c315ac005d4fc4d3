"""A server on loopback that answers as Kaggle does, for the real client: contests, submissions, files and notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Refusal = tuple[int, dict[str, str], Any]


@dataclass
class FakeKaggle:
    """What the server knows and was asked.

    refusals: answers by method that are given first, one a call. polls: how often the list of submissions shows a
    submission as pending. shown: whether notebooks are shown. asked: the bodies by method, in order. uploads: the
    bytes that arrived. upload_code: the status that the upload is answered with; 0 drops the connection.
    """

    token: str = "good"
    entered: bool = True
    disabled: bool = False
    notebooks_only: bool = False
    daily: int = 5
    today: int = 0
    polls: int = 1
    scores: tuple[str, str] = ("0.81", "0.79")
    outcome: str = "COMPLETE"
    listed: bool = True
    notebook: str = "COMPLETE"
    shown: bool = True
    upload_code: int = 200
    archive: bytes = b""
    submissions: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    pushed: int = 0
    push_error: str = ""
    url: str = ""

    def calls(self, method: str) -> list[Any]:
        """The bodies that a method was asked with."""
        return [body for name, body in self.asked if name == method]

    def answer(self, method: str, body: dict[str, Any]) -> Refusal:
        """The status, headers and body of an answer."""
        self.asked.append((method, body))
        waiting = self.refusals.get(method)
        if waiting:
            return waiting.pop(0)
        made: dict[str, Any] | Refusal = getattr(self, f"on_{method}")(body)
        return made if isinstance(made, tuple) else (200, {}, made)

    def on_IntrospectToken(self, body: dict[str, Any]) -> dict[str, Any]:
        good = body.get("token") == self.token
        return {"active": good, "username": "somebody" if good else ""}

    def on_GetCompetition(self, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        if body["competitionName"] != "toy-nuclei":
            return refusal(404, "Not found")
        return {
            "ref": "toy-nuclei",
            "userHasEntered": self.entered,
            "submissionsDisabled": self.disabled,
            "isKernelsSubmissionsOnly": self.notebooks_only,
            "maxDailySubmissions": self.daily,
        }

    def on_GetSubmissionLimits(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.submissions and not self.today:
            return {"numToday": 0, "numTotal": 0, "numAllowedNow": 0}
        today = self.today + len(self.submissions)
        return {"numToday": today, "numTotal": today, "numAllowedNow": max(0, self.daily - today)}

    def on_StartSubmissionUpload(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"token": "blob", "createUrl": f"{self.url}/upload/blob?signature=secret"}

    def on_CreateSubmission(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create(body)

    def on_CreateCodeSubmission(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create(body)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        reference = 1000 + len(self.submissions)
        made = {"ref": reference, "description": body.get("submissionDescription", ""), "date": "2026-12-01T10:00:00Z"}
        self.submissions.insert(0, {**made, "seen": 0})
        return {"message": "Successfully submitted", "ref": reference}

    def on_ListSubmissions(self, body: dict[str, Any]) -> dict[str, Any]:
        found = []
        for one in self.submissions if self.listed and body.get("page", 1) == 1 else ():
            one["seen"] += 1
            value = {key: one[key] for key in ("ref", "description", "date")} | {"status": "PENDING"}
            if one["seen"] > self.polls:
                value |= {"status": self.outcome}
                if self.outcome == "COMPLETE":
                    value |= {"publicScore": self.scores[0], "privateScore": self.scores[1]}
                else:
                    value |= {"errorDescription": "Evaluation\nException: row 3"}
            found.append(value)
        return {"submissions": found}

    def on_SaveKernel(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.push_error:
            return {"error": self.push_error}
        self.pushed += 1
        return {"ref": body["slug"], "url": f"{self.url}/code/{body['slug']}", "versionNumber": self.pushed}

    def on_GetKernelSessionStatus(self, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        if not self.shown:
            return refusal(403, "Permission 'kernels.get' was denied")
        return {"status": self.notebook, "failureMessage": "out of memory" if self.notebook == "ERROR" else ""}

    def on_DownloadDataFiles(self, body: dict[str, Any]) -> Refusal:
        return 302, {"Location": f"{self.url}/files/archive.zip"}, {}


def refusal(code: int, message: str, **headers: str) -> Refusal:
    """An answer as Kaggle refuses."""
    return code, {key.replace("_", "-"): value for key, value in headers.items()}, {"code": code, "message": message}


@contextmanager
def serving(state: FakeKaggle) -> Iterator[str]:
    """Serve on a free port of loopback while the block runs; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def reply(self, code: int, headers: dict[str, str], body: bytes, kind: str = "application/json") -> None:
            self.send_response(code)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            code, headers, answer = state.answer(self.path.rsplit("/", 1)[1], body)
            if isinstance(answer, bytes):
                self.reply(code, headers, answer, "text/html")
            else:
                self.reply(code, headers, json.dumps(answer).encode())

        def do_GET(self) -> None:
            self.reply(200, {}, state.archive, "application/zip")

        def do_PUT(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            if not state.upload_code:
                self.close_connection = True
                return
            state.uploads.append(data)
            self.reply(state.upload_code, {}, b"{}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
