"""The transport: requests, repeated where they may be, and refusals as errors. Knows no document; every room of the client asks by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import orjson

from safelight import __version__
from safelight.errors import (
    BackendUnavailable,
    BadRequest,
    Conflict,
    Forbidden,
    Missing,
    PreconditionFailed,
    SafelightError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    Unsupported,
    by_code,
)

PAGE: Final = 200
"""Records asked for at once; the most that the server gives."""
TRIES: Final = 5
"""How often a request that may be repeated is sent, when the answer is 503 or the connection breaks."""
LONGEST_WAIT_S: Final = 10.0
CONNECT_S: Final = 5.0
CHUNK: Final = 256 * 1024
_SAFE_TO_REPEAT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})

Told = Callable[[int], object]
"""Called with the number of bytes that have just been sent or written."""


class Unreachable(BackendUnavailable):
    """There is not even a connection; waiting for an answer is of no use."""


class Connection:
    """One server, asked with one API key."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 60.0,
        advice: str = "",
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._advice = advice
        self._sleep = sleep
        headers = {
            "authorization": f"Bearer {api_key}",
            "user-agent": f"safelight/{__version__}",
            "accept-encoding": "identity",  # originals are compressed already, and are hashed as they come
        }
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=5.0),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise BadRequest(f"{self.url} is not the address of a server, or the API key holds odd characters.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of the answer, None for an empty one; requests that may be repeated are, while the server says 503."""
        tries = TRIES if method in _SAFE_TO_REPEAT else 1
        for attempt in range(1, tries + 1):
            try:
                response = self._sent(method, path, **request)
                if response.is_success:
                    return parsed(response) if response.content else None
                raise refusal(response)
            except (Unavailable, TooMany) as error:
                if attempt == tries or isinstance(error, Unreachable):
                    raise
                self._sleep(pause_s(error, attempt))
        raise AssertionError("the last attempt returns or raises")

    def _sent(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.LocalProtocolError as error:
            raise BadRequest(
                "The request could not be sent as announced; the file changed meanwhile, or the key is odd."
            ) from error
        except httpx.UnsupportedProtocol as error:
            raise BadRequest(f"{self.url} is not the address of a server; write http://… or https://…") from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    @contextmanager
    def _streamed(self, method: str, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come; one that breaks off raises, since what follows would be another answer."""
        try:
            with self._http.stream(method, path, **request) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                yield response.iter_bytes(CHUNK)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> BackendUnavailable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(" ".join(filter(None, (f"No Safelight server answers at {self.url}.", self._advice))))
        if isinstance(error, httpx.TimeoutException):
            return BackendUnavailable(f"The server at {self.url} did not answer in time.")
        return BackendUnavailable(f"The server at {self.url} broke the connection off.")


def segment(text: str) -> str:
    """One segment of a path, whatever the caller gave for an id; dots alone would be taken for a way up (RFC 3986, 5.2.4)."""
    return quote(text, safe="").replace(".", "%2E") or "-"


def said(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that say something, for a query or a body."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def parsed(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises BackendUnavailable when it is none."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise BackendUnavailable(f"{response.url.host} answers, but not as a Safelight server does.") from error


# For an answer whose code this version does not know: the status still says what sort of refusal it is.
_BY_STATUS: Final[dict[int, type[SafelightError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    415: Unsupported,
    422: Unprocessable,
    429: TooMany,
    502: BackendUnavailable,
    503: Unavailable,
    504: BackendUnavailable,
}


def refusal(response: httpx.Response) -> SafelightError:
    """The error that a problem document names (RFC 9457); for other answers, the one nearest to the status."""
    status = response.status_code
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or "code" not in document:
        document = {"detail": f"The answer was {status} {response.reason_phrase}, and not from a Safelight server."}
    extra = {name: value for name, value in document.items() if name not in ("type", "title", "status", "code", "detail")}
    after = response.headers.get("retry-after", "")
    if after.isascii() and after.isdigit() and len(after) < 6:
        extra["retry_after_s"] = int(after)
    detail = str(document.get("detail") or "")
    error = by_code(str(document.get("code")), detail, **extra)
    if type(error) is SafelightError and document.get("code") != SafelightError.code:
        nearest = _BY_STATUS.get(status, BadRequest if status < 500 else BackendUnavailable)
        return nearest(detail, **extra)
    return error


def pause_s(error: SafelightError, attempt: int) -> float:
    """How long until the next try: what the server asked for, else half a second and twice as long each time."""
    asked = error.extra.get("retry_after_s")
    return min(LONGEST_WAIT_S, float(asked) if asked is not None else 0.5 * 2 ** (attempt - 1))
