"""Ask Kaggle through its own client, and turn whatever the client raises or prints into one line that says what to do.

The client prints help and errors, ends the process where it has no credentials, and raises errors of several
libraries. Some of its words mislead: a contest whose rules are not accepted is "403 Forbidden", a wrong name of a
notebook is "permission denied". What it prints is dropped here, because it may hold signed addresses.
"""

from __future__ import annotations

import io
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from medalist import system
from medalist.errors import ConfigError, KaggleError
from medalist.reporter import Reporter

SITE = "https://www.kaggle.com"

TOKENS = f"{SITE}/settings/api"
"""Where a user makes a new token."""

SLUG = re.compile("[a-z0-9][a-z0-9-]{1,99}")
"""What a contest's name at Kaggle looks like: the last part of its address."""

LONGEST_REST = 120.0
"""The most seconds that a command rests because Kaggle asks it to; where it asks for more, the command ends."""

MOST_RESTS = 5

LIMITS = ("limit", "quota", "allowance", "submissions per day")
"""Words by which Kaggle says that no submission is left."""

Answer = TypeVar("Answer")


class TooManyRequestsError(KaggleError):
    """Kaggle answered 429. `seconds`: how long it asks to wait; None where it does not say."""

    def __init__(self, line: str, seconds: float | None):
        super().__init__(line)
        self.seconds = seconds


class NoAccessError(KaggleError):
    """Kaggle answered 403 or 404: what was asked for is not there, or not shown to this user."""


def checked_slug(slug: str) -> str:
    """Return a contest's name at Kaggle. Raises ConfigError where it is none; also for an address."""
    if not SLUG.fullmatch(slug):
        told = " ".join(slug.split())[:60]
        raise ConfigError(
            f"--slug '{told}' is no contest's name at Kaggle; type the last part of its address, a-z 0-9 -"
        )
    return slug


def connect() -> Any:
    """Return the client, logged in. Raises KaggleError where it is missing, the network is off, or nobody is logged in.

    The client reads KAGGLE_API_TOKEN, KAGGLE_USERNAME and KAGGLE_KEY, and the files under ~/.kaggle or
    KAGGLE_CONFIG_DIR.
    """
    if system.offline():
        raise KaggleError("MEDALIST_OFFLINE forbids the network; unset it to ask Kaggle")
    with asking("the login"):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi
            from kagglesdk.kaggle_env import get_access_token_from_env
        except ImportError as error:
            raise _missing(error) from None
        api = KaggleApi()
        try:
            api.authenticate()
        except SystemExit:
            token, source = get_access_token_from_env()
            if token:
                raise KaggleError(
                    f"Kaggle does not accept the token of {source}: it is expired or revoked; make a new one at "
                    f"{TOKENS} and set KAGGLE_API_TOKEN"
                ) from None
            raise KaggleError(
                f"nobody is logged in at Kaggle; type: kaggle auth login, or make a token at {TOKENS} and set "
                "KAGGLE_API_TOKEN"
            ) from None
    return api


