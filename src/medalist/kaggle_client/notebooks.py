"""Push a folder with a notebook to Kaggle, and wait until it has run.

No question to Kaggle lists the versions of a notebook, so what was pushed is kept in the contest's ledger.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalist.errors import ConfigError, KaggleError
from medalist.files import read_json, sha256_file
from medalist.kaggle_client.asking import NoAccessError, asking, patiently
from medalist.reporter import Reporter
from medalist.runs.submissions import Pushed, add_pushed, read_pushed

METADATA = "kernel-metadata.json"

NOTEBOOK = re.compile(r"[A-Za-z0-9][\w-]{0,99}/[A-Za-z0-9][\w-]{0,99}")

RUNNING = ("QUEUED", "RUNNING", "NEW_SCRIPT")

POLL_SECONDS = 20.0


def checked_notebook(name: str) -> str:
    """Return a notebook's name. Raises ConfigError where it is not OWNER/NAME."""
    if not NOTEBOOK.fullmatch(name):
        told = " ".join(name.split())[:80]
        raise ConfigError(f"'{told}' is no notebook; type OWNER/NAME, the last two parts of its address at Kaggle")
    return name


def last_version(root: Path, competition: str, notebook: str) -> int | None:
    """Return the version of a notebook that was pushed last, as far as the ledger knows."""
    known = [one.version for one in read_pushed(root, competition) if one.notebook == notebook]
    return known[-1] if known else None


def push(
    api: Any,
    folder: Path,
    root: Path,
    competition: str,
    reporter: Reporter,
    sleep: Callable[[float], None] | None = None,
) -> Pushed:
    """Push the notebook of a folder, and return its line of the ledger. Raises ConfigError and KaggleError.

    The folder has `kernel-metadata.json` (the keys `id`, `title`, `code_file`, `language` and `kernel_type`) and the
    code file.
    """
    notebook, code = _read_metadata(folder)
    digest = sha256_file(code)

    def ask() -> Any:
        with asking(f"the push of {notebook}"):
            return api.kernels_push(str(folder))

    answer = patiently(ask, reporter, sleep)
    if answer.error:
        raise KaggleError(f"Kaggle refuses the push of {notebook}: {' '.join(str(answer.error).split())[:200]}")
    one = Pushed(
        datetime.now(UTC).isoformat(timespec="seconds"), notebook, digest, answer.version_number, str(answer.url or "")
    )
    add_pushed(root, competition, one)
    for kind in ("tags", "dataset_sources", "competition_sources", "kernel_sources", "model_sources"):
        left_out = list(getattr(answer, f"invalid_{kind}", None) or ())
        if left_out:
            reporter.say(f"warning: Kaggle left out {kind} that it does not know: {', '.join(map(str, left_out))}")
    return one


def _read_metadata(folder: Path) -> tuple[str, Path]:
    """Return the notebook's name and its code file. Raises ConfigError, before the client is asked."""
    path = folder / METADATA
    if not path.is_file():
        raise ConfigError(f"{folder} has no {METADATA}; type: kaggle kernels init -p {folder}, and fill it in")
    value = read_json(path, ConfigError)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: not a mapping of keys; type: kaggle kernels init -p {folder}")
    missing = [key for key in ("id", "code_file", "language", "kernel_type") if not isinstance(value.get(key), str)]
    if missing:
        raise ConfigError(f"{path}: the key {missing[0]} is missing or no text")
    name = checked_notebook(value["id"])
    code = folder / value["code_file"]
    if not code.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path}: code_file {value['code_file']} lies outside the folder; put it into {folder}")
    if not code.is_file():
        raise ConfigError(f"{path}: there is no code_file {code}")
    return name, code


def state_of(api: Any, notebook: str) -> tuple[str, str]:
    """Return the state of a notebook's newest run in Kaggle's word, such as RUNNING, and why it failed, else empty.

    Raises NoAccessError where Kaggle does not show the notebook.
    """
    try:
        with asking("the notebook"):
            answer = api.kernels_status(notebook)
    except KaggleError as error:
        # The client says of 401 and 403 that the permission was denied, most likely because of a wrong name.
        if "Cannot access kernel" in str(error) or isinstance(error, NoAccessError):
            raise NoAccessError(
                f"Kaggle does not show {notebook}: its name is another, it belongs to somebody else, or it has just "
                f"been pushed; look at https://www.kaggle.com/code/{notebook}"
            ) from None
        raise
    return answer.status.name, " ".join(str(answer.failure_message or "").split())[:200]


def check_ended(api: Any, notebook: str, reporter: Reporter) -> None:
    """Raise KaggleError where a notebook still runs or has failed; say it where Kaggle does not show its state.

    Kaggle does not show all notebooks that have ended, so a state that is not shown is no reason to refuse.
    """
    try:
        state, why = patiently(lambda: state_of(api, notebook), reporter)
    except NoAccessError as error:
        reporter.say(f"note: {error}; it is submitted all the same")
        return
    if state in RUNNING:
        raise KaggleError(f"{notebook} has not ended ({state.lower()}); wait until it has, and type the command again")
    if state != "COMPLETE":
        raise KaggleError(f"{notebook} has failed ({state.lower()}{f': {why}' if why else ''}); push it again")


def wait_for_end(
    api: Any,
    notebook: str,
    reporter: Reporter,
    seconds: float,
    sleep: Callable[[float], None] | None = None,
) -> bool:
    """Wait, with a bar, until a notebook has run; return whether it is known to have ended well.

    False where Kaggle shows no end within `seconds`. Raises KaggleError where the notebook failed.
    """
    pause, waited = sleep or time.sleep, 0.0
    with reporter.progress(f"waiting for {notebook}", max(1, round(seconds))) as bar:
        while waited < seconds:
            step = min(POLL_SECONDS, seconds - waited)
            pause(step)
            bar.advance(round(waited + step) - round(waited))
            waited += step
            try:
                state, why = patiently(lambda: state_of(api, notebook), reporter, sleep)
            except NoAccessError:
                continue  # a notebook that was just pushed, or has just ended, may not be shown for a while
            if state == "COMPLETE":
                return True
            if state not in RUNNING:
                raise KaggleError(f"{notebook} has failed ({state.lower()}{f': {why}' if why else ''}); push it again")
    return False
