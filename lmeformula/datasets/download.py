"""Fetch one file over HTTP, whole or not at all: bounded in time and size, retried, checked.

Knows nothing of data sets. What `download` returns is a complete body, no larger than asked, of the
checksum asked, read within the time asked. `store` writes it so that a reader sees the old file or the
new one, never half of one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lmeformula.errors import DatasetError
from lmeformula.files import write_whole

if TYPE_CHECKING:
    from requests import Response

CHUNK = 65536


class Limits(NamedTuple):
    """How long, how often and how much.

    Attributes:
      timeout: seconds for the whole download, retries and waits between them included.
      connect: seconds to wait for a connection, at most.
      read: seconds to wait for the server's next bytes, at most.
      attempts: tries in all, for failures that may pass (no connection, 429, 5xx, a body cut off).
      backoff: seconds before the second try; doubled before each further one.
      max_bytes: largest body accepted, as sent and as unpacked.
    """

    timeout: float = 60.0
    connect: float = 10.0
    read: float = 20.0
    attempts: int = 4
    backoff: float = 0.5
    max_bytes: int = 100 * 2**20


class Body(NamedTuple):
    """A complete response.

    Attributes:
      content: the bytes.
      media_type: Content-Type without its parameters, in lower case; "" where the server gave none.
    """

    content: bytes
    media_type: str


class _PassingFault(Exception):
    """A failure that another try may not meet; `wait` is the seconds that the server asked for."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem, wait)
        self.problem = problem
        self.wait = wait


def download(url: str, *, sha256: str | None = None, limits: Limits | None = None) -> Body:
    """Read the whole body at `url`.

    Args:
      url: an http or https address.
      sha256: hexadecimal digest that the body must have; None accepts any.
      limits: bounds on time, tries and size; default `Limits()`.
    Returns:
      The body and its media type.
    Raises:
      DatasetError: no connection, an error status, a body cut off, too slow, too large, or of another
        checksum. Its message names the address and the number of tries.
    """
    limits = limits or Limits()
    deadline = time.monotonic() + limits.timeout
    for tried in range(1, limits.attempts + 1):
        try:
            body = _attempt(url, limits, deadline)
        except _PassingFault as fault:
            pause = max(limits.backoff * 2 ** (tried - 1), fault.wait)
            if tried == limits.attempts or time.monotonic() + pause >= deadline:
                times = "1 try" if tried == 1 else f"{tried} tries"
                problem = f"could not download {url} ({times}): {fault.problem}"
                raise DatasetError(problem) from fault
            time.sleep(pause)
        else:
            _check_sha256(body.content, sha256, url)
            return body
    raise DatasetError(f"cannot download {url} in {limits.attempts} attempts; allow at least one")


def store(content: bytes, path: Path) -> None:
    """Write `content` to `path` in one step, making its folders.

    Several processes may do this at once: the last one wins; readers see a whole file throughout.

    Raises:
      DatasetError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise DatasetError(
            f"cannot write {path}: {error.strerror or error}",
            hint="Pass cache_dir= a folder that you can write.",
        ) from error


def _attempt(url: str, limits: Limits, deadline: float) -> Body:
    import requests

    remaining = max(deadline - time.monotonic(), 0.001)
    timeouts = (min(limits.connect, remaining), min(limits.read, remaining))
    # Identity: what is declared in Content-Length is then also the size after unpacking.
    headers = {"Accept-Encoding": "identity"}
    with _passing_faults():
        response = requests.get(url, headers=headers, stream=True, timeout=timeouts)
    with response:
        _check_status(response)
        content = _read(response, limits, deadline)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Body(content, media_type)


@contextmanager
def _passing_faults() -> Iterator[None]:
    """Turn failures of a connection into _PassingFault, and a malformed request into DatasetError."""
    import requests
    import urllib3

    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _PassingFault("the server did not answer in time") from error
    except (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, requests.RequestException) and not isinstance(
            error, requests.ConnectionError
        ):
            raise DatasetError(f"cannot make the request: {error}") from error
        raise _PassingFault(f"the connection failed ({_innermost(error)})") from error


def _check_status(response: Response) -> None:
    status = f"the server answered {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code == 429 or response.status_code >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _PassingFault(status, wait=float(asked) if asked.isdecimal() else 0.0)
    if response.status_code != 200:
        raise DatasetError(f"could not download {response.url}: {status}")


def _read(response: Response, limits: Limits, deadline: float) -> bytes:
    """Read the body a piece at a time, so that neither a drip nor a flood goes on for long."""
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > limits.max_bytes:
        raise _too_large(response, limits)
    content = bytearray()
    while True:
        if time.monotonic() > deadline:
            raise _PassingFault(f"not finished after {limits.timeout:g} seconds")
        with _passing_faults():  # among them: fewer bytes than the server declared
            # read1 returns what has come; read would wait for a full chunk, however slow the drip.
            piece = response.raw.read1(CHUNK, decode_content=True)
        if not piece:
            break
        content += piece
        if len(content) > limits.max_bytes:
            raise _too_large(response, limits)
    return bytes(content)


def _too_large(response: Response, limits: Limits) -> DatasetError:
    return DatasetError(
        f"{response.url} is larger than the limit of {limits.max_bytes} bytes",
        hint="Pass a larger max_bytes= if you trust the address.",
    )


def _check_sha256(content: bytes, sha256: str | None, url: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise DatasetError(
            f"{url} has the wrong checksum: sha256 {found}, expected {sha256.lower()}",
            hint="The file was altered on the way, or a new version was published. It was not kept.",
        )


def _innermost(error: BaseException) -> str:
    """Say what went wrong at the bottom of requests' chain of wrapped exceptions."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