@contextmanager
def asking(what: str, slug: str | None = None, bar: bool = False) -> Iterator[None]:
    """Run the client in a block: nothing that it prints is shown, and what it raises becomes a KaggleError.

    what: what is asked for, as in "the submissions". slug: the contest, where there is one. bar: whether the client may
    draw its bar on the standard error. The block itself must not say anything to the user.
    """
    try:
        import requests
    except ImportError as error:
        raise _missing(error) from None
    dropped = io.StringIO()
    shown: AbstractContextManager[object] = nullcontext() if bar else redirect_stderr(dropped)
    try:
        with redirect_stdout(dropped), shown, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's own; a user cannot do anything about them
            yield
    except requests.exceptions.HTTPError as error:
        raise _refused(error, what, slug) from None
    except requests.exceptions.RequestException as error:
        raise KaggleError(
            f"Kaggle cannot be reached for {what} ({type(error).__name__}); check the network and its proxy, and type "
            "the command again"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KaggleError(f"{what}: Kaggle's client says: {_short(error)}") from None


def patiently(ask: Callable[[], Answer], reporter: Reporter, sleep: Callable[[float], None] | None = None) -> Answer:
    """Return what `ask` returns, and rest with a bar where Kaggle says 429 and for how long.

    Raises TooManyRequestsError where Kaggle asks for more than LONGEST_REST seconds, does not say for how long, or does
    not stop asking.
    """
    for _ in range(MOST_RESTS):
        try:
            return ask()
        except TooManyRequestsError as error:
            if error.seconds is None or error.seconds > LONGEST_REST:
                raise
            rest(error.seconds, "Kaggle asks to wait", reporter, sleep)
    return ask()


def rest(seconds: float, title: str, reporter: Reporter, sleep: Callable[[float], None] | None = None) -> None:
    """Wait, with a bar that moves each second."""
    pause = sleep or time.sleep
    whole = max(1, math.ceil(seconds))
    with reporter.progress(title, whole) as bar:
        for _ in range(whole):
            pause(1.0)
            bar.advance()


def _missing(error: ImportError) -> KaggleError:
    return KaggleError(f"Kaggle's client is not installed ({error.name}); type: pip install 'medalist[kaggle]'")


def _refused(error: Any, what: str, slug: str | None) -> KaggleError:
    """Return what to tell of an answer with an HTTP error. error: requests' HTTPError."""
    response = error.response
    code = response.status_code if response is not None else 0
    said = _message(response) or _short(error)
    limited = code in (400, 403) and any(word in said.lower() for word in LIMITS)
    if code == 429:
        seconds = _retry_after(response)
        when = "later" if seconds is None else f"in {max(1, math.ceil(seconds / 60))} minutes"
        told = f"Kaggle refuses {what} for now (429, too many requests); try again {when}"
        return TooManyRequestsError(told, seconds)
    if code in (403, 404) and not limited:
        return _not_shown(what, slug, f"{code}: {said}", code == 404)
    if code == 401:
        remedy = f"the token or key is expired or revoked; make a new one at {TOKENS} and set KAGGLE_API_TOKEN"
        return KaggleError(f"Kaggle does not accept the login for {what} (401): {remedy}")
    if code >= 500:
        return KaggleError(f"Kaggle has a fault of its own at {what} ({code}); type the command again later")
    remedy = "; medalist kaggle status shows what is left; days begin at 0:00 UTC" if limited else ""
    return KaggleError(f"Kaggle refuses {what} ({code}: {said}){remedy}")


def _not_shown(what: str, slug: str | None, said: str, is_gone: bool) -> NoAccessError:
    if slug is None:
        return NoAccessError(f"Kaggle does not show {what} ({said}); check the name, and who is logged in")
    place = f"{SITE}/competitions/{slug}"
    if is_gone:
        return NoAccessError(f"Kaggle does not find {what} {slug} ({said}); is {place} the contest? else type --slug")
    return NoAccessError(
        f"Kaggle refuses {what} of {slug} ({said}); accept the rules at {place}/rules, and verify your telephone there "
        "if it asks for it"
    )


def _message(response: Any) -> str:
    """Return the message in the body of an answer; empty where there is none."""
    try:
        value = response.json()
    except (ValueError, AttributeError):
        return ""
    return _short(value.get("message") or "") if isinstance(value, dict) else ""


def _retry_after(response: Any) -> float | None:
    """Return the seconds of the header Retry-After: a number or a date (RFC 9110 10.2.3); None where there is none."""
    said = str(response.headers.get("Retry-After", "")).strip()
    if re.fullmatch("[0-9]{1,7}", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _short(error: object) -> str:
    """Return a text on one line, without addresses, which may be signed."""
    text = re.sub(r"https?://\S+", "…", " ".join(str(error).split()))
    return text[:160] or type(error).__name__
